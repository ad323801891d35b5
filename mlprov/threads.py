"""How many threads hash at once."""

from __future__ import annotations

from mlprov import _core
from mlprov.errors import ConfigError

__all__ = ["MOST_THREADS", "get_threads", "set_threads"]

MOST_THREADS = 1024  # more is taken for a mistake, as the core does


def check_threads(threads: object) -> None:
    """Refuse what is neither None nor a number of threads.

    Raises:
        ConfigError: naming the argument.
    """
    if threads is None:
        return
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise ConfigError(
            f"threads is {threads!r}", f"expected None or a whole number from 1 to {MOST_THREADS}"
        )


def set_threads(threads: int) -> None:
    """Set how many threads may hash at once, in this process, unless a call says otherwise.

    The calling thread is one of them; the others are shared by all calls and sleep in between.
    Until this is called the number is that of ``MLPROV_THREADS``, and without it that of the
    processors which the process may use (its affinity mask and control group), at most 64. Digests
    never depend on it; nothing below 768 KiB is hashed by more than one thread. To leave
    training's own threads their room, set less than the processors.

    Args:
        threads: 1 to 1024.

    Raises:
        ConfigError: anything else.

    >>> before = get_threads()
    >>> set_threads(2)
    >>> get_threads()
    2
    >>> set_threads(before)
    """
    if threads is None:
        raise ConfigError("threads is None", f"expected a whole number from 1 to {MOST_THREADS}")
    check_threads(threads)
    _core.set_hash_threads(threads)


def get_threads() -> int:
    """How many threads may hash at once unless a call says otherwise.

    >>> get_threads() >= 1
    True
    """
    return _core.hash_threads()
