"""A loader that cannot be recorded where it lies is said to the user."""

from __future__ import annotations

import pytest

from mlprov.integrations.loaders_in_place import record_in_place
from mlprov.recorder import RecordingWarning


def test_a_loader_of_a_c_type_is_left_alone_with_a_warning() -> None:
    with pytest.warns(RecordingWarning, match="batches of a list"):
        assert not record_in_place([1], lambda batches: batches)


def test_a_loader_of_a_class_that_wants_no_others_made_of_it_is_left_alone() -> None:
    class Closed:
        def __init_subclass__(cls, *, key: str) -> None:
            raise RuntimeError(key)

    with pytest.warns(RecordingWarning, match="batches of a Closed"):
        assert not record_in_place(Closed(), lambda batches: batches)
