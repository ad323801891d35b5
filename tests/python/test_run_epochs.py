"""Epochs, the batches that pass through them, and metrics."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import (
    assert_log_holds,
    of_type,
    stored,
    the,
)

import mlprov
from mlprov import ConfigError, RecordingWarning, StoreError, _core

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
