"""Signing in the program's own way: a key service, a PKCS#11 module, a hardware wallet.

The callable is asked on a thread of the core. What it gives is decoded, the sender recovered and
every field compared with what was to be signed; what it raises stays with the anchor, which
``mlprov status`` shows, and never reaches the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mlprov.errors import Error
from mlprov.wording import brief

if TYPE_CHECKING:
    from mlprov._core import _Intent

__all__ = ["Signer", "Transaction", "set_signer", "signer"]

_LONGEST_TEXT = 200  # characters of an exception's text that the outbox keeps


@dataclass(frozen=True)
class Transaction:
    """What is to be signed (EIP-1559), with an empty access list. Fees and value are in wei.

    Attributes:
        account: whose signature is asked for, in the case of EIP-55.
        to: the contract that is called; None: one is made.
    """

    account: str
    chain_id: int
    nonce: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    gas: int
    to: str | None
    value: int
    data: bytes


Signer: TypeAlias = Callable[[Transaction, bytes], bytes]
_signer: Signer | None = None


def set_signer(function: Signer | None) -> None:
    """Let a callable sign this process's anchors on Ethereum, before any other signer.

    ``account`` of ``[anchor.ethereum]``, or ``MLPROV_ETHEREUM_ACCOUNT``, says whose signatures it
    makes. Set it before the run starts; commands such as ``mlprov sync`` know nothing of it.

    Args:
        function: called with the transaction and the 32 bytes to sign (their Keccak-256 is already
            taken). Returns r and s as 64 bytes, big-endian, in any of their two forms (a 65th byte
            is not looked at), or the whole signed transaction as it is sent. OSError, which
            TimeoutError and ConnectionError are, says that later may do; any other exception that
            somebody has to look. Its text goes into the outbox: let there be no secret in it.
            None: nobody in this process.

    >>> def sign(transaction, digest):
    ...     assert transaction.chain_id == 1
    ...     return my_key_service.sign(digest)
    >>> set_signer(sign)
    >>> set_signer(None)
    """
    global _signer
    if function is not None and not callable(function):
        raise TypeError(f"set_signer: a callable or None, not {type(function).__name__}")
    _signer = function


def signer() -> Signer | None:
    """What :func:`set_signer` was given last."""
    return _signer


def for_core(function: Signer) -> Callable[[_Intent, str, bytes], bytes | tuple[bool, str]]:
    """The callable as the core calls it: it never raises."""

    def sign(intent: _Intent, account: str, digest: bytes) -> bytes | tuple[bool, str]:
        try:
            given: object = function(Transaction(account, *intent), digest)
            if isinstance(given, bytes | bytearray | memoryview):
                return bytes(given)
            return False, (
                f"the program's signer returned {type(given).__name__}; expected are bytes: r and "
                "s, or a transaction; mend it, then run the program again"
            )
        except BaseException as error:  # noqa: BLE001 - there is nobody above to catch it
            return isinstance(error, OSError), _failed(error)

    return sign


def _failed(error: BaseException) -> str:
    text = error.what if isinstance(error, Error) else str(error)
    return (
        f"the program's signer failed: {type(error).__name__}: "
        f"{brief(text, _LONGEST_TEXT)}; mend it, then run the program again"
    )
