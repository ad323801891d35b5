"""A model and tensors held against a run that mlprov recorded; both verifiers are asked."""

import os
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from runs_for_tests import (
    ask_both,
    little_model,
    saved,
    user,
    write_model,
)

import mlprov
from mlprov import keys, model_files, subjects, verification


def states(verdict):
    return {check.name: check.state for check in verdict.checks}


# ---- models ----


def test_the_saved_file_and_its_directory_are_the_recorded_model(recorded, tmp_path):
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], model=recorded.model)
    assert verdict["model"].state == "holds"
    assert verdict.ok
    arrays = saved(recorded.epochs[-1])
    write_model(tmp_path / "a.safetensors", {n: arrays[n] for n in ("bias",)})
    write_model(tmp_path / "b.safetensors", {n: arrays[n] for n in arrays if n != "bias"})
    (tmp_path / "config.json").write_text("{}")
    assert ask_both(recorded.bundle, keys=[recorded.vkey], model=tmp_path).ok


@pytest.mark.parametrize("without", ["embed.weight", "head.weight"])
def test_a_file_may_have_tied_weights_under_either_name(recorded, tmp_path, without):
    path = write_model(tmp_path / "m.safetensors", saved(recorded.epochs[-1], without))
    assert ask_both(recorded.bundle, keys=[recorded.vkey], model=path).ok


def test_a_file_with_both_copies_of_tied_weights_holds_if_both_are_right(recorded, tmp_path):
    arrays = recorded.epochs[-1]
    path = write_model(tmp_path / "m.safetensors", arrays)
    assert ask_both(recorded.bundle, keys=[recorded.vkey], model=path).ok
    untied = {**arrays, "head.weight": arrays["head.weight"] + 1}
    write_model(path, untied)
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], model=path)
    assert "'head.weight'" in verdict["model"].detail
    assert verdict.exit_code == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: {**a, "bias": a["bias"] + np.float32(0.001)}, "tensor 'bias'.*digest"),
        (lambda a: {**a, "bias": a["bias"].astype(np.float64)}, "tensor 'bias'.*dtype F64"),
        (lambda a: {**a, "bias": a["bias"].reshape(1, 2)}, r"tensor 'bias'.*shape \[1, 2\]"),
        (lambda a: {**{n: a[n] for n in a if n != "bias"}, "b": a["bias"]}, "tensor 'b' .*not in"),
        (lambda a: {n: a[n] for n in a if n != "counter"}, "'counter' .*missing"),
        (lambda a: {n: a[n] for n in a if "weight" not in n}, "'embed.weight' .*missing"),
        (lambda a: {**a, "zzz": a["bias"]}, "tensor 'zzz' .*not in"),
    ],
    ids=["value", "cast", "shape", "renamed", "missing", "tied missing", "extra"],
)
def test_a_changed_model_is_refused_by_the_name_of_the_tensor(recorded, tmp_path, change, named):
    path = write_model(tmp_path / "m.safetensors", change(saved(recorded.epochs[-1])))
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], model=path)
    assert verdict["model"].state == "fails"
    assert verdict.exit_code == 1
    with pytest.raises(mlprov.VerificationError, match=named):
        verdict.require()


def test_a_failing_check_says_what_was_seen_and_expected(recorded, tmp_path):
    arrays = saved(recorded.epochs[-1])
    path = write_model(tmp_path / "m.safetensors", {**arrays, "bias": arrays["bias"] * 2})
    check = mlprov.verify(recorded.bundle, model=path)["model"]
    assert check.expected == str(mlprov.digest(arrays["bias"]))
    assert check.seen == str(mlprov.digest(arrays["bias"] * 2))


def test_live_models_and_their_digests_are_compared_in_place(recorded):
    arrays = recorded.epochs[-1]
    for model in (arrays, saved(arrays), mlprov.digest_model(arrays)):
        assert mlprov.verify(recorded.bundle, model=model, keys=[recorded.vkey]).ok
    changed = {**arrays, "bias": arrays["bias"] + 1}
    assert mlprov.verify(recorded.bundle, model=changed)["model"].state == "fails"


def test_a_digest_by_another_algorithm_cannot_be_compared(recorded):
    model = mlprov.digest_model(recorded.epochs[-1], algorithm="sha256")
    check = mlprov.verify(recorded.bundle, model=model)["model"]
    assert check.state == "unchecked"
    assert "sha256" in check.detail


