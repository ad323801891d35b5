"""What a run records: every member of docs/format.md section 5, its heads, its data sets."""

from __future__ import annotations

import errno
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import (
    ROOT,
    assert_log_holds,
    loader,
    network,
    of_type,
    state,
    stored,
    the,
    train_step,
)

import mlprov
from mlprov import RecordingWarning, _core

HEX32 = re.compile(r"[0-9a-f]{64}")


def is_tree(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and sorted(value) == ["root", "size"]
        and value["root"].startswith("sha256:")
        and HEX32.fullmatch(value["root"][7:]) is not None
    )


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"blake3:[0-9a-f]{64}", value) is not None


# ---- every record, every member ----

MEMBERS = {
    "run.start": "version run name project mlprov algorithm owner owner_key config code"
    " environment process ranks seeds settings parents tags group notes redacted",
    "data": "role kind tree sorted count bytes fields source weak",
    "model": "weights aliases architecture class parameters tensors bytes",
    "epoch": "epoch interrupted guard weights aliases trusted buffers optimizer ema"
    " scheduler scaler rng rng_values flags modes streams metrics privacy steps skipped",
    "batches": "streams",
    "metrics": "step metrics",
    "checkpoint": "path format files epoch weights aliases tensors mapping",
    "gap": "what epoch role count error reason",
    "run.end": "status exception epochs batches gaps overhead waits seconds",
}


