"""ProML's verbs: calls, decorators and blocks, their things by digest, seen by both verifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agreement import v
from runs_for_tests import ask_both
from training_for_tests import of_type, stored, the

import mlprov
from mlprov import batches, keys

np = pytest.importorskip("numpy")

VERBS = (
    "select_data",
    "preprocess_data",
    "engineer_features",
    "train",
    "evaluate",
    "validate",
    "deploy",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, store_path: Path) -> Iterator[mlprov.Run]:
    monkeypatch.setenv("MLPROV_STORE", str(store_path))
    with mlprov.start("pipeline") as started:
        yield started


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_records_by_its_own_name(verb: str, run: mlprov.Run) -> None:
    getattr(run, verb)(inputs={"a": 1}, outputs={"b": [2]}, note="x")
    record = the(stored(run), "activity")
    assert (record["verb"], record["params"]) == (verb, {"note": "x"})
    assert [thing["name"] for thing in record["inputs"] + record["outputs"]] == ["a", "b"]
    assert (record["exception"], record["seconds"]) == (None, None)


def test_the_fields_of_promls_table_have_its_names(run: mlprov.Run) -> None:
    run.select_data(column_info=["a", "b"], label_info="b")
    run.engineer_features(feature_list=["a"])
    run.train(hyperparameters={"lr": 0.1})
    run.evaluate(f1=0.1, accuracy=0.2, recall=0.3, precision=0.4, matthew=0.5, mse=0.6, fowlkes=0.7)
    run.deploy(deployment_info="shop")
    assert [record["params"] for record in of_type(stored(run), "activity")] == [
        {"columnInfo": ["a", "b"], "labelInfo": "b"},
        {"featureList": ["a"]},
        {"hyperparameters": {"lr": 0.1}},
        {
            "F1": 0.1,
            "accuracy": 0.2,
            "recall": 0.3,
            "precision": 0.4,
            "Matthew": 0.5,
            "MSE": 0.6,
            "Fowlkes": 0.7,
        },
        {"deploymentInfo": "shop"},
    ]


def test_data_sets_have_the_roots_of_their_data_records(run: mlprov.Run, tmp_path: Path) -> None:
    arrays = (np.arange(12.0).reshape(6, 2), np.arange(6))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a").write_bytes(b"abc")
    run.track_data(arrays=arrays, files=folder, file=folder / "a")
    run.preprocess_data(inputs={"arrays": arrays, "files": folder, "file": folder / "a"})
    data = of_type(stored(run), "data")
    things = the(stored(run), "activity")["inputs"]
    assert [thing["kind"] for thing in things] == ["arrays", "files", "file"]
    for record, thing in zip(data, things, strict=True):
        assert (thing["tree"], thing["count"], thing["bytes"]) == (
            record["tree"],
            record["count"],
            record["bytes"],
        )


def test_models_digests_and_other_values_stand_by_digest(run: mlprov.Run) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 2)
    known = mlprov.digest(b"abc")
    run.deploy(inputs={"model": model, "known": known, "text": str(known), "rows": [1, "a", None]})
    by_model, by_digest, by_text, value = the(stored(run), "activity")["inputs"]
    assert (by_model["kind"], by_model["tree"]["root"]) == (
        "model",
        str(mlprov.digest_model(model).root),
    )
    assert by_digest["digest"] == by_text["digest"] == str(known)
    leaf = batches.capture_batch(0, [1, "a", None]).leaf
    assert leaf == b'{"batch":0,"items":[1,"a",null]}'
    assert (value["kind"], value["digest"], value["bytes"]) == (
        "value",
        str(mlprov.digest(leaf)),
        len(leaf),
    )


def test_a_data_frame_is_its_columns(run: mlprov.Run) -> None:
    class Frame:  # what pandas' and polars' have in common
        def __init__(self, **columns: Any) -> None:
            self._columns = columns
            self.columns = list(columns)

        def to_numpy(self) -> Any:
            return np.array(list(self._columns.values())).T

        def __getitem__(self, name: str) -> Any:
            column = self._columns[name]
            return type("Series", (), {"to_numpy": lambda self: column})()

    numbers = {"x": np.arange(3.0), "y": np.arange(3)}
    mixed = {"x": np.arange(2), "name": np.array(["a", "b"], dtype=object)}
    run.select_data(inputs={"frame": Frame(**numbers), "dict": numbers, "mixed": Frame(**mixed)})
    frame, as_dict, texts = the(stored(run), "activity")["inputs"]
    assert frame["kind"] == "arrays"
    assert frame["tree"] == as_dict["tree"]
    assert texts["kind"] == "value"


def test_a_decorated_function_is_recorded_with_each_call(run: mlprov.Run) -> None:
    @run.preprocess_data
    def clean(raw: Any, limit: int, *, drop: tuple[str, ...] = ()) -> Any:
        """Cleans."""
        return raw[raw < limit], {"dropped": int((raw >= limit).sum())}

    raw = np.arange(10)
    cleaned, _ = clean(raw, 4, drop=("a",))
    clean(raw, limit=5)
    assert (clean.__name__, clean.__doc__, len(cleaned)) == ("clean", "Cleans.", 4)
    first, second = of_type(stored(run), "activity")
    assert first["params"] == {"limit": 4, "drop": ["a"]}
    assert second["params"] == {"limit": 5}
    assert [thing["name"] for thing in first["inputs"]] == ["raw"]
    assert [thing["name"] for thing in first["outputs"]] == ["result_0", "result_1"]
    assert first["seconds"] >= 0


def test_inputs_are_hashed_before_the_function_changes_them(run: mlprov.Run) -> None:
    @run.preprocess_data
    def double(values: Any) -> Any:
        values *= 2
        return values

    values = np.arange(4.0)
    before = values.copy()
    double(values)
    run.validate(inputs={"before": before, "after": values})
    step, check = of_type(stored(run), "activity")
    assert step["inputs"][0]["tree"] == check["inputs"][0]["tree"]
    assert step["outputs"][0]["tree"] == check["inputs"][1]["tree"]


def test_an_exception_ends_the_activity_and_passes_on(run: mlprov.Run) -> None:
    @run.train
    def fail(data: Any) -> None:
        raise KeyError("a secret")

    with pytest.raises(KeyError, match="a secret"):
        fail([1])

    def score() -> None:
        with run.evaluate as activity:
            activity.params(accuracy=0.5)
            raise ValueError("another secret")

    with pytest.raises(ValueError, match="another"):
        score()
    first, second = of_type(stored(run), "activity")
    assert (first["exception"], second["exception"]) == ("builtins.KeyError", "builtins.ValueError")
    assert second["params"] == {"accuracy": 0.5}
    assert "secret" not in str(first) + str(second)


def test_what_cannot_be_hashed_is_a_gap_and_the_rest_is_recorded(
    run: mlprov.Run, tmp_path: Path
) -> None:
    with pytest.warns(mlprov.RecordingWarning):
        run.deploy(inputs={"gone": tmp_path / "gone", "there": [1]}, where="shop")
    assert the(stored(run), "gap")["what"] == "activity deploy"
    record = the(stored(run), "activity")
    assert [thing["name"] for thing in record["inputs"]] == ["there"]


def test_an_object_is_recorded_by_its_class_with_a_warning(run: mlprov.Run) -> None:
    with pytest.warns(mlprov.RecordingWarning, match="by type only"):
        run.deploy(inputs={"thing": object()})
    assert the(stored(run), "activity")["inputs"][0]["kind"] == "value"


def test_secrets_in_params_are_redacted(run: mlprov.Run) -> None:
    run.deploy(deployment_info={"api_key": "hunter2hunter2", "where": "shop"})
    assert the(stored(run), "activity")["params"] == {
        "deploymentInfo": {"api_key": "[redacted]", "where": "shop"}
    }


def test_disabled_recording_leaves_functions_and_blocks_as_they_are(
    monkeypatch: pytest.MonkeyPatch, store_path: Path
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    with mlprov.start("off", store=store_path) as run:
        assert run.train(lambda data: data + 1)(2) == 3
        with run.evaluate as activity:
            activity.inputs(a=np.ones(2))
        run.deploy(inputs={"a": 1})
    assert not store_path.exists()


def test_both_verifiers_accept_activities_and_show_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_path: Path
) -> None:
    monkeypatch.setenv("MLPROV_STORE", str(store_path))
    with mlprov.start("pipeline") as run:
        run.evaluate(inputs={"data": np.ones((2, 2))}, accuracy=0.75)
    bundle = run.export(tmp_path / "pipeline.mlprov")
    key = keys.owner_vkey()
    assert bundle is not None
    assert key is not None
    assert ask_both(bundle, keys=[key]).ok
    path = run.prove(record=1).save(tmp_path / "record.proof.json")
    verdict = mlprov.verify(path, keys=[key])
    theirs = v.verify_bytes(path.read_bytes(), v.Request(keys=[v.parse_vkey(key)]))
    assert "record 1 (activity evaluate)" in str(verdict)
    for text in (str(verdict), "\n".join(str(check) for check in theirs.checks)):
        assert 'params {"accuracy":0.75}' in text.replace('": ', '":')


def test_an_activity_of_another_form_is_refused_when_it_is_shown() -> None:
    from mlprov.record_members import check_members

    with pytest.raises(mlprov.EvidenceError, match="inputs 0 of record 2 has the kind 5"):
        check_members({"type": "activity", "verb": "train", "inputs": [{"kind": 5}]}, "record 2")


def test_the_command_line_shows_what_was_made_of_what(run: mlprov.Run, mlp: Any) -> None:
    run.preprocess_data(inputs={"raw": [1]}, outputs={"clean": [2]}, limit=3)
    run.finish()
    said = mlp("log", "@").out
    assert "preprocess_data: raw blake3:" in said
    assert "→ clean blake3:" in said
    assert "limit 3" in said


def test_a_method_is_recorded_with_its_self_as_any_argument(run: mlprov.Run) -> None:
    class Cleaner:
        @run.preprocess_data
        def clean(self, raw: Any) -> dict[str, Any]:
            return {"self": raw}

    assert Cleaner().clean([1, 2]) == {"self": [1, 2]}
    record = the(stored(run), "activity")
    assert [thing["name"] for thing in record["outputs"]] == ["self"]
    assert record["inputs"][0]["name"] == "self"


def test_an_argument_that_contains_itself_is_a_gap_and_the_function_runs(run: mlprov.Run) -> None:
    @run.train
    def fit(settings: dict[str, Any]) -> int:
        return len(settings)

    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.warns(mlprov.RecordingWarning, match="not recorded: activity train"):
        assert fit(endless) == 1
    assert [gap["what"] for gap in of_type(stored(run), "gap")] == ["activity train"]