def test_a_run_of_another_algorithm_is_compared_by_it(tmp_path):
    with user(tmp_path / "home", tmp_path / "store"):
        model = little_model()
        with mlprov.start("sha", model=model, algorithm="sha256") as run:
            run.track_data(train=np.arange(4.0))
        bundle = run.export(tmp_path / "sha.mlprov")
        vkey = keys.owner_vkey()
    np.save(tmp_path / "train.npy", np.arange(4.0))
    path = write_model(tmp_path / "m.safetensors", saved(model))
    data = {"train": tmp_path / "train.npy"}
    verdict = ask_both(bundle, keys=[vkey], model=path, data=data, tensors=["bias"])
    assert verdict.ok
    assert "sha256:" in verdict["tensor:bias"].detail


def test_a_live_torch_module_is_compared_in_place(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(module.parameters())
    loader = [(torch.randn(4, 2),) for _ in range(3)]
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("torch", model=module, optimizer=optimizer) as run:
            for epoch in run.epochs(2):
                for (x,) in run.track(loader):
                    optimizer.zero_grad()
                    module(x).sum().backward()
                    optimizer.step()
                epoch.log(loss=1.0)
            path = run.save(tmp_path / "m.safetensors")
        bundle = run.export(tmp_path / "torch.mlprov", disclose=["batches", "optimizer"])
        assert mlprov.verify(bundle, model=module, tensors=["0.weight"]).ok
        assert mlprov.verify(bundle, model=module.state_dict()).ok
        assert ask_both(bundle, keys=[keys.owner_vkey()], model=path).ok
        with torch.no_grad():
            module[0].weight[1, 1] += 1
        verdict = mlprov.verify(bundle, model=module)
        assert "'0.weight'" in verdict["model"].detail
        assert verdict.exit_code == 1
        half = module.to(torch.bfloat16)
        assert "BF16" in mlprov.verify(bundle, model=half)["model"].detail
        meta = torch.nn.Linear(2, 3, device="meta")
        check = mlprov.verify(bundle, model=meta)["model"]
        assert check.state == "unchecked"
        assert "meta device" in check.detail


def test_the_weights_of_an_epoch_are_compared_where_it_is_named(recorded, tmp_path):
    first = write_model(tmp_path / "first.safetensors", saved(recorded.epochs[0]))
    for epoch, state in ((0, "holds"), (1, "fails"), (None, "fails"), (9, "unchecked")):
        asked = {} if epoch is None else {"epoch": epoch}
        verdict = ask_both(recorded.bundle, keys=[recorded.vkey], model=first, **asked)
        assert verdict["model"].state == state
        assert verdict.exit_code == {"holds": 0, "fails": 1, "unchecked": 2}[state]


def test_files_that_are_not_safetensors_are_compared_by_their_bytes(recorded, tmp_path):
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], model=recorded.pickle)
    assert verdict.ok
    assert "bytes, not tensors" in verdict["model"].detail
    other = tmp_path / "other.pkl"
    other.write_bytes(recorded.pickle.read_bytes() + b".")
    assert ask_both(recorded.bundle, keys=[recorded.vkey], model=other).exit_code == 1
    moved = tmp_path / "moved.bin"
    shutil.copy(recorded.pickle, moved)
    assert ask_both(recorded.bundle, keys=[recorded.vkey], model=moved).ok


def test_a_pickle_is_never_loaded(recorded, tmp_path):
    bomb = tmp_path / "bomb.pt"
    bomb.write_bytes(b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "owned") + b"'\ntR.")
    assert ask_both(recorded.bundle, keys=[recorded.vkey], model=bomb).exit_code == 1
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", ["missing", "fifo", "dangling", "nul"])
def test_a_model_that_cannot_be_read_is_unchecked(recorded, tmp_path, kind):
    path = tmp_path / ("a\0b" if kind == "nul" else "model.safetensors")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    verdict = mlprov.verify(recorded.bundle, model=path, keys=[recorded.vkey])
    assert verdict["model"].state == "unchecked"
    assert verdict.exit_code == 2


