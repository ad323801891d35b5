"""Settings: the order of their sources, and what a project's files may not say."""

from __future__ import annotations

import os
import pathlib
from pathlib import Path
from typing import Any

import pytest

from mlprov import configuration, keys
from mlprov.configuration import Settings, resolve
from mlprov.errors import ConfigError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project directory, with the working directory two levels inside it."""
    inside = tmp_path / "project" / "src" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return tmp_path / "project"


def user_file(text: str) -> None:
    keys.home().mkdir(parents=True, exist_ok=True)
    (keys.home() / "config.toml").write_text(text)


def test_without_any_source_the_defaults_hold() -> None:
    assert resolve({}) == Settings()
    assert resolve({"project": None, "seeds": None}) == Settings()


def test_each_source_overrides_the_ones_before(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file('project = "user"\n')
    assert resolve({}).project == "user"
    (project / "pyproject.toml").write_text('[tool.mlprov]\nproject = "pyproject"\n')
    assert resolve({}).project == "pyproject"
    (project / "mlprov.toml").write_text('project = "own file"\n')
    assert resolve({}).project == "own file"
    monkeypatch.setenv("MLPROV_PROJECT", "variable")
    assert resolve({}).project == "variable"
    assert resolve({"project": "argument"}).project == "argument"


def test_sources_are_merged_setting_by_setting(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file('group = "g"\nalgorithm = "sha512"\nproject = "user"\n')
    (project / "pyproject.toml").write_text(
        '[tool.mlprov]\nalgorithm = "sha256"\ntags = ["a", "b"]\n'
    )
    (project / "mlprov.toml").write_text("seeds = false\n")
    monkeypatch.setenv("MLPROV_ON_ERROR", "raise")
    assert resolve({"notes": "n"}) == Settings(
        project="user",
        algorithm="sha256",
        on_error="raise",
        seeds=False,
        tags=("a", "b"),
        group="g",
        notes="n",
    )


def test_the_nearest_project_file_counts(project: Path) -> None:
    (project / "mlprov.toml").write_text('project = "outer"\n')
    (project / "src" / "mlprov.toml").write_text('project = "inner"\n')
    assert resolve({}).project == "inner"


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("MLPROV_TAGS", "a, b,,c ", "tags", ("a", "b", "c")),
        ("MLPROV_SEEDS", "no", "seeds", False),
        ("MLPROV_SEEDS", "TRUE", "seeds", True),
        ("MLPROV_ALGORITHM", "sha384", "algorithm", "sha384"),
        ("MLPROV_STORE", "/elsewhere", "store", "/elsewhere"),
        ("MLPROV_STORE", "", "store", None),
        ("MLPROV_PROJECT", "", "project", None),
        ("MLPROV_ANCHORS", "log", "anchors", ("log",)),
    ],
)
def test_variables_are_read(
    variable: str, value: str, name: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(resolve({}), name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("algorithm", "md5"), ("algorithm", 1), ("algorithm", ["blake3"]), ("every", "step"),
        ("every", 0), ("every", -1), ("every", True), ("every", 2.5), ("every", "ten"),
        ("every", 2**53), ("snapshot", "both"), ("snapshot", 1), ("check", "thrice"),
        ("check", 2), ("on_error", "ignore"), ("resume", "yes"),
        ("resume", True), ("run_id", "newest"), ("run_id", 3),
        ("seeds", "maybe"), ("seeds", 1), ("anchors", ["dogecoin"]), ("anchors", "bitcoin"),
        ("tags", [1]),
        ("tags", 5), ("tags", ["\ud800"]), ("project", 3), ("project", "\udcff"), ("group", "a\0b"),
        ("notes", b"bytes"), ("store", ""), ("store", 7), ("store", "a\0b"), ("store", b"bytes"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_named_with_its_source(
    name: str, value: Any, project: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{name}=.*the argument.*expected") as refused:
        resolve({name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("where", ["user", "pyproject", "mlprov", "variable"])
def test_a_wrong_value_is_traced_to_where_it_stands(
    where: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = 'algorithm = "md5"\n'
    if where == "user":
        user_file(line)
        named = "config.toml"
    elif where == "pyproject":
        (project / "pyproject.toml").write_text("[tool.mlprov]\n" + line)
        named = "pyproject.toml"
    elif where == "mlprov":
        (project / "mlprov.toml").write_text(line)
        named = "mlprov.toml"
    else:
        monkeypatch.setenv("MLPROV_ALGORITHM", "md5")
        named = "MLPROV_ALGORITHM"
    with pytest.raises(ConfigError, match=named):
        resolve({})


@pytest.mark.parametrize("name", ["unknown", "Algorithm", "config", "name", ""])
def test_an_unknown_setting_is_refused_with_the_known_ones(name: str, project: Path) -> None:
    (project / "mlprov.toml").write_text(f'"{name}" = 1\n')
    with pytest.raises(ConfigError, match="known are algorithm"):
        resolve({})


# ---- hostile project files ----


@pytest.mark.parametrize(
    "name",
    ["endpoint", "owner_key", "key", "keys", "publish", "signer", "log_key", "home", "trust"],
)
@pytest.mark.parametrize("file", ["pyproject.toml", "mlprov.toml"])
def test_a_project_cannot_set_keys_endpoints_or_publishing(
    name: str, file: str, project: Path
) -> None:
    table = "[tool.mlprov]\n" if file == "pyproject.toml" else ""
    (project / file).write_text(f'{table}{name} = "https://attacker.example/"\n')
    with pytest.raises(ConfigError, match=file):
        resolve({})


@pytest.mark.parametrize("store", ["/etc", "../outside", "a/../../outside", "link/store"])
@pytest.mark.parametrize("file", ["pyproject.toml", "mlprov.toml"])
def test_a_project_cannot_lead_the_store_outside_itself(
    store: str, file: str, project: Path
) -> None:
    (project / "link").symlink_to(project.parent)
    table = "[tool.mlprov]\n" if file == "pyproject.toml" else ""
    (project / file).write_text(f'{table}store = "{store}"\n')
    with pytest.raises(ConfigError, match="inside the project"):
        resolve({})


def test_a_store_inside_the_project_is_relative_to_the_file(project: Path) -> None:
    (project / "mlprov.toml").write_text('store = "runs/.mlprov"\n')
    assert resolve({}).store == str((project / "runs" / ".mlprov").resolve())


def test_the_user_may_put_the_store_anywhere(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file('store = "/user/store"\n')
    assert resolve({}).store == "/user/store"
    monkeypatch.setenv("MLPROV_STORE", "/variable/store")
    assert resolve({}).store == "/variable/store"
    assert resolve({"store": pathlib.PurePosixPath("/argument")}).store == "/argument"


@pytest.mark.parametrize(
    "text",
    [
        "tool = 3\n", "[tool]\nmlprov = 3\n", "[tool]\nmlprov = []\n", "[[tool.mlprov]]\na = 1\n",
        "not toml",
        "a = 1\na = 2\n", "x = " + "[" * 100_000, "[tool.mlprov]\ntags = [1]\n",
        "[tool.mlprov.deep]\na = 1\n",
        "\x00",
    ],
)  # fmt: skip
def test_a_broken_project_file_is_an_error_of_configuration_or_none_of_ours(
    text: str, project: Path
) -> None:
    (project / "pyproject.toml").write_text(text)
    if text == "tool = 3\n":
        assert resolve({}) == Settings()
        return
    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        resolve({})


def test_a_project_file_that_is_no_text_is_named(project: Path) -> None:
    (project / "mlprov.toml").write_bytes(b"project = '\xff'\n")
    with pytest.raises(ConfigError, match=r"mlprov\.toml"):
        resolve({})


def test_a_directory_or_a_pipe_of_that_name_is_passed_over(project: Path) -> None:
    (project / "mlprov.toml").mkdir()
    os.mkfifo(project / "pyproject.toml")
    assert resolve({}) == Settings()


def test_a_pyproject_of_others_is_left_alone(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'x'\n[tool.ruff]\nline-length = 80\n"
    )
    assert resolve({}) == Settings()


# ---- switched off ----


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True), ("true", True), ("yes", True), ("on", True), ("", False), ("0", False),
        ("false", False),
        ("No", False), (" 0 ", False),
    ],
)  # fmt: skip
def test_recording_is_switched_off_by_a_variable(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", value)
    assert configuration.is_disabled() is expected


def test_recording_is_on_by_default() -> None:
    assert not configuration.is_disabled()
