"""What a run was made with: loaded files, packages, variables, generators."""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlprov import _core, environment, generators, repositories

# ---- loaded files ----


def test_the_script_and_the_modules_of_its_project_are_hashed(
    repository: Path, run_python: Callable[..., str]
) -> None:
    (repository / "package").mkdir()
    (repository / "package" / "__init__.py").write_text("")
    (repository / "package" / "model.py").write_text("X = 1\n")
    (repository / "unused.py").write_text("")
    (repository / "tools").mkdir()
    script = repository / "tools" / "run.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import json, package.model, mlprov.errors\nfrom mlprov import environment, generators\n"
        "print(json.dumps(environment.capture_code()))\n"
    )
    done = subprocess.run(
        [sys.executable, script, repository], capture_output=True, text=True, check=True
    )
    code = json.loads(done.stdout)
    assert code["git"]["untracked"] == sorted(
        ["package/__init__.py", "package/model.py", "tools/run.py", "unused.py"]
        + [p.relative_to(repository).as_posix() for p in repository.rglob("*.pyc")]
    )
    paths = {module["path"]: module for module in code["modules"]}
    assert sorted(paths) == ["package/__init__.py", "package/model.py", "tools/run.py"]
    for name, module in paths.items():
        content = (repository / name).read_bytes()
        assert module == {
            "digest": f"blake3:{_core.hash_bytes(content).hex()}",
            "len": len(content),
            "path": name,
        }


