"""The weights after a step: ``--step N`` of both verifiers and of proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import saved, standard_run, v, verify, weights
from cli_for_tests import run_command
from runs_for_tests import ask_both
from training_for_tests import loader, network, of_type, stored, train_step

import mlprov
from mlprov import ConfigError, StoreError, keys


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with its weights after every second of six steps, and those of each as a file."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    directory = tmp_path_factory.mktemp("steps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPROV_HOME", str(directory / "home"))
        model, optimizer = network()
        step = 0
        with mlprov.start(
            "steps", model=model, optimizer=optimizer, store=directory / "store", every=2
        ) as run:
            for _ in run.epochs(2):
                for batch in run.track(loader()):
                    train_step(model, optimizer, batch)
                    step += 1
                    save_file(model.state_dict(), directory / f"{step}.safetensors")
        bundle = run.export(directory / "steps.mlprov")
        vkey = keys.owner_vkey()
        yield run, bundle, directory, [vkey]


def test_a_file_is_held_against_the_weights_after_the_named_step(stepped: Any) -> None:
    run, bundle, directory, vkeys = stepped
    assert [record["step"] for record in of_type(stored(run), "step")] == [2, 4, 6]
    for step in (2, 4, 6):
        own = directory / f"{step}.safetensors"
        assert ask_both(bundle, keys=vkeys, model=own, step=step).result == "holds"
        other = directory / f"{7 - step}.safetensors"
        verdict = ask_both(bundle, keys=vkeys, model=other, step=step)
        assert verdict.result == "does not hold"
        assert f"(step {step})" in str(verdict)


def test_a_step_that_is_not_recorded_is_unchecked(stepped: Any) -> None:
    _, bundle, directory, vkeys = stepped
    verdict = ask_both(bundle, keys=vkeys, model=directory / "3.safetensors", step=3)
    assert verdict.result == "could not check"
    assert "no record of step 3; steps 2 to 6 are recorded" in str(verdict)


def test_a_tensor_after_a_step_is_proved_alone(stepped: Any) -> None:
    run, _, directory, vkeys = stepped
    proof = run.prove(tensor="0.weight", step=4)
    asked: dict[str, Any] = {"keys": vkeys, "tensors": ["0.weight"]}
    assert ask_both(bytes(proof), **asked, step=4).result == "holds"
    assert ask_both(bytes(proof), **asked, step=2).result == "could not check"
    assert ask_both(bytes(proof), **asked, model=directory / "4.safetensors").result == "holds"
    assert ask_both(bytes(proof), **asked, model=directory / "5.safetensors").result != "holds"
    with pytest.raises(StoreError, match="has the steps 2 to 6"):
        run.prove(tensor="0.weight", step=5)
    with pytest.raises(ConfigError, match="at once"):
        run.prove(tensor="0.weight", step=4, epoch=1)


def test_the_command_line_names_a_step(stepped: Any) -> None:
    run, bundle, directory, _ = stepped
    words = ["verify", str(bundle), "--allow-unpinned", "--model"]
    right, wrong = (str(directory / f"{step}.safetensors") for step in (4, 5))
    assert run_command(*words, right, "--step", "4").code == 0
    assert run_command(*words, wrong, "--step", "4").code == 1
    assert run_command(*words, right, "--step", "4", "--epoch", "1").code == 2
    store = ["--store", str(run.store_path), "-o", str(directory / "p.json"), "--force"]
    assert run_command("prove", run.id, "--tensor", "0.weight", "--step", "6", *store).code == 0
    assert run_command("verify", str(directory / "p.json"), "--allow-unpinned").code == 0


@pytest.mark.parametrize("number", [True, "1", None, 1.5, -1])
def test_a_step_record_whose_number_is_another_is_not_taken(number: Any, tmp_path: Path) -> None:
    builder = standard_run()
    end = builder.records.pop()
    builder.add("step", step=number, weights=builder.named(weights(1)), aliases=[])
    builder.records.append({**end, "seq": len(builder.records), "time": "2026-11-21T09:59:00.000Z"})
    path = saved(tmp_path, weights(1))
    verdict = verify(builder.build(), model=path, step=1)
    assert verdict.state("model") == v.UNCHECKED
