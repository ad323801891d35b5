"""States of random generators: digests always, the states themselves on request.

What a replay of an epoch has to begin with (docs/format.md section 5, ``rng`` and ``rng_values``).
Looking at a generator never moves it.
"""

from __future__ import annotations

import base64
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlprov import _core
from mlprov.records import Json

__all__ = ["RandomStates", "capture_generators", "capture_seeds", "capture_values", "state_of"]


@dataclass(frozen=True)
class RandomStates:
    """What one run records of generators.

    Attributes:
        seeds: the run's setting: false, true or ``"values"``.
        is_secret: whether torch's generators draw noise that has to stay unknown, now.
    """

    seeds: bool | str
    is_secret: Callable[[], bool]

    def at_start(self) -> Json:
        """Seeds, and states at the beginning; None where they are not wanted."""
        if not self.seeds:
            return None
        return capture_seeds(values=self.seeds == "values", secret=self.is_secret())

    def digests(self) -> dict[str, Json]:
        """Digests of the states as they are now."""
        return capture_generators(secret=self.is_secret()) if self.seeds else {}

    def values(self) -> Json:
        """The states themselves, where they are wanted."""
        return capture_values(secret=self.is_secret()) if self.seeds == "values" else None


def capture_generators(*, secret: bool = False) -> dict[str, Json]:
    """Digests of the states of the global random generators that are loaded: name → ``blake3:…``.

    Args:
        secret: whether torch's generators draw noise that has to stay unknown. Theirs are left out
            then: a state that follows from a seed can be found by its digest.

    ``python``: BLAKE3 of the 625 words of ``random.getstate()[1]`` as little-endian uint32.
    ``numpy``: of the legacy generator's 624 key words followed by its position, as little-endian
    uint32. ``torch``: of the bytes of ``torch.get_rng_state()``; ``torch_cuda_<i>`` likewise for
    each initialised device. ``python_gauss``, ``numpy_gauss``: of the second half of a pair of
    normal numbers, a little-endian double, where one is kept for the next call.
    """
    return {name: _digest(state) for name, state in _states(secret).items()}


def capture_values(*, secret: bool = False) -> dict[str, Json]:
    """The same states themselves, in base64: name → the bytes whose digest is above."""
    states = _states(secret)
    return {name: base64.b64encode(state).decode("ascii") for name, state in states.items()}


def capture_seeds(*, values: bool = False, secret: bool = False) -> dict[str, Json]:
    """The seeds that can be read (decimal text: they exceed 2^53) and the generators' states."""
    torch: Any = None if secret else sys.modules.get("torch")
    hash_seed = os.environ.get("PYTHONHASHSEED", "")
    seeds: dict[str, Json] = {
        "python_hash": hash_seed
        if hash_seed.isascii() and hash_seed.isdigit()
        else None,  # not "random"
        "rng": capture_generators(secret=secret),
        "torch": None if torch is None else str(torch.initial_seed()),
    }
    if values:
        seeds["rng_values"] = capture_values(secret=secret)
    return seeds


def state_of(generator: Any, *, values: bool) -> Json:
    """A generator of the user's own: its state's digest, or the state; None of another kind."""
    read = getattr(generator, "get_state", None)
    if not callable(read) or not hasattr(generator, "initial_seed"):  # torch.Generator's
        return None
    state = bytes(read().tolist())
    return base64.b64encode(state).decode("ascii") if values else _digest(state)


def _digest(state: bytes) -> str:
    return f"blake3:{_core.hash_bytes(state).hex()}"


def _states(secret: bool) -> dict[str, bytes]:
    return {**_python(), **_numpy(), **({} if secret else _torch())}


def _python() -> dict[str, bytes]:
    random: Any = sys.modules.get("random")
    if random is None:
        return {}
    _, words, gauss = random.getstate()
    states = {"python": struct.pack(f"<{len(words)}I", *words)}
    if gauss is not None:
        states["python_gauss"] = struct.pack("<d", gauss)
    return states


def _numpy() -> dict[str, bytes]:
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is None:
        return {}
    state = numpy.get_state(legacy=False)
    if (
        state["bit_generator"] != "MT19937"
    ):  # it can be exchanged; others have states of other forms
        return {}
    key, position = state["state"]["key"], int(state["state"]["pos"])
    states = {"numpy": key.astype("<u4").tobytes() + position.to_bytes(4, "little")}
    if state.get("has_gauss"):
        states["numpy_gauss"] = struct.pack("<d", state["gauss"])
    return states


def _torch() -> dict[str, bytes]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    states = {"torch": bytes(torch.get_rng_state().tolist())}
    if torch.cuda.is_initialized():
        for i in range(torch.cuda.device_count()):
            states[f"torch_cuda_{i}"] = bytes(torch.cuda.get_rng_state(i).tolist())
    return states