def test_a_file_deleted_since_it_was_loaded_is_named(repository: Path) -> None:
    (repository / "gone.py").write_text("")
    script = repository / "run.py"
    script.write_text(
        "import sys; import os; sys.path.insert(0, os.path.dirname(__file__))\n"
        "import gone, json, os, mlprov.errors; os.unlink(gone.__file__)\n"
        "from mlprov import environment, generators\n"
        "print(json.dumps(environment.capture_code()['modules']))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0] == {"error": "FileNotFoundError", "path": "gone.py"}


def test_odd_entries_among_the_modules_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    class Angry:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("no")

    for number, entry in enumerate((None, 3, Angry(), object())):
        monkeypatch.setitem(sys.modules, f"odd_{number}", entry)
    assert isinstance(environment.capture_code()["modules"], list)


def test_cells_of_a_notebook_are_hashed_but_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    cells = ["", "x = 1", "password = 'hunter2'"]
    shell = types.SimpleNamespace(user_ns={"In": cells})
    fake = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    digests = [f"blake3:{_core.hash_bytes(cell.encode()).hex()}" for cell in cells]
    assert environment.capture_code()["cells"] == [*digests[:2], "[redacted]"]


# ---- packages, variables, platform ----


def test_the_packages_are_those_that_importlib_finds() -> None:
    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        expected.setdefault(distribution.metadata["Name"], distribution.version)
    assert environment.capture_environment()["packages"] == dict(sorted(expected.items()))


def test_packages_in_old_and_in_broken_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "new-1.dist-info/METADATA": "Metadata: 2.1\nName: New\nVersion: 1.0+cpu\n\nName: Body\n",
        "old.egg-info/PKG-INFO": "Metadata-Version: 1.0\nName: old\nVersion: 2\n",
        "older.egg-info": "Name: older\nVersion: 3\n",
        "egg-4.egg/EGG-INFO/PKG-INFO": "Name: egg\nVersion: 4\n",
        "nameless-1.dist-info/METADATA": "Version: 1\n",
        "binary-1.dist-info/METADATA": "\0\xff",
        "empty-1.dist-info/RECORD": "",
        "late-1.dist-info/METADATA": "Summary: x\n\nName: late\nVersion: 1\n",
        "module.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "second" / "new-9.dist-info").mkdir(parents=True)
    (tmp_path / "second" / "new-9.dist-info" / "METADATA").write_text("Name: New\nVersion: 9\n")
    monkeypatch.setattr(
        sys,
        "path",
        [str(tmp_path), str(tmp_path / "second"), "/nowhere", str(tmp_path / "module.py")],
    )
    assert environment.capture_environment()["packages"] == {
        "New": "1.0+cpu",
        "egg": "4",
        "old": "2",
        "older": "3",
    }


def test_only_allow_listed_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("NCCL_"):
            monkeypatch.delenv(name)
    before = set(environment.capture_environment()["variables"])  # type: ignore[arg-type]
    for name, value in {
        "OMP_NUM_THREADS": "2", "NCCL_DEBUG": "INFO", "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HOME_SECRET": "x",
        "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH_EXTRA": "x", "NCCL_AUTH_TOKEN": "hunter2",
        "XNCCL_": "x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found: list[str] = []
    variables = environment.capture_environment(found)["variables"]
    assert isinstance(variables, dict)
    assert set(variables) - before <= {
        "OMP_NUM_THREADS",
        "NCCL_DEBUG",
        "CUBLAS_WORKSPACE_CONFIG",
        "NCCL_AUTH_TOKEN",
    }
    assert (variables["NCCL_DEBUG"], variables["NCCL_AUTH_TOKEN"]) == ("INFO", "[redacted]")
    assert "variables.NCCL_AUTH_TOKEN" in found


def test_the_command_line_is_recorded_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--token", "hunter2", "b\udcff"])
    assert environment.capture_environment()["argv"] == [
        "train.py",
        "--token",
        "[redacted]",
        {"bytes": "Yv8="},
    ]
    monkeypatch.delattr(sys, "argv")
    assert environment.capture_environment()["argv"] == []


def test_the_environment_is_json_that_every_reader_accepts() -> None:
    from mlprov import records

    for value in (
        environment.capture_environment(),
        environment.capture_code(),
        generators.capture_seeds(),
    ):
        assert _core.json_decode(records.canonical(value)) == value


def test_platform_and_python_are_those_of_this_process() -> None:
    captured: dict[str, Any] = dict(environment.capture_environment())
    assert captured["python"]["version"] == sys.version.split()[0].rstrip("+")
    assert captured["platform"]["system"] == os.uname().sysname
    assert captured["platform"]["hash_kernel"] == _core.hash_kernel()


def test_torch_and_numpy_are_described_only_where_they_are_loaded(
    run_python: Callable[..., str],
) -> None:
    code = (
        "import json, sys, mlprov.errors\nfrom mlprov import environment, generators\n"
        "e = environment.capture_environment(); s = generators.capture_seeds()\n"
        "environment.capture_code(); loaded = [name in sys.modules for name in ('torch', 'numpy')]\n"  # noqa: E501
        "print(json.dumps([e['torch'], s['torch'], sorted(s['rng']), *loaded]))"
    )
    torch_facts, seed, generators, *loaded = json.loads(run_python(code))
    assert (torch_facts, seed, loaded) == (None, None, [False, False])
    assert set(generators) <= {"python"}


TORCH_FLAGS = """
import json, sys, torch, mlprov
torch.use_deterministic_algorithms(sys.argv[1] == "yes")
torch.backends.cudnn.deterministic = sys.argv[1] == "yes"
torch.backends.cudnn.benchmark = sys.argv[1] != "yes"
torch.set_float32_matmul_precision(sys.argv[2])
torch.set_default_dtype(getattr(torch, sys.argv[3]))
torch.set_num_threads(int(sys.argv[4]))
with mlprov.start("flags", store=sys.argv[5]) as run:
    pass
print(json.dumps(run.records[0]["environment"]["torch"]))
"""


@pytest.mark.parametrize(
    ("deterministic", "precision", "dtype", "threads"),
    [("yes", "high", "float64", "1"), ("no", "medium", "bfloat16", "2")],
)
def test_the_record_has_the_flags_that_torch_was_given(
    deterministic: str,
    precision: str,
    dtype: str,
    threads: str,
    run_python: Callable[..., str],
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    asked = (deterministic, precision, dtype, threads)
    facts = json.loads(run_python(TORCH_FLAGS, *asked, str(tmp_path / "store")))
    assert facts["deterministic_algorithms"] is (deterministic == "yes")
    assert facts["cudnn_deterministic"] is (deterministic == "yes")
    assert facts["cudnn_benchmark"] is (deterministic == "no")
    assert facts["float32_matmul_precision"] == precision
    assert facts["default_dtype"] == f"torch.{dtype}"
    assert facts["threads"] == int(threads)
    assert (facts["version"], facts["git"]) == (torch.__version__, torch.version.git_version)
    assert facts["cuda"] == torch.version.cuda
    assert len(facts["devices"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


# The two forms that NVIDIA's kernel modules write, proprietary and open.
DRIVERS = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n": "535.104.05",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (a@b)\n"
    "GCC version:  gcc version 13.2.0\n": "550.54.14",
    "GCC unknown\n13.2.0\n": None,
    "": None,
}


@pytest.mark.parametrize("text", DRIVERS)
def test_the_driver_of_the_devices_is_read_from_its_own_words(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(environment, "_NVIDIA_DRIVER", str(tmp_path / "version"))
    captured: dict[str, Any] = dict(environment.capture_environment())
    assert captured["torch"]["driver"] == DRIVERS[text]


def test_without_a_driver_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(environment, "_NVIDIA_DRIVER", str(tmp_path / "nowhere"))
    captured: dict[str, Any] = dict(environment.capture_environment())
    assert captured["torch"]["driver"] is None


# ---- seeds ----


def _digest(data: bytes) -> str:
    return f"blake3:{_core.hash_bytes(data).hex()}"


def test_the_state_of_pythons_generator_is_hashed_as_documented() -> None:
    random.seed(7)
    words = random.getstate()[1]
    expected = _digest(b"".join(word.to_bytes(4, "little") for word in words))
    assert generators.capture_generators()["python"] == expected
    random.random()
    assert generators.capture_generators()["python"] != expected


def test_the_state_of_numpys_generator_is_hashed_as_documented() -> None:
    numpy = pytest.importorskip("numpy")
    numpy.random.seed(7)
    name, key, position, *_ = numpy.random.get_state()
    assert name == "MT19937"
    data = key.astype("<u4").tobytes() + int(position).to_bytes(4, "little")
    assert generators.capture_generators()["numpy"] == _digest(data)


def test_another_generator_under_numpys_functions_is_left_out() -> None:
    numpy = pytest.importorskip("numpy")
    before = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(numpy.random.PCG64(1))
    try:
        assert "numpy" not in generators.capture_generators()
    finally:
        numpy.random.set_bit_generator(before)


def test_torchs_seed_is_text_because_it_exceeds_what_json_holds() -> None:
    torch = pytest.importorskip("torch")
    state = torch.get_rng_state()
    torch.manual_seed(2**63 + 5)
    seeds = generators.capture_seeds()
    assert seeds["torch"] == str(2**63 + 5)
    rng = seeds["rng"]
    assert isinstance(rng, dict)
    assert rng["torch"] == _digest(torch.get_rng_state().numpy().tobytes())
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", "0"), ("4294967295", "4294967295"), ("random", None), ("", None), (None, None)],
)
def test_the_hash_seed_is_a_number_or_null(
    value: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    else:
        monkeypatch.setenv("PYTHONHASHSEED", value)
    assert generators.capture_seeds()["python_hash"] == expected


def test_looking_at_the_generators_does_not_move_them() -> None:
    random.seed(3)
    expected = random.random()
    random.seed(3)
    generators.capture_generators()
    environment.capture_environment()
    assert random.random() == expected


@pytest.mark.timing
def test_everything_is_captured_in_a_moment(repository: Path) -> None:
    def capture() -> float:
        started = time.perf_counter()
        environment.capture_environment()
        environment.capture_code()
        generators.capture_seeds()
        repositories.read_repository(repository)
        return time.perf_counter() - started

    assert min(capture() for _ in range(10)) < 0.15
