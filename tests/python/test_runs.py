"""Recording a run: every member of docs/format.md section 5, and every way a run can go."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import time
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
    run_script,
    state,
    stored,
    the,
    train_step,
)

import mlprov
from mlprov import ConfigError, RecordingWarning, StoreError, _core

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
    " environment seeds settings parents tags group notes redacted",
    "data": "role kind tree sorted count bytes fields source weak",
    "model": "weights aliases architecture class parameters tensors bytes",
    "epoch": "epoch interrupted guard weights aliases buffers optimizer rng streams metrics"
    " privacy",
    "batches": "streams",
    "metrics": "step metrics",
    "checkpoint": "path format files epoch weights aliases tensors mapping",
    "gap": "what epoch count error",
    "run.end": "status exception epochs batches gaps overhead seconds",
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
    assert start["settings"] == {"every": "epoch", "on_error": "warn", "snapshot": "inline"}
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
        assert set(stream) == {"role", "tree", "indices", "batches", "samples", "bytes"}
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


# ---- epochs ----


def test_a_loop_that_is_left_early_ends_its_epoch_as_interrupted(tmp_path: Path) -> None:
    with mlprov.start("left", store=tmp_path / "s") as run:
        for epoch in run.epochs(5):
            for number, _ in enumerate(run.track([b"a", b"b", b"c"])):
                if epoch.index == 1 and number == 1:
                    break
            if epoch.index == 1:
                break
        (tmp_path / "f").write_bytes(b"x")
        run.checkpoint(tmp_path / "f")
    epochs = of_type(stored(run), "epoch")
    assert [(e["epoch"], e["interrupted"], e["streams"][0]["batches"]) for e in epochs] == [
        (0, False, 3),
        (1, True, 2),
    ]
    assert the(stored(run), "checkpoint")["epoch"] == 0
    assert the(stored(run), "run.end")["epochs"] == 2


class Odd(Exception):  # noqa: N818
    """What a training may raise."""


def test_an_exception_ends_the_run_as_failed_and_its_message_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(Odd, match="hunter2"), mlprov.start("failed", store=tmp_path / "s") as run:  # noqa: PT012
        for _ in run.epochs(3):
            for _ in run.track([b"a", b"b"]):
                raise Odd("hunter2")
    records = stored(run)
    epoch, end = the(records, "epoch"), the(records, "run.end")
    assert (epoch["interrupted"], epoch["streams"][0]["batches"]) == (True, 1)
    assert (end["status"], end["exception"]) == ("failed", f"{__name__}.Odd")
    assert run.status == "failed"
    assert not any(b"hunter2" in p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file())
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_no_exception_ends_the_run_too(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), mlprov.start("stopped", store=tmp_path / "s") as run:  # noqa: PT012
        for _ in run.epochs(3):
            raise error
    end = the(stored(run), "run.end")
    assert (end["status"], end["exception"]) == ("failed", f"builtins.{type(error).__name__}")


def test_an_epoch_whose_generator_is_still_held_is_ended_by_finish(tmp_path: Path) -> None:
    run = mlprov.start("held", store=tmp_path / "s")
    epochs = run.epochs(3)
    next(epochs).log(loss=1)
    batches = iter(run.track([b"a", b"b", b"c"]))
    next(batches)
    run.finish()
    epoch = the(stored(run), "epoch")
    assert (epoch["interrupted"], epoch["streams"][0]["batches"], epoch["metrics"]) == (
        True,
        1,
        {"loss": 1},
    )
    with pytest.raises(StoreError, match="has ended"):
        list(batches)
    with pytest.raises(StoreError, match="has ended"):
        list(epochs)
    assert list((tmp_path / "s" / "trees").glob("*.open")) == []


def test_a_loader_that_outlives_its_epoch_gives_each_epoch_its_own_batches(tmp_path: Path) -> None:
    with mlprov.start("endless", store=tmp_path / "s") as run:
        batches = iter(run.track([bytes([n]) for n in range(7)]))
        next(batches)
        for _ in run.epochs(3):
            for _ in range(2):
                next(batches)
    records = stored(run)
    assert [epoch["streams"][0]["batches"] for epoch in of_type(records, "epoch")[1:]] == [2, 2]
    seen = [stream["batches"] for r in records for stream in r.get("streams", [])]
    assert sum(seen) == 7 == the(records, "run.end")["batches"]
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_batches_outside_of_an_epoch_have_a_record_of_their_own(tmp_path: Path) -> None:
    with mlprov.start("outside", store=tmp_path / "s") as run:
        assert list(run.track([b"a", b"b"], role="validation")) == [b"a", b"b"]
    (stream,) = the(stored(run), "batches")["streams"]
    assert (stream["role"], stream["batches"]) == ("validation", 2)


def test_epochs_may_be_named_by_their_indices(tmp_path: Path) -> None:
    with mlprov.start("indices", store=tmp_path / "s") as run:
        assert [int(epoch.index) for epoch in run.epochs(range(5, 8))] == [5, 6, 7]
        assert [["a", "b"][epoch] for epoch in run.epochs(2)] == ["a", "b"]
        (tmp_path / "f").write_bytes(b"x")
        run.checkpoint(tmp_path / "f")
    assert [epoch["epoch"] for epoch in of_type(stored(run), "epoch")] == [5, 6, 7, 0, 1]
    assert the(stored(run), "checkpoint")["epoch"] == 1


@pytest.mark.parametrize("indices", [["a"], [-1], [1.5], [True], [2**53]])
def test_an_epoch_that_is_no_index_is_refused(indices: list[Any], tmp_path: Path) -> None:
    with (
        mlprov.start("odd", store=tmp_path / "s") as run,
        pytest.raises(ConfigError, match="epoch"),
    ):
        list(run.epochs(indices))


def test_an_epoch_within_an_epoch_leaves_the_outer_one_open(tmp_path: Path) -> None:
    with mlprov.start("nested", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            for _ in run.epochs([10]):
                list(run.track([b"inner"]))
            list(run.track([b"outer"]))
    assert [(e["epoch"], len(e["streams"])) for e in of_type(stored(run), "epoch")] == [
        (10, 1),
        (0, 1),
    ]


def test_no_epochs_are_no_records(tmp_path: Path) -> None:
    with mlprov.start("none", store=tmp_path / "s") as run:
        assert list(run.epochs(0)) == []
    assert [record["type"] for record in stored(run)] == ["run.start", "run.end"]


# ---- batches ----


def test_a_tracked_loader_gives_the_same_objects_and_is_the_loader_otherwise(
    tmp_path: Path,
) -> None:
    class Loader(list[Any]):
        batch_size = 4

    batches = Loader([object(), [1], b"x"])
    with mlprov.start("same", store=tmp_path / "s") as run:
        tracked = run.track(batches)
        with pytest.warns(RecordingWarning, match="object"):
            assert all(given is own for given, own in zip(tracked, batches, strict=True))
        assert (len(tracked), tracked.batch_size) == (3, 4)
        assert copy.copy(tracked).batch_size == 4
        with pytest.raises(AttributeError):
            _ = tracked.missing


def test_the_leaves_of_a_stream_are_those_of_its_batches(tmp_path: Path) -> None:
    from mlprov.batches import capture_batch

    data = [{"x": b"abc", "n": number} for number in range(5)]
    with mlprov.start("leaves", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            list(run.track(data))
    (stream,) = the(stored(run), "epoch")["streams"]
    leaves = [capture_batch(number, batch).leaf for number, batch in enumerate(data)]
    assert stream["tree"] == {"root": f"sha256:{_core.merkle_root(leaves).hex()}", "size": 5}
    with _core.Store(tmp_path / "s", read_only=True) as store:
        assert store.get_leaves(_core.merkle_root(leaves)) == leaves


def test_an_empty_loader_is_an_empty_stream(tmp_path: Path) -> None:
    with mlprov.start("empty", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            assert list(run.track([])) == []
    (stream,) = the(stored(run), "epoch")["streams"]
    assert (stream["batches"], stream["tree"]["size"]) == (0, 0)


def test_a_batch_that_cannot_be_hashed_keeps_its_number_and_is_a_gap(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    batches = [torch.zeros(1), [torch.zeros(2, device="meta")], torch.ones(1)]
    with (  # noqa: PT031
        mlprov.start("hole", store=tmp_path / "s") as run,
        pytest.warns(RecordingWarning, match="meta"),
    ):
        for _ in run.epochs(1):
            assert all(a is b for a, b in zip(run.track(batches), batches, strict=True))
    records = stored(run)
    (stream,) = the(records, "epoch")["streams"]
    with _core.Store(tmp_path / "s", read_only=True) as store:
        leaves = store.get_leaves(bytes.fromhex(stream["tree"]["root"][7:]))
    assert [_core.json_decode(leaf)["batch"] for leaf in leaves] == [0, 1, 2]
    assert leaves[1] == b'{"batch":1,"items":{"$opaque":"builtins.list"}}'
    gap = the(records, "gap")
    assert (gap["what"], gap["epoch"], gap["count"]) == ("batch", 0, 1)
    assert gap["error"].startswith("UnsupportedTensorError")
    assert the(records, "run.end")["gaps"] == 1


@pytest.mark.parametrize("role", ["", "a b", "-x", "é", "x" * 65, 3, None, "a/b", "a\n"])
def test_a_role_is_a_plain_word(role: Any, tmp_path: Path) -> None:
    with mlprov.start("roles", store=tmp_path / "s") as run:
        with pytest.raises(ConfigError, match="role"):
            run.track([], role=role)
        if isinstance(role, str):
            with pytest.raises(ConfigError, match="role"):
                run.track_data(**{role: [1]})


# ---- metrics ----


def test_metrics_of_every_kind_are_recorded_by_value(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    numpy = pytest.importorskip("numpy")
    given = {
        "int": 3, "float": 0.5, "nan": float("nan"), "inf": float("-inf"), "true": True,
        "none": None, "text": "é",
        "big": 2**60, "tensor": torch.tensor(0.25), "one": torch.tensor([[7]]),
        "grad": torch.ones(1, requires_grad=True),
        "half": torch.tensor(0.5, dtype=torch.bfloat16), "scalar": numpy.float32(0.5),
        "array": numpy.array([4]),
        "tensor nan": torch.tensor(float("nan")), "bool": numpy.bool_(False), "complete": 1.0,
    }  # fmt: skip
    with mlprov.start("metrics", store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            epoch.log(**given)
            epoch.log(int=4)
        run.log(step=5, **given)
        run.log(loss=1)
    expected = {
        "int": 3, "float": 0.5, "nan": "NaN", "inf": "-Infinity", "true": True, "none": None,
        "text": "é",
        "big": str(2**60), "tensor": 0.25, "one": 7, "grad": 1, "half": 0.5, "scalar": 0.5,
        "array": 4,
        "tensor nan": "NaN", "bool": False, "complete": 1,
    }  # fmt: skip
    assert the(stored(run), "epoch")["metrics"] == {**expected, "int": 4}
    first, second = of_type(stored(run), "metrics")
    assert (first["step"], first["metrics"]) == (5, expected)
    assert (second["step"], second["metrics"]) == (None, {"loss": 1})
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


@pytest.mark.parametrize("bad", [object(), [1.0], {"a": 1}, b"bytes", 1j, {1}])
def test_a_metric_that_is_no_number_is_a_gap_and_the_epoch_stays(bad: Any, tmp_path: Path) -> None:
    with mlprov.start("bad", store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            epoch.log(good=1)
            with pytest.warns(RecordingWarning, match="'bad'"):
                epoch.log(bad=bad)
    records = stored(run)
    assert the(records, "epoch")["metrics"] == {"good": 1}
    assert (the(records, "gap")["what"], the(records, "gap")["error"]) == ("metric", "ConfigError")


def test_a_tensor_of_many_elements_is_no_metric(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with mlprov.start("many", store=tmp_path / "s") as run:
        for value in (torch.zeros(2), torch.zeros(1, device="meta"), torch.tensor(1j)):
            with pytest.warns(RecordingWarning, match="'loss'"):
                run.log(loss=value)
            run.recorder._warned.clear()
    assert len(of_type(stored(run), "gap")) == 3


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_metric_whose_name_cannot_be_written_does_not_spoil_the_epoch(
    name: str, tmp_path: Path
) -> None:
    with mlprov.start("names", store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            epoch.log(**{"good": 1, "": 2, "a.b c": 3})
            with pytest.warns(RecordingWarning, match="rename it"):
                epoch.log(**{name: 1})
    assert the(stored(run), "epoch")["metrics"] == {"good": 1, "": 2, "a.b c": 3}
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_secrets_among_texts_are_redacted(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    with mlprov.start(
        "secrets",
        store=tmp_path / "s",
        notes=f"see {token}",
        tags=["a", token],
        group=token,
        config={"x": token},
    ) as run:
        for epoch in run.epochs(1):
            epoch.log(note=token, password="x")
        run.log(note=f"x {token}")
    assert not any(
        token.encode() in p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()
    )
    start = the(stored(run), "run.start")
    assert {"config.x", "notes", "tags", "group"} <= set(start["redacted"])


def test_what_is_logged_after_an_epoch_has_a_record_of_its_own(tmp_path: Path) -> None:
    with mlprov.start("late", store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1)
        epoch.log(final=2)
    assert the(stored(run), "epoch")["metrics"] == {"loss": 1}
    assert the(stored(run), "metrics")["metrics"] == {"final": 2}


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (2**60, str(2**60)), (-1, -1), (True, 1)])
def test_a_step_is_an_integer(step: int, expected: object, tmp_path: Path) -> None:
    with mlprov.start("steps", store=tmp_path / "s") as run:
        run.log(step=step, loss=1)
        with pytest.warns(RecordingWarning, match="metric"):
            run.log(step=1.5, loss=1)  # type: ignore[arg-type]
    assert the(stored(run), "metrics")["step"] == expected


# ---- configuration, data ----


def test_a_configuration_that_is_too_large_is_named_and_the_run_recorded(tmp_path: Path) -> None:
    with pytest.warns(RecordingWarning, match="configuration"):
        run = mlprov.start("large", store=tmp_path / "s", config={"x": ["y" * 1000] * 10_000})
    run.finish()
    assert the(stored(run), "run.start")["config"] == {"opaque": "builtins.dict"}


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


# ---- models ----


def test_a_run_needs_no_model(tmp_path: Path) -> None:
    with mlprov.start("bare", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            pass
        with pytest.raises(ConfigError, match="no model"):
            run.save(tmp_path / "m.safetensors")
    epoch = the(stored(run), "epoch")
    assert [epoch[m] for m in ("weights", "buffers", "optimizer", "aliases")] == [
        None,
        None,
        None,
        [],
    ]
    assert of_type(stored(run), "model") == []
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_state_dict_is_a_model_too(tmp_path: Path) -> None:
    model: dict[str, Any] = dict(state())
    with mlprov.start("state", model=model, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            model["bias"] = memoryview(b"next")
    records = stored(run)
    described = the(records, "model")
    assert (described["class"], described["architecture"], described["tensors"]) == (
        "builtins.dict",
        None,
        2,
    )
    roots = [
        described["weights"]["root"],
        *(e["weights"]["root"] for e in of_type(records, "epoch")),
    ]
    assert roots[0] != roots[1] == roots[2]
    assert roots[2] == str(mlprov.digest_model(model).root)
    proof = run.prove(tensor="bias")
    assert proof is not None
    assert proof.verify().ok


def test_a_state_dict_of_tensors_is_saved(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    model = {"a": torch.arange(3.0), "b": torch.ones(2, 2).T}
    with mlprov.start("state", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    assert the(stored(run), "checkpoint")["mapping"] == {"entries": [], "equal": 2, "missing": []}
    with (
        mlprov.start("buffers", model=state(), store=tmp_path / "s") as run,
        pytest.raises(ConfigError, match="torch"),
    ):
        run.save(tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_tied_weights_are_aliases_and_saved_once(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
    )
    model[1].weight = model[0].weight
    with mlprov.start("tied", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    assert list(load_file(tmp_path / "m.safetensors")) == ["0.weight"]
    records = stored(run)
    checkpoint = the(records, "checkpoint")
    assert the(records, "model")["aliases"] == checkpoint["aliases"] == [["0.weight", "1.weight"]]
    assert (checkpoint["weights"]["size"], checkpoint["tensors"]["size"]) == (2, 1)
    assert checkpoint["mapping"] == {"entries": [], "equal": 1, "missing": []}
    run.export(tmp_path / "b.mlprov")
    assert mlprov.verify(tmp_path / "b.mlprov", model=tmp_path / "m.safetensors").ok


def test_views_of_one_memory_are_saved_each_whole(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    base = torch.arange(6.0)
    model = {"all": base, "head": base[:2], "column": base.reshape(2, 3)[:, 1]}
    with mlprov.start("views", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    read = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in model.items())
    assert the(stored(run), "checkpoint")["mapping"]["equal"] == 3


def test_saving_where_nothing_can_be_written_raises_and_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model, _ = network()
    with mlprov.start("nowhere", model=model, store=tmp_path / "s") as run:
        with pytest.raises(OSError, match="missing"):
            run.save(tmp_path / "missing" / "m.safetensors")
        (tmp_path / "folder").mkdir()
        with pytest.raises(OSError):
            run.save(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "s"]
    assert of_type(stored(run), "checkpoint") == []


def test_a_directory_of_shards_is_one_checkpoint(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    model, _ = network()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    names = sorted(tensors)
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file({n: tensors[n] for n in names[:4]}, folder / "model-1.safetensors")
    save_file(
        {n: tensors[n] + 1 for n in names[4:6]} | {"extra": tensors[names[0]] * 1},
        folder / "sub" / "b.safetensors",
    )
    (folder / "config.json").write_text("{}")
    (folder / "link").symlink_to(folder / "config.json")
    with mlprov.start("shards", model=model, store=tmp_path / "s") as run:
        run.checkpoint(folder)
    checkpoint = the(stored(run), "checkpoint")
    assert checkpoint["format"] == "safetensors"
    assert [file["path"] for file in checkpoint["files"]] == [
        "config.json",
        "model-1.safetensors",
        "sub/b.safetensors",
    ]
    assert checkpoint["mapping"] == {
        "equal": 4,
        "entries": [
            *({"file": name, "kind": "unmatched", "live": name} for name in names[4:6]),
            {"file": "extra", "kind": "unmatched", "live": None},
        ],
        "missing": names[6:],
    }


@pytest.mark.parametrize("name", ["m.pt", "broken.safetensors"])
def test_a_file_of_any_kind_is_recorded_by_its_bytes(name: str, tmp_path: Path) -> None:
    content = b"\x80\x04pickle"
    (tmp_path / name).write_bytes(content)
    with mlprov.start("opaque", model=state(), store=tmp_path / "s") as run:
        run.checkpoint(tmp_path / name)
    checkpoint = the(stored(run), "checkpoint")
    assert (checkpoint["format"], checkpoint["tensors"], checkpoint["mapping"]) == (
        "opaque",
        None,
        None,
    )
    assert checkpoint["files"] == [
        {
            "blake3": _core.hash_bytes(content).hex(), "len": len(content), "path": name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]  # fmt: skip


def test_a_path_is_recorded_as_named_and_relative_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "out").mkdir(parents=True)
    for place in ("work/out/a", "b"):
        (tmp_path / place).write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "work")
    with mlprov.start("paths", store=tmp_path / "s") as run:
        for given in ("out/a", "out/../../b", tmp_path / "work" / "out" / "a", tmp_path / "b"):
            run.checkpoint(given)
    assert [c["path"] for c in of_type(stored(run), "checkpoint")] == [
        "out/a",
        "out/../../b",
        "out/a",
        str(tmp_path / "b"),
    ]


@pytest.mark.parametrize("kind", ["missing", "empty", "fifo", "twice"])
def test_a_checkpoint_that_cannot_be_read_is_a_gap_that_names_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if kind == "empty":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "twice":
        path.mkdir()
        for name in ("a", "b"):
            (path / f"{name}.safetensors").write_bytes(
                (64).to_bytes(8, "little")
                + b'{"w":{"data_offsets":[0,1],"dtype":"U8","shape":[1]}}'.ljust(64)
                + b"x"
            )
    with (
        mlprov.start("gap", store=tmp_path / "s") as run,
        pytest.warns(RecordingWarning, match=r"model\.safetensors"),
    ):
        run.checkpoint(path)
    assert the(stored(run), "gap")["what"] == "checkpoint"
    assert of_type(stored(run), "checkpoint") == []


# ---- several runs, ends ----


def test_two_runs_in_one_process_do_not_mix(tmp_path: Path) -> None:
    first = mlprov.start("first", store=tmp_path / "s")
    second = mlprov.start("second", store=tmp_path / "s")
    for a, b in zip(first.epochs(2), second.epochs(2), strict=True):
        a.log(who=1)
        b.log(who=2)
    second.finish()
    first.log(after=True)
    first.finish()
    for run, who in ((first, 1), (second, 2)):
        assert [e["metrics"] for e in of_type(stored(run), "epoch")] == [{"who": who}] * 2
        assert_log_holds(tmp_path / "s", run.id, tmp_path)
    assert len({anchor["index"] for run in (first, second) for anchor in run.anchors}) == len(
        first.anchors
    ) + len(second.anchors)


def test_after_the_end_every_recording_call_says_so(tmp_path: Path) -> None:
    run = mlprov.start("over", model=state(), store=tmp_path / "s")
    epoch = next(iter(run.epochs(1)))
    run.finish()
    before = stored(run)
    (tmp_path / "f").write_bytes(b"x")
    for call in (
        lambda: run.log(a=1),
        lambda: epoch.log(a=1),
        lambda: run.track_data(train=[b"x"]),
        lambda: run.checkpoint(tmp_path / "f"),
        lambda: list(run.track([b"x"])),
        lambda: list(run.epochs(1)),
        run.wait,
    ):
        with pytest.raises(StoreError, match="has ended"):
            call()
    assert stored(run) == before
    assert run.records == before
    assert [anchor["head"] for anchor in run.anchors] == [2, 3, 4]


def test_finish_may_be_called_again_and_inside_the_block(tmp_path: Path) -> None:
    with mlprov.start("twice", store=tmp_path / "s") as run:
        run.finish()
        run.finish(status="failed")
    run.finish()
    assert the(stored(run), "run.end")["status"] == "finished"
    assert run.status == "finished"


def test_a_status_of_ones_own_is_refused(tmp_path: Path) -> None:
    run = mlprov.start("status", store=tmp_path / "s")
    with pytest.raises(ConfigError, match="excellent"):
        run.finish(status="excellent")
    run.finish(status="failed")
    assert (run.status, the(stored(run), "run.end")["exception"]) == ("failed", None)


def test_waiting_puts_every_head_into_the_log(tmp_path: Path) -> None:
    with mlprov.start("wait", store=tmp_path / "s") as run:
        assert run.anchors == []
        assert run.wait(1) is True
        assert [anchor["head"] for anchor in run.anchors] == [1]


def test_a_running_run_can_be_exported_and_proved(tmp_path: Path) -> None:
    with mlprov.start("open", model=state(), store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1)
        run.export(tmp_path / "open.mlprov")
        verdict = mlprov.verify(tmp_path / "open.mlprov")
        assert verdict.ok, str(verdict)
        proof = run.prove(record=0)
        assert proof is not None
        assert proof.verify().ok
    run.export(tmp_path / "open.mlprov")
    assert mlprov.verify(tmp_path / "open.mlprov").ok


@pytest.mark.parametrize(
    ("end", "status", "exception"),
    [
        ("", "finished", None),
        ("raise ValueError('hunter2')", "failed", "builtins.ValueError"),
        ("import sys; sys.exit(0)", "finished", None),
    ],
)
def test_a_script_that_never_calls_finish_ends_its_run_at_exit(
    end: str, status: str, exception: str | None, tmp_path: Path
) -> None:
    code = (
        f"import sys, mlprov\nrun = mlprov.start('exit', store=sys.argv[1])\nprint(run.id)\n{end}\n"
    )
    done = run_script(code, tmp_path / "s", check=False)
    from mlprov import stores

    with stores.open_store(tmp_path / "s") as store:
        last = stores.decode_records(store, done.stdout.strip())[-1]
    assert (last["type"], last["status"], last["exception"]) == ("run.end", status, exception)


def test_an_old_failure_of_the_session_is_not_the_runs(tmp_path: Path) -> None:
    code = (
        "import sys, mlprov\nsys.last_value = ValueError('old')\n"
        "run = mlprov.start('exit', store=sys.argv[1])\nprint(run.id)\n"
    )
    done = run_script(code, tmp_path / "s")
    from mlprov import stores

    with stores.open_store(tmp_path / "s") as store:
        assert stores.decode_records(store, done.stdout.strip())[-1]["status"] == "finished"


# ---- what a run says of itself ----


def test_a_run_prints_five_lines(tmp_path: Path) -> None:
    run = mlprov.start("print", model=state(), store=tmp_path / "s")
    lines = str(run).splitlines()
    assert [line.split()[0] for line in lines] == ["run", "root", "recorded", "cost", "verify"]
    assert run.id in lines[0]
    assert "running" in lines[0]
    assert run.head is not None
    assert run.head[1] in lines[1]
    assert f"mlprov export {run.id}" in lines[4]
    (tmp_path / "m.bin").write_bytes(b"x")
    run.checkpoint(tmp_path / "m.bin")
    run.finish()
    run.export(tmp_path / "b.mlprov")
    assert str(run).splitlines()[4].split(maxsplit=1)[1] == (
        f"mlprov verify {tmp_path / 'b.mlprov'} --model {tmp_path / 'm.bin'}"
    )
    assert "finished" in str(run)
    assert repr(run) == f"<mlprov.Run {run.id} 'print' finished>"


def test_the_overhead_is_what_recording_took(tmp_path: Path) -> None:
    run = mlprov.start("overhead", model=state(), store=tmp_path / "s")
    before = run.overhead["seconds"]
    time.sleep(0.2)
    assert run.overhead["seconds"] == before
    started = time.perf_counter()
    for _ in run.epochs(3):
        list(run.track([b"x"] * 10))
    spent = time.perf_counter() - started
    assert before < run.overhead["seconds"] <= before + spent
    run.finish()
    final = run.overhead
    assert 0 < final["share"] < 1
    time.sleep(0.05)
    assert run.overhead == final


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "\ud800", 3, None])
def test_a_run_has_a_name_that_can_be_written(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        mlprov.start(name, store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "name", ["naïve 実験", "a/b", "../..", "x" * 1000, "\x1b[31m", "'; DROP TABLE runs; --"]
)
def test_any_text_is_a_name(name: str, tmp_path: Path) -> None:
    with mlprov.start(name, store=tmp_path / "s", project=name) as run:
        pass
    start = the(stored(run), "run.start")
    assert (start["name"], start["project"]) == (name, name)
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


@pytest.mark.parametrize("algorithm", ["blake3", "sha256", "sha384", "sha512"])
def test_every_algorithm_is_used_for_tensors_and_batches(algorithm: str, tmp_path: Path) -> None:
    with mlprov.start("digests", model=state(), store=tmp_path / "s", algorithm=algorithm) as run:
        for _ in run.epochs(1):
            list(run.track([b"abc"]))
    records = stored(run)
    epoch = the(records, "epoch")
    with _core.Store(tmp_path / "s", read_only=True) as store:
        for tree in (epoch["weights"], epoch["streams"][0]["tree"]):
            leaf = store.get_leaves(bytes.fromhex(tree["root"][7:]))[0]
            assert f'"{algorithm}:'.encode() in leaf
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_seeds_are_left_out_when_they_are_not_wanted(tmp_path: Path) -> None:
    with mlprov.start("unseeded", store=tmp_path / "s", seeds=False) as run:
        for _ in run.epochs(1):
            pass
    records = stored(run)
    assert the(records, "run.start")["seeds"] is None
    assert the(records, "epoch")["rng"] == {}


# ---- switched off ----


def test_a_disabled_run_keeps_every_call_working_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    monkeypatch.chdir(tmp_path)
    batches = [object(), b"x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mlprov.start(
            "off", model=object(), optimizer=object(), config=object(), algorithm="md5"
        ) as run:
            run.track_data(train=object())
            for epoch in run.epochs(3):
                assert list(run.track(batches, role="train")) == batches
                epoch.log(loss=object())
            run.log(step=1, x=object())
            run.checkpoint("missing")
            assert run.wait(1) is False
            assert run.prove(tensor="x") is None
            assert run.export("x.mlprov") is None
            assert (run.head, run.records, run.anchors) == (None, [], [])
        run.finish()
        run.log(after=1)
        assert run.status == "disabled"
        assert "disabled" in str(run)
        assert run.overhead["seconds"] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disabled_run_still_writes_the_model_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    model, _ = network()
    with mlprov.start("off", model=model) as run:
        run.save(tmp_path / "m.safetensors")
    assert mlprov.digest_model(tmp_path / "m.safetensors").root == mlprov.digest_model(model).root


@pytest.mark.timing
def test_a_disabled_run_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    batches = list(range(100_000))

    def plain() -> float:
        started = time.perf_counter()
        for _ in batches:
            pass
        return time.perf_counter() - started

    def disabled() -> float:
        run = mlprov.start("off")
        tracked = run.track(batches)
        started = time.perf_counter()
        for _ in tracked:
            pass
        return time.perf_counter() - started

    assert min(disabled() for _ in range(7)) < 2 * min(plain() for _ in range(7)) + 0.001
    started = time.perf_counter()
    for _ in range(100):
        mlprov.start("off").finish()
    assert time.perf_counter() - started < 0.5


@pytest.mark.timing
def test_a_run_starts_in_a_moment(tmp_path: Path) -> None:
    def start(number: int) -> float:
        started = time.perf_counter()
        run = mlprov.start("fast", model=state(), store=tmp_path / "s")
        spent = time.perf_counter() - started
        run.finish()
        return spent

    assert min(start(number) for number in range(8)) < 0.15