def test_single_tensors_are_checked_by_name(recorded):
    asked = {"keys": [recorded.vkey], "tensors": ["head.weight", "bias", "nothing"]}
    verdict = ask_both(recorded.bundle, **asked)
    assert states(verdict)["tensor:head.weight"] == states(verdict)["tensor:bias"] == "holds"
    assert states(verdict)["tensor:nothing"] == "fails"
    assert verdict.exit_code == 1
    verdict = ask_both(
        recorded.bundle, keys=[recorded.vkey], model=recorded.model, tensors=["head.weight"]
    )
    assert verdict.ok  # the file has it under the other of the tied names
    verdict = ask_both(
        recorded.bundle, keys=[recorded.vkey], model=recorded.pickle, tensors=["bias"]
    )
    assert verdict["tensor:bias"].state == "unchecked"
    assert verdict.exit_code == 2


# ---- files that change while they are read ----


def reading_then(monkeypatch, action):
    """Do something to the file between its bytes and the verdict, once."""
    original = model_files._core.hash_file_ranges
    done = []

    def hash_file_ranges(name, *arguments, **options):
        result = original(name, *arguments, **options)
        if not done:
            done.append(name)
            action(Path(os.fsdecode(name)))
        return result

    put_in_core(monkeypatch, hash_file_ranges)


def put_in_core(monkeypatch, hash_file_ranges):
    core = types.SimpleNamespace(
        safetensors_entries=model_files._core.safetensors_entries,
        hash_file_ranges=hash_file_ranges,
    )
    monkeypatch.setattr(model_files, "_core", core)


@pytest.mark.parametrize("how", ["appended", "truncated", "replaced", "swapped back", "removed"])
def test_a_model_file_that_changes_while_it_is_read_is_unchecked(
    recorded, tmp_path, monkeypatch, how
):
    path = tmp_path / "m.safetensors"
    shutil.copy(recorded.model, path)

    def change(path):
        if how == "appended":
            with path.open("ab") as file:
                file.write(b"x")
        elif how == "truncated":
            os.truncate(path, 3)
        elif how == "removed":
            path.unlink()
        else:
            shutil.copy(recorded.model, tmp_path / "other")
            path.rename(tmp_path / "kept")
            (tmp_path / "other").rename(path)
            if how == "swapped back":
                (tmp_path / "kept").rename(path)

    reading_then(monkeypatch, change)
    check = mlprov.verify(recorded.bundle, model=path)["model"]
    assert check.state == "unchecked"
    assert "changed while it was read" in check.detail or "No such file" in check.detail


def test_a_header_and_data_of_two_files_never_hold_together(recorded, tmp_path, monkeypatch):
    """The header of one file and the bytes of another that takes its place."""
    path = tmp_path / "m.safetensors"
    arrays = saved(recorded.epochs[-1])
    write_model(path, arrays)
    other = write_model(tmp_path / "other", {n: a.view(a.dtype) for n, a in arrays.items()})
    data = other.read_bytes().replace(b'"F32"', b'"I32"')  # same bytes, other header
    other.write_bytes(data)
    original = model_files._core.hash_file_ranges

    def hash_file_ranges(*arguments, **options):
        if other.exists():
            other.rename(path)
        return original(*arguments, **options)

    put_in_core(monkeypatch, hash_file_ranges)
    check = subjects_check(recorded, path)
    assert check.state == "unchecked"
    assert "changed" in check.detail


def subjects_check(recorded, path):
    return mlprov.verify(recorded.bundle, model=path)["model"]


