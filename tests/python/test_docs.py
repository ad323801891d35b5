"""What README and guide show is what happens: console examples are run, code compiles.

A block marked ``console`` is a session: lines that begin with ``$`` are commands, the others what
they print. ``…`` stands for any text within a line, a line of ``…`` alone for any lines.
"""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from runs_for_tests import user, write_model

import mlprov
from mlprov.cli.__main__ import VERBS, _parser

PAGES = (
    "README.md",
    "docs/guide.md",
    "docs/founding.md",
    "docs/integrations.md",
    "docs/anchoring.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
)
SHAPES = {"0.bias": (96,), "0.weight": (96, 64), "3.bias": (10,), "3.weight": (10, 96)}


def blocks(page):
    """(language, first line, text) of every fenced block."""
    found = []
    language = None
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        if line.startswith("```"):
            if language is None:
                language, start, text = line[3:].strip(), number + 1, []
            else:
                found.append((language, start, "\n".join(text)))
                language = None
        elif language is not None:
            text.append(line)
    return found


def commands(page):
    """Every mlprov command that the page shows, in a block or in the text."""
    text = (ROOT / page).read_text()
    for language, _, block in blocks(page):
        if language in ("", "console", "sh"):
            for line in block.splitlines():
                if line.removeprefix("$ ").startswith("mlprov "):
                    yield line.removeprefix("$ ").partition("  #")[0]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from re.findall(r"`(mlprov [a-z][^`]*)`", prose)


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    """The directory in which the guide's commands are typed: a run, its files, an owner key."""
    folder = tmp_path_factory.mktemp("guide")
    chance = np.random.default_rng(0)
    model = {name: chance.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    images = chance.normal(size=(1797, 64)).astype(np.float32)
    labels = chance.integers(0, 10, size=1797)
    train, test = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
    with user(folder / "home", folder / ".mlprov"), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = {"batch_size": 64, "lr": 0.003, "hidden": 96}
        with mlprov.start("digits-mlp", model=model, config=config) as run:
            run.track_data(train=train, test=test)
            for epoch in run.epochs(10):
                starts = range(0, 1500, 64)
                for _ in run.track([tuple(part[at : at + 64] for part in train) for at in starts]):
                    pass
                for array in model.values():
                    array += 0.125
                epoch.log(loss=1.5 / (epoch.index + 1), accuracy=1 - 0.25 / (epoch.index + 1))
            write_model(folder / "model.safetensors", model)
            run.checkpoint("model.safetensors")
        run.export("digits.mlprov")
    tampered = bytearray((folder / "model.safetensors").read_bytes())
    tampered[-5] ^= 1
    (folder / "tampered.safetensors").write_bytes(tampered)
    return folder


def type_in(folder, line):
    """What a command prints, both streams, as a terminal shows them."""
    command = f"{shlex.quote(sys.executable)} -m {line}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLPROV_")
    }
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "MLPROV_HOME": str(folder / "home"), "COLUMNS": "120"},
        timeout=120,
    )
    return done.stdout


def sessions():
    for page in PAGES[:2]:
        for language, start, text in blocks(page):
            if language == "console":
                yield pytest.param(page, text, id=f"{page}:{start}")


def as_pattern(lines):
    """A regular expression for the printed lines, with its two kinds of gaps."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", ".*?") + r" *\n"
        for line in lines
    ]
    return re.compile("".join(parts))


@pytest.mark.parametrize(("page", "text"), list(sessions()))
def test_a_console_session_prints_what_the_page_says(demonstration, page, text):
    command, expected = None, []
    steps = []
    for line in [*text.splitlines(), "$ end"]:
        if line.startswith("$ "):
            if command is not None:
                steps.append((command, expected))
            command, expected = line[2:].partition("  #")[0], []
        else:
            expected.append(line)
    assert steps
    for command, expected in steps:
        assert command.startswith("mlprov")
        printed = type_in(demonstration, command)
        assert as_pattern(expected).fullmatch(printed), f"$ {command}\n{printed}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_a_page_names_exists(page):
    for command in commands(page):
        words = shlex.split(command.replace("…", "x").replace("[", "").replace("]", ""))
        verb, given = words[1], words[2:]
        if "--" in given:  # what follows is a command of somebody else
            given = given[: given.index("--")]
        assert verb in VERBS, command
        parser = _parser(verb)._subparsers._group_actions[0].choices[verb]
        known = {option for action in parser._actions for option in action.option_strings}
        for word in given:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, command


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_compiles(page):
    for language, start, text in blocks(page):
        if language == "python":
            try:
                ast.parse(text)
            except SyntaxError as error:
                pytest.fail(f"{page}:{start}: {error}")


@pytest.mark.parametrize("page", PAGES[:3])
def test_every_name_of_mlprov_in_python_blocks_is_public(page):
    for language, start, text in blocks(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "mlprov"
            ):
                assert node.attr in mlprov.__all__, f"{page}:{start}: mlprov.{node.attr}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_our_files_leads_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), target
        if anchor and place.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", place.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


def test_the_guide_names_every_verb():
    text = (ROOT / "docs/guide.md").read_text()
    assert [verb for verb in VERBS if f"mlprov {verb}" not in text] == []


def test_the_tests_of_pages_notice_what_is_not_printed(demonstration):
    assert as_pattern(["a … c", "…", "z"]).fullmatch("a b c\n1\n2\nz\n")
    assert not as_pattern(["a … c"]).fullmatch("a b d\n")
    assert not as_pattern(["a"]).fullmatch("a\nb\n")
    assert Path(demonstration, "digits.mlprov").exists()


def test_the_commands_that_the_demonstration_prints_can_be_pasted(tmp_path, monkeypatch):
    """Through a shell they come out as the words that were meant, whatever the directory."""
    pytest.importorskip("torch", reason="the demonstration trains with torch")
    pytest.importorskip("sklearn", reason="the demonstration's data are scikit-learn's")
    monkeypatch.syspath_prepend(ROOT / "examples")
    digits = importlib.import_module("digits")
    base = tmp_path / "it's $HOME; here"
    setting, *lines = digits.next_commands(base)
    assert shlex.split(setting) == [
        "export", f"MLPROV_HOME={base / 'home'}", f"MLPROV_STORE={base / 'store'}",
    ]  # fmt: skip
    for line in lines:
        words = subprocess.run(
            ["/bin/sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        verb = next(word for word in words if word in VERBS)
        assert Path(words[0]).exists()
        if verb == "verify":
            assert words[-3:] == [
                str(base / "digits.mlprov"), "--model", str(base / "model.safetensors"),
            ]  # fmt: skip
    assert len(lines) == 4
