"""Importing a framework that may not be there."""

from __future__ import annotations

import importlib
from typing import Any

from mlprov.errors import ConfigError

__all__ = ["MissingFrameworkError", "load"]


class MissingFrameworkError(ConfigError, ImportError):
    """A framework that an integration is for cannot be imported."""


def load(integration: str, *modules: str, install: str | None = None) -> Any:
    """The first of these modules that is installed.

    Args:
        integration: whose module of :mod:`mlprov.integrations` asks.
        *modules: names for the same thing.
        install: what to install where there is none; by default the package of the first.

    Raises:
        MissingFrameworkError: none is there, or the one that is cannot be imported.

    >>> try:
    ...     load("nothing", "no_such_package.of_any_kind")
    ... except MissingFrameworkError as error:
    ...     print(error)
    cannot use mlprov.integrations.nothing: the package no_such_package is missing; pip install
    no_such_package
    """
    for module in modules:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise _cannot_import(integration, module, error) from error
        except ImportError as error:
            raise _cannot_import(integration, module, error) from error
    package = modules[0].partition(".")[0]
    raise MissingFrameworkError(
        f"cannot use mlprov.integrations.{integration}: the package {package} is missing",
        f"pip install {install or package}",
    )


def _cannot_import(integration: str, module: str, error: ImportError) -> MissingFrameworkError:
    package = module.partition(".")[0]
    return MissingFrameworkError(
        f"cannot use mlprov.integrations.{integration}: {module} cannot be imported ({error})",
        f"install {package} again, or what it needs",
    )