def test_a_file_rewritten_all_the_time_never_ends_the_process(recorded, tmp_path):
    """Truncation while a file is mapped would be SIGBUS: nothing is mapped."""
    path = tmp_path / "big.safetensors"
    big = {**saved(recorded.epochs[-1]), "zz": np.zeros(1 << 20, dtype=np.float32)}
    write_model(path, big)
    content = path.read_bytes()
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            with path.open("r+b") as file:
                file.truncate(len(content) // 2)
                file.seek(0)
                file.write(content)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        code = (
            "import sys, time, mlprov\n"
            "end = time.monotonic() + 2\n"
            "seen = set()\n"
            "while time.monotonic() < end:\n"
            "    seen.add(mlprov.verify(sys.argv[1], model=sys.argv[2])['model'].state)\n"
            "print(sorted(seen))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, recorded.bundle, path],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 0, done.stderr
    assert "holds" not in done.stdout
    assert "unchecked" in done.stdout


# ---- what the verifier touches ----


def trace(tmp_path, *command):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "trace"
    calls = "execve,execveat,socket,connect,sendto,fork,vfork,clone,clone3,mmap"
    done = subprocess.run(
        [strace, "-f", "-qq", "-y", "-o", log, "-e", f"trace={calls}", *command],
        capture_output=True,
        text=True,
    )
    if not log.exists() or "execve" not in log.read_text(errors="replace"):
        pytest.skip(f"strace cannot trace here: {done.stderr.strip()[:100]}")
    return done, log.read_text(errors="replace")


def test_verify_opens_no_socket_starts_no_program_and_maps_no_evidence(recorded, tmp_path):
    done, log = trace(
        tmp_path,
        sys.executable,
        "-m",
        "mlprov",
        "verify",
        recorded.full,
        "--model",
        recorded.model,
        "--data",
        f"files={recorded.files}",
        "--key",
        recorded.vkey,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert log.count("execve") == 1
    for call in ("socket(", "connect(", "sendto(", "fork("):
        assert call not in log
    assert str(recorded.directory) not in log.replace(log.split("\n")[0], "")


RECORDER = """
import os, sys
import numpy as np
import mlprov
model = {"w": np.zeros((3, 2), dtype=np.float32)}
with mlprov.start("traced", model=model, config={"lr": 0.5}, store=sys.argv[1]) as run:
    run.track_data(train=np.arange(6).reshape(3, 2))
    for epoch in run.epochs(1):
        for batch in run.track([model["w"]]):
            model["w"] += 1
        epoch.log(loss=1.0)
assert run.export(sys.argv[2]) is not None
"""

SOCKET = """
import socket
for family in (socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError:
        pass
"""


def internet_sockets(log):
    """Lines of a trace that ask for a socket of the internet, IPv4 or IPv6."""
    calls = [line for line in log.splitlines() if "socket(" in line or "connect(" in line]
    return [line for line in calls if "AF_INET" in line]


def test_the_trace_shows_sockets_of_the_internet(tmp_path):
    """What the next tests assert can fail."""
    _, log = trace(tmp_path, sys.executable, "-c", SOCKET)
    assert len(internet_sockets(log)) >= 2
    assert "socket(AF_INET," in log
    assert "socket(AF_INET6," in log


def test_recording_and_exporting_open_no_socket_of_the_internet(tmp_path):
    bundle = tmp_path / "traced.mlprov"
    done, log = trace(tmp_path, sys.executable, "-c", RECORDER, tmp_path / "store", bundle)
    assert done.returncode == 0, done.stderr
    assert "not recorded" not in done.stderr
    assert internet_sockets(log) == []
    assert mlprov.verify(bundle).ok


def test_the_second_verifier_opens_no_socket(recorded, tmp_path):
    verifier = ROOT / "verifier" / "mlprov_verify.py"
    done, log = trace(
        tmp_path,
        sys.executable,
        verifier,
        recorded.full,
        "--model",
        recorded.model,
        "--key",
        recorded.vkey,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert log.count("execve") == 1
    for call in ("socket(", "connect(", "sendto("):
        assert call not in log


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import mlprov
asked = {"model": sys.argv[2], "data": {"files": sys.argv[3]}, "keys": [sys.argv[4]]}
verdict = mlprov.verify(sys.argv[1], **asked)
print(verdict.result, "torch" in sys.modules, "numpy" in sys.modules)
"""


def test_verification_needs_neither_torch_nor_numpy(recorded, run_python):
    arguments = map(str, (recorded.full, recorded.model, recorded.files, recorded.vkey))
    assert run_python(BLOCKER, *arguments).strip() == "holds False False"


def test_verifying_a_file_imports_neither_torch_nor_numpy(recorded, run_python):
    code = BLOCKER.replace("sys.meta_path.insert(0, Blocker())", "")
    arguments = map(str, (recorded.full, recorded.model, recorded.files, recorded.vkey))
    assert run_python(code, *arguments).strip() == "holds False False"


def test_a_small_bundle_is_verified_in_a_moment(recorded):
    best = min(timed(lambda: verification.verify_bytes(recorded.data, "it")) for _ in range(3))
    assert best < 0.5


def timed(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def test_a_model_is_read_once_for_all_that_is_asked(recorded, monkeypatch):
    calls = []
    original = subjects.Subject.read
    monkeypatch.setattr(
        subjects.Subject, "read", staticmethod(lambda *a: calls.append(1) or original(*a))
    )
    mlprov.verify(recorded.bundle, model=recorded.model, tensors=["bias", "counter"])
    assert len(calls) == 1
    calls.clear()
    mlprov.verify(recorded.bundle, model="/nowhere", tensors=["bias", "counter"])
    assert len(calls) == 1
