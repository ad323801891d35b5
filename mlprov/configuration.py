"""Settings of a run and where they come from.

Lowest first: ``config.toml`` in the user's directory (:func:`mlprov.keys.home`), ``[tool.mlprov]``
in ``pyproject.toml``, ``mlprov.toml``, ``MLPROV_*`` variables, arguments. The two project files are
looked for upwards from the working directory. A project's files may say how to record, never where
keys or endpoints are: whoever clones a repository has not chosen those.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlprov import keys
from mlprov.anchoring import KINDS
from mlprov.errors import ConfigError
from mlprov.records import json_key
from mlprov.statements import RUN_ID

__all__ = ["Settings", "is_disabled", "resolve"]

ALGORITHMS = ("blake3", "sha256", "sha384", "sha512")


@dataclass(frozen=True)
class Settings:
    """The resolved settings of one run; the keywords of :func:`mlprov.start`."""

    project: str | None = None
    store: str | None = None
    algorithm: str = "blake3"
    every: str | int = "epoch"
    snapshot: str = "overlap"
    check: str = "once"
    trust_version: bool = False
    on_error: str = "warn"
    resume: str = "never"
    run_id: str | None = None
    seeds: bool | str = True
    delta: float | None = None
    anchors: tuple[str, ...] = ()
    publish: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    notes: str | None = None


def is_disabled() -> bool:
    """Whether ``MLPROV_DISABLED`` turns every call into one that does nothing."""
    return os.environ.get("MLPROV_DISABLED", "").strip().lower() not in ("", "0", "false", "no")


def _text(value: Any) -> str | None:
    if value is None or json_key(value):
        return None if value is None else str(value)
    raise ValueError("Unicode text without U+0000")


def _path(value: Any) -> str | None:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or (isinstance(value, str) and value and "\0" not in value):
        return value
    raise ValueError("the path of a directory")


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if json_key(value):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, (list, tuple)) and all(json_key(item) for item in value):
        return tuple(value)
    raise ValueError("a list of Unicode texts")


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("0", "false", "no", "1", "true", "yes"):
        return value.lower() in ("1", "true", "yes")
    raise ValueError("true or false")


def _seeds(value: Any) -> bool | str:
    try:
        return "values" if value == "values" else _truth(value)
    except ValueError:
        raise ValueError("true, false or 'values'") from None


def _delta(value: Any) -> float | None:
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if value is None or (number is not None and 0 < number < 1):
        return number
    raise ValueError("a number above 0 and below 1, such as 1e-5")


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError(" or ".join(repr(choice) for choice in choices))

    return parse


def _run_id(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and RUN_ID.fullmatch(value)):
        return value
    raise ValueError("the id of a run, a lower-case UUIDv7 as 'mlprov ls' lists it")


def _anchors(value: Any) -> tuple[str, ...]:
    kinds = _texts(value)
    if set(kinds) - {"log", *KINDS}:
        known = ", ".join(map(repr, KINDS))
        raise ValueError(f"'log' (the local store log, always on), {known}")
    return kinds


def _publish(value: Any) -> tuple[str, ...]:
    what = _texts(value)
    if set(what) - {"bundle", "model"}:
        raise ValueError("'bundle', 'model', both or none")
    return what


def _every(value: Any) -> str | int:
    if value == "epoch":
        return "epoch"
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**53:
        return value
    raise ValueError("'epoch' or a number of optimizer steps, from 1")


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "project": _text, "store": _path, "algorithm": _one_of(*ALGORITHMS), "every": _every,
    "snapshot": _one_of("overlap", "copy", "inline"), "check": _one_of("once", "twice"),
    "trust_version": _truth,
    "on_error": _one_of("warn", "raise"), "resume": _one_of("never", "auto", "must"),
    "run_id": _run_id, "seeds": _seeds, "delta": _delta,
    "anchors": _anchors, "publish": _publish, "tags": _texts, "group": _text, "notes": _text,
}  # fmt: skip


def _parse(name: str, value: Any, where: str) -> Any:
    try:
        return _PARSERS[name](value)
    except ValueError as expected:
        raise ConfigError(
            f"cannot use {name}={value!r} ({where}): expected {expected}", "change or remove it"
        ) from None


def _parse_table(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"cannot use {where}: expected a table of settings, seen {type(table).__name__}"
        )
    unknown = sorted(set(table) - set(_PARSERS))
    if unknown:
        raise ConfigError(
            f"cannot use the setting {unknown[0]!r} in {where}: known are "
            + ", ".join(sorted(_PARSERS))
        )
    return {name: _parse(name, value, where) for name, value in table.items()}


def _read_toml(path: pathlib.Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error}", "mend or remove it"
        ) from error


def _find_upwards(name: str) -> pathlib.Path | None:
    here = pathlib.Path.cwd()
    for directory in (here, *here.parents):
        if (directory / name).is_file():
            return directory / name
    return None


def _project_settings(name: str) -> dict[str, Any]:
    """Settings of a project file. A store that it names must lie inside the project."""
    path = _find_upwards(name)
    if path is None:
        return {}
    table = _read_toml(path)
    if name == "pyproject.toml":
        tools = table.get("tool", {})
        table = tools.get("mlprov", {}) if isinstance(tools, Mapping) else {}
    if isinstance(table, Mapping) and "anchor" in table:
        raise ConfigError(
            f"cannot use [anchor] in {path}: a project's file may not say where anchors go",
            f"set them in {keys.home() / 'config.toml'} or the environment",
        )
    settings = _parse_table(table, str(path))
    if set(settings.get("anchors", ())) - {"log"}:
        raise ConfigError(
            f"cannot use anchors={settings['anchors']!r} ({path}): a project's file may not "
            "publish anything",
            "set MLPROV_ANCHORS or the argument anchors= yourself",
        )
    if "publish" in settings:
        raise ConfigError(
            f"cannot use publish={settings['publish']!r} ({path}): a project's file may not say "
            "what is published",
            f"set it in {keys.home() / 'config.toml'}, MLPROV_PUBLISH or the argument publish=",
        )
    if settings.get("store") is not None:
        inside = (path.parent / settings["store"]).resolve()
        if not inside.is_relative_to(path.parent.resolve()):
            raise ConfigError(
                f"cannot use store={settings['store']!r} ({path}): a project's file may only name "
                "a store inside the project",
                "set MLPROV_STORE or the argument store= yourself",
            )
        settings["store"] = str(inside)
    return settings


def _environment_settings() -> dict[str, Any]:
    return {
        name: _parse(name, os.environ[variable], f"the variable {variable}")
        for name in _PARSERS
        if os.environ.get(variable := f"MLPROV_{name.upper()}")
    }


def resolve(arguments: Mapping[str, Any]) -> Settings:
    """Settings from all sources; an argument that is None was not given.

    Raises:
        ConfigError: an unknown setting or a value of the wrong kind, naming where it came from.
    """
    user = keys.home() / "config.toml"
    own = _read_toml(user)
    own.pop("anchor", None)  # servers: mlprov/anchoring.py reads them where they are used
    merged: dict[str, Any] = _parse_table(own, str(user))
    merged |= _project_settings("pyproject.toml")
    merged |= _project_settings("mlprov.toml")
    merged |= _environment_settings()
    merged |= {
        name: _parse(name, value, "the argument")
        for name, value in arguments.items()
        if value is not None
    }
    settings = dataclasses.replace(Settings(), **merged)
    if settings.publish and "ipfs" not in settings.anchors:
        raise ConfigError(
            f"cannot publish {' and '.join(settings.publish)}: no IPFS node is asked for",
            "add anchors=['ipfs'], or leave publish out",
        )
    if settings.publish is None and "ipfs" in settings.anchors:
        settings = dataclasses.replace(settings, publish=("bundle",))
    if settings.run_id is not None and settings.resume != "must":
        raise ConfigError(
            f"cannot use run_id={settings.run_id!r} with resume={settings.resume!r}: it names the"
            " run that resume='must' goes on with",
            "add resume='must', or leave run_id out",
        )
    return settings
