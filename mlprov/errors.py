"""The exceptions of mlprov.

``VerificationError`` says that a check does not hold; every other class says that something could
not be done or could not be checked. The two are never mixed: an auditor must tell them apart.
"""

from __future__ import annotations

from mlprov import _core
from mlprov.explanations import Explained

__all__ = [
    "AnchorError",
    "ConfigError",
    "Error",
    "EvidenceError",
    "StoreError",
    "UnsupportedTensorError",
    "VerificationError",
]


class Error(Explained):
    """Base of every exception that mlprov raises on purpose.

    Attributes:
        status: the core's name of what happened (``csrc/base/status.h``), such as
            ``"MISMATCH"``, or ""
        retryable: whether trying again later can help.
        what: what was attempted, seen and expected.
        remedy: what to do, or "". The text is both, with a semicolon between.

    >>> error = ConfigError("cannot hash nothing", "name a file")
    >>> str(error), error.what, error.remedy
    ('cannot hash nothing; name a file', 'cannot hash nothing', 'name a file')
    """

    status: str = ""
    retryable: bool = False


class VerificationError(Error):
    """A check was made and does not hold."""


class EvidenceError(Error):
    """Evidence could not be checked: malformed, of an unknown version, changed meanwhile."""


class StoreError(Error):
    """The store could not be opened, read or written.

    Other files that cannot be opened or read are the OSError that ``open`` raises.
    """


class AnchorError(Error):
    """An anchor could not be made or read."""


class ConfigError(Error):
    """A setting, argument or key cannot be used."""


class UnsupportedTensorError(Error):
    """A tensor has no values that can be hashed (meta, fake, object dtype); the message names it.

    Attributes:
        index: position of the tensor in the list that was handed over, or -1.
    """

    index: int = -1


_core.set_exceptions(
    {
        "Error": Error,
        "VerificationError": VerificationError,
        "EvidenceError": EvidenceError,
        "StoreError": StoreError,
        "AnchorError": AnchorError,
        "ConfigError": ConfigError,
        "UnsupportedTensorError": UnsupportedTensorError,
    }
)
