"""Every public name shows how it is used, in an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

import mlprov

# Exceptions are raised, not called: the examples of what raises them show them.
CALLABLES = sorted(
    name
    for name in mlprov.__all__
    if callable(getattr(mlprov, name))
    and not (
        inspect.isclass(getattr(mlprov, name)) and issubclass(getattr(mlprov, name), BaseException)
    )
)


def examples_of(name: str) -> list[doctest.Example]:
    """What doctest finds for a name: in its own docstring, or in ``__test__`` for a type in C."""
    home = mlprov._HOME_OF[name]
    module = importlib.import_module(f"mlprov.{home}")
    wanted = (f"mlprov.{home}.{name}", f"mlprov.{home}.__test__.{name}")
    found = doctest.DocTestFinder().find(module)
    return [example for test in found if test.name in wanted for example in test.examples]


def test_functions_and_classes_are_asked_for() -> None:
    """The list that the next test goes through is the public interface."""
    assert {"start", "Run", "Epoch", "diff", "Hasher", "Verdict", "Proof", "verify"} <= {*CALLABLES}


@pytest.mark.parametrize("name", CALLABLES)
def test_every_public_callable_has_an_example(name: str) -> None:
    assert inspect.getdoc(getattr(mlprov, name))
    assert examples_of(name), f"mlprov.{name} has no >>> in its docstring"
