"""What a caller asks of evidence, refused where it is no question at all."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import datasets, subjects
from mlprov.errors import ConfigError
from mlprov.record_values import Moment
from mlprov.signers import Keys, Signers
from mlprov.trusted_blocks import BlockTrust, Headers, Online

__all__ = ["Question"]


@dataclass(frozen=True)
class Question:
    """What to hold against evidence, and whose signature counts.

    Wrong use is said here, before anything is read, whatever the evidence is.

    Attributes:
        model: what the weights are compared with; None for nothing.
        data: data sets by role, or one alone; None for none.
        tensors: names of single tensors, each once.
        epoch, step: whose weights are meant, if not the last; one of the two.
        keys: the only keys that count as signer; None for the pinned ones.
        allow_unpinned: whether a signer whose key is not pinned will do.
        trusted_blocks: blocks of Ethereum that the caller trusts, each as ``CHAIN:HASH``.
        headers: a file of such, by hash or header, or the list that it has.
        online: a node of his own.

    Raises:
        TypeError: a member of the wrong type.
        UnsupportedTensorError: data that are a sparse or nested tensor.
        ConfigError: data that cannot be recorded, so not compared either; an epoch and a step; a
            trusted block that is none.
    """

    model: Any = None
    data: Any = None
    tensors: Sequence[str] = ()
    epoch: int | None = None
    step: int | None = None
    keys: Keys | None = None
    allow_unpinned: bool = False
    trusted_blocks: Sequence[str] = ()
    headers: Headers = None
    online: Online = None

    def __post_init__(self) -> None:
        if self.model is not None:
            subjects.check_model_kind(self.model)
        # Once and for all: what can be gone through only once would ask nothing the second time.
        object.__setattr__(self, "tensors", _read_names(self.tensors))
        for name, number in (("epoch", self.epoch), ("step", self.step)):
            if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
                raise TypeError(f"{name}: expected int, not {_class(number)}")
        if self.epoch is not None and self.step is not None:
            raise ConfigError(
                f"cannot compare with epoch {self.epoch} and step {self.step} at once: name one"
            )
        if not isinstance(self.allow_unpinned, bool):
            raise TypeError(
                f"allow_unpinned: expected True or False, not {_class(self.allow_unpinned)}"
            )
        _check_keys(self.keys)
        _ = self.block_trust
        for role, data in self.data_by_role.items():
            _check_data(role, data)

    @property
    def moment(self) -> Moment | None:
        """The epoch or step that is meant; None for the last weights."""
        if self.step is not None:
            return Moment("step", self.step)
        return None if self.epoch is None else Moment("epoch", self.epoch)

    @property
    def data_by_role(self) -> Mapping[str, Any]:
        """The data; under ``data`` what was given alone."""
        if self.data is None:
            return {}
        return self.data if isinstance(self.data, Mapping) else {"data": self.data}

    @functools.cached_property
    def block_trust(self) -> BlockTrust:
        """Which blocks the caller trusts; a file of them is read once."""
        return BlockTrust.read(self.trusted_blocks, self.headers, self.online)

    def signers(self) -> Signers:
        """Whose signature counts; reads the keys.

        Raises:
            ConfigError: a key that is none, or no keys at all.
        """
        return Signers.read(self.keys)


def _class(value: object) -> str:
    return type(value).__name__


def _read_names(tensors: Any) -> tuple[str, ...]:
    if isinstance(tensors, (str, bytes, Mapping)) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"tensors: expected a list of names, not {_class(tensors)}")
    names = tuple(tensors)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"tensors: expected names, not {_class(name)}")
    return tuple(dict.fromkeys(names))


def _check_keys(keys: Any) -> None:
    listable = hasattr(keys, "__iter__") and not isinstance(keys, (bytes, Mapping))
    if keys is not None and not listable and not isinstance(keys, os.PathLike):
        raise TypeError(f"keys: expected a list of verifier keys or files, not {_class(keys)}")


def _check_data(role: Any, data: Any) -> None:
    if not isinstance(role, str):
        raise TypeError(f"data: expected roles such as 'train' as keys, not {_class(role)}")
    try:
        datasets.check_dataset_kind(data)
    except ConfigError as error:
        raise ConfigError(
            f"cannot compare the data {role!r}: {error.what}", error.remedy
        ) from error