STREAM = {
    *("batches", "bytes", "guard", "hash", "indices", "loader", "role", "samples", "tree"),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of a run that has one of everything."""
    torch = pytest.importorskip("torch")
    directory = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPROV_HOME", str(directory / "home"))
        model, optimizer = network()
        model.register_buffer("step", torch.zeros(1), persistent=False)
        run = mlprov.start(
            "all", model=model, optimizer=optimizer, store=directory / "store", project="thesis",
            parents=["p"],
            config={"lr": 0.1, "token": "hunter2"}, tags=["a", "b"], group="g", notes="n",
        )  # fmt: skip
        with pytest.warns(RecordingWarning), run:  # noqa: PT031
            run.track_data(train=torch.arange(12).reshape(4, 3))
            for epoch in run.epochs(2):
                for batch in run.track(loader()):
                    train_step(model, optimizer, batch)
                epoch.log(loss=0.5)
            run.log(step=7, note="text")
            run.log(bad=object())
            list(run.track([b"x"], role="validation"))
            run.save(directory / "model.safetensors")
        return stored(run)


def test_each_type_has_the_members_of_the_specification(recorded: list[dict[str, Any]]) -> None:
    for record in recorded:
        kind = record["type"]
        expected = {*MEMBERS[kind].split(), "type", "seq", "time"}
        assert set(record) == expected, kind
    assert {record["type"] for record in recorded} == set(MEMBERS)


def test_the_specification_names_every_member() -> None:
    section = (ROOT / "docs" / "format.md").read_text().split("\n## 5 ")[1].split("\n## 6 ")[0]
    table = section.split("\n**Stream** —")[1].split("\n\n`")[0]
    assert all(f"`{member}`" in table for member in STREAM)
    for kind, members in MEMBERS.items():
        about = section.split(f"\n`{kind}` —")[1].split("\n\n`")[0].split("\n\n**")[0]
        for member in members.split():
            assert f"`{member}`" in about, (kind, member)


def test_the_log_is_one_sequence_from_start_to_end(recorded: list[dict[str, Any]]) -> None:
    assert [record["seq"] for record in recorded] == list(range(len(recorded)))
    times = [record["time"] for record in recorded]
    assert times == sorted(set(times))
    assert [record["type"] for record in recorded] == [
        "run.start", "model", "data", "epoch", "epoch", "metrics", "gap", "batches",
        "checkpoint", "run.end"
    ]  # fmt: skip


def test_the_start_says_who_what_and_with_what(recorded: list[dict[str, Any]]) -> None:
    start = recorded[0]
    assert (start["version"], start["name"], start["project"], start["algorithm"]) == (
        1,
        "all",
        "thesis",
        "blake3",
    )
    assert (start["tags"], start["group"], start["notes"], start["parents"]) == (
        ["a", "b"],
        "g",
        "n",
        ["p"],
    )
    assert start["mlprov"] == mlprov.__version__
    assert start["settings"] == {
        "check": "once",
        "every": "epoch",
        "on_error": "warn",
        "snapshot": "overlap",
        "trust_version": False,
    }
    assert start["config"] == {"lr": 0.1, "token": "[redacted]"}
    assert "config.token" in start["redacted"]
    text = _core.verify_note(start["owner"].encode(), start["owner_key"])
    statement = _core.json_decode(text.split("\n")[1].encode())
    assert sorted(statement) == ["log_key", "log_origin", "run", "run_key", "time", "version"]
    assert (statement["run"], statement["version"]) == (start["run"], 1)
    assert _core.parse_vkey(statement["run_key"])[0] == f"mlprov/run/{start['run']}"
    assert _core.parse_vkey(statement["log_key"])[0] == statement["log_origin"]


def test_the_start_describes_code_environment_and_seeds(recorded: list[dict[str, Any]]) -> None:
    start = recorded[0]
    assert set(start["environment"]) == {
        "argv",
        "packages",
        "platform",
        "python",
        "torch",
        "variables",
    }
    assert set(start["code"]) >= {"git", "modules"}
    for module in start["code"]["modules"]:
        assert set(module) in ({"digest", "len", "path"}, {"error", "path"})
    assert set(start["seeds"]) == {"torch", "python_hash", "rng"}
    assert start["seeds"]["torch"] == "0"
    assert all(is_digest(digest) for digest in start["seeds"]["rng"].values())


def test_the_model_is_described(recorded: list[dict[str, Any]]) -> None:
    model = the(recorded, "model")
    assert is_tree(model["weights"])
    assert is_tree(model["architecture"])
    assert model["weights"]["size"] == model["tensors"] == 9
    assert (model["class"], model["aliases"]) == ("torch.nn.modules.container.Sequential", [])
    assert model["parameters"] == 4 * 8 + 8 + 8 + 8 + 8 * 2 + 2
    assert (
        model["bytes"] == 4 * (model["parameters"] + 16) + 8
    )  # running statistics and the count of batches


def test_an_epoch_has_the_state_of_everything(recorded: list[dict[str, Any]]) -> None:
    first, second = of_type(recorded, "epoch")
    assert [first["epoch"], second["epoch"]] == [0, 1]
    for epoch in (first, second):
        assert all(is_tree(epoch[member]) for member in ("weights", "buffers", "optimizer"))
        assert (epoch["guard"], epoch["privacy"], epoch["interrupted"]) == ("inline", None, False)
        assert epoch["metrics"] == {"loss": 0.5}
        (stream,) = epoch["streams"]
        assert set(stream) == STREAM
        assert is_tree(stream["tree"])
        assert (stream["batches"], stream["samples"], stream["indices"], stream["role"]) == (
            3,
            12,
            None,
            "train",
        )
        assert stream["bytes"] == 3 * (4 * 4 * 4 + 4 * 8)
        assert {"python", "torch"} <= set(epoch["rng"])
    assert first["weights"] != second["weights"]
    assert first["optimizer"] != second["optimizer"]


def test_the_end_sums_up(recorded: list[dict[str, Any]]) -> None:
    end = recorded[-1]
    assert (end["status"], end["exception"], end["epochs"], end["batches"], end["gaps"]) == (
        "finished",
        None,
        2,
        7,
        1,
    )
    assert 0 < end["overhead"]["seconds"] <= end["seconds"] + 0.001
    assert 0 < end["overhead"]["share"] <= 1


# ---- heads ----


def test_a_head_is_signed_at_the_start_each_epoch_each_checkpoint_and_the_end(
    tmp_path: Path,
) -> None:
    sizes = []
    with mlprov.start("heads", model=state(), store=tmp_path / "s") as run:
        sizes.append(run.head)
        for epoch in run.epochs(2):
            epoch.log(loss=1)
        sizes.append(run.head)
        (tmp_path / "file.bin").write_bytes(b"x")
        run.checkpoint(tmp_path / "file.bin")
        sizes.append(run.head)
    sizes.append(run.head)
    assert [size for size, _ in sizes if size] == [2, 4, 5, 6]  # type: ignore[misc]
    assert [anchor["head"] for anchor in run.anchors] == [2, 3, 4, 5, 6]
    assert [anchor["index"] for anchor in run.anchors] == [0, 1, 2, 3, 4]
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_the_run_key_is_deleted_at_the_end(tmp_path: Path) -> None:
    run = mlprov.start("key", store=tmp_path / "s")
    key = tmp_path / "s" / "keys" / f"{run.id}.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    run.finish()
    assert not key.exists()


# ---- configuration, data ----


def test_a_configuration_that_is_too_large_is_named_and_the_run_recorded(tmp_path: Path) -> None:
    with pytest.warns(RecordingWarning, match="configuration"):
        run = mlprov.start("large", store=tmp_path / "s", config={"x": ["y" * 1000] * 10_000})
    run.finish()
    assert the(stored(run), "run.start")["config"] == {"opaque": "builtins.dict"}


def test_each_role_that_fails_is_warned_of_and_its_gap_says_why(tmp_path: Path) -> None:
    with mlprov.start("data", store=tmp_path / "s") as run:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            run.track_data(train=object(), test=[1], more=tmp_path / "missing")
            run.track_data(train=object())
        list(run.track([b"x"]))
    said = [str(warning.message) for warning in warned]
    assert [text.split(": ")[2] for text in said] == ["data 'train'", "data 'test'", "data 'more'"]
    gaps = of_type(stored(run), "gap")
    assert [(gap["what"], gap["role"], gap["error"]) for gap in gaps] == [
        ("data", role, "ConfigError") for role in ("train", "test", "more", "train")
    ]
    assert gaps[0]["reason"].startswith(
        "cannot record the data set: seen builtins.object; expected"
    )
    assert gaps[2][
        "reason"
    ] == f"cannot record {tmp_path / 'missing'}: there is no such file or" + (" directory")


def test_the_reason_of_a_gap_is_mlprovs_own_and_never_a_foreign_message(tmp_path: Path) -> None:
    class Odd:
        shape = (3,)

        def __dlpack__(self) -> Any:
            raise RuntimeError("a secret of the data")

    with mlprov.start("data", store=tmp_path / "s") as run, pytest.warns(RecordingWarning):
        run.track_data(train=Odd(), test=f"password=hunter2 {tmp_path}")
    assert "a secret" not in str(stored(run))
    assert "hunter2" not in str(stored(run))


def test_two_data_sets_under_one_role_are_both_recorded_and_warned_of_once(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    one, other = numpy.zeros((2, 3)), numpy.ones((4, 3))
    with mlprov.start("data", store=tmp_path / "s") as run:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run.track_data(train=one)
            run.track_data(train=one)  # the same again: a cell that was run twice
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            run.track_data(train=other)
            run.track_data(train=one)
            run.track_data(train=other)
        (said,) = warned
        assert "'train' has another data set now" in str(said.message)
    assert [record["count"] for record in of_type(stored(run), "data")] == [2, 2, 4, 2, 4]
    bundle = run.export(tmp_path / "b.mlprov")
    assert bundle is not None
    numpy.save(tmp_path / "other.npy", other)
    numpy.save(tmp_path / "one.npy", one)
    last = mlprov.verify(bundle, data={"train": tmp_path / "other.npy"})["data:train"]
    assert (last.state, "5" in last.detail) == ("holds", True)
    first = mlprov.verify(bundle, data={"train": tmp_path / "one.npy"})["data:train"]
    assert first.state == "fails"


def test_data_sets_are_recorded_under_their_roles(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_bytes(b"abc")
    with mlprov.start("data", store=tmp_path / "s") as run:
        run.track_data(
            train=numpy.arange(6.0).reshape(3, 2),
            files=tmp_path / "set",
            one=tmp_path / "set" / "a.bin",
        )
        with pytest.warns(RecordingWarning, match="data"):
            run.track_data(odd=object(), test=numpy.zeros(2))
    records = stored(run)
    kinds = {
        record["role"]: (record["kind"], record["count"], record["bytes"])
        for record in of_type(records, "data")
    }
    assert kinds == {
        "train": ("arrays", 3, 48), "files": ("files", 1, 3), "one": ("file", 1, 3),
        "test": ("arrays", 2, 16)
    }  # fmt: skip
    assert the(records, "gap")["what"] == "data"
    for record in of_type(records, "data"):
        assert is_tree(record["tree"])
        assert is_tree(record["sorted"])
        assert record["weak"] == []


def test_an_error_of_the_system_is_warned_of_in_a_sentence(tmp_path: Path) -> None:
    run = mlprov.start("warns", store=tmp_path / "s")
    with pytest.warns(
        RecordingWarning, match="not recorded: data: cannot read a; b: Denied; check whose it is"
    ):
        run.recorder.gap("data", PermissionError(errno.EACCES, "Denied", "a; b"))
    run.finish()
