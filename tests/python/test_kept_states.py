"""Averaged weights, schedulers, scalers; and frozen bases that are hashed twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import standard_run, v, verify
from runs_for_tests import ask_both
from training_for_tests import loader, network, of_type, stored, the, train_step

import mlprov
from mlprov import ConfigError, RecordingWarning, bundles, keys, stores

torch: Any = pytest.importorskip("torch")


def leaves(run: Any, tree: Any) -> dict[str, Any]:
    """Name → leaf of a kept tree."""
    with stores.open_store(run.store_path, read_only=True) as store:
        kept = store.get_leaves(bytes.fromhex(tree["root"][7:]))
    decoded = [mlprov._core.json_decode(leaf) for leaf in kept]
    return {leaf["name"]: leaf for leaf in decoded}


# ---- beside model and optimizer ----


def test_each_state_has_a_root_of_its_own_at_every_epoch(tmp_path: Path) -> None:
    model, optimizer = network()
    ema = torch.optim.swa_utils.AveragedModel(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with mlprov.start(
        "kept", model=model, optimizer=optimizer, ema=ema, scheduler=scheduler, scaler=scaler,
        store=tmp_path / "s",
    ) as run:  # fmt: skip
        for _ in run.epochs(2):
            for batch in run.track(loader()):
                train_step(model, optimizer, batch)
            ema.update_parameters(model)
            scheduler.step()
    first, second = of_type(stored(run), "epoch")
    for member in ("ema", "scheduler", "optimizer", "weights"):
        assert first[member]["root"] != second[member]["root"], member
    assert str(mlprov.digest_model(ema).root) == second["ema"]["root"]
    rates = leaves(run, second["scheduler"])
    assert rates["class"]["value"] == "torch.optim.lr_scheduler.StepLR"
    assert rates["_last_lr"]["value"] == [0.01 * 0.1 * 0.1]
    assert leaves(run, second["scaler"])["scale"]["value"] == 8

    proof = run.prove(tensor="module.0.weight", epoch=1)
    bundle = run.export(tmp_path / "kept.mlprov", disclose=["optimizer"])
    vkey = keys.owner_vkey()
    assert proof is not None
    assert bundle is not None
    assert vkey is not None
    assert proof.value["claim"]["field"] == ["ema"]
    assert ask_both(bytes(proof), keys=[vkey]).result == "holds"
    assert ask_both(bytes(proof), keys=[vkey], tensors=["module.0.weight"]).result != "holds"
    assert ask_both(bundle, keys=[vkey]).result == "holds"


def test_a_copy_of_the_model_that_equals_it_has_its_root(tmp_path: Path) -> None:
    model, _ = network()
    copy, _ = network()
    with mlprov.start("copy", model=model, ema=copy, store=tmp_path / "s") as run:
        list(run.epochs(1))
    epoch = the(stored(run), "epoch")
    assert epoch["ema"] == epoch["weights"]
    assert (epoch["scheduler"], epoch["scaler"]) == (None, None)


def test_a_state_dict_may_stand_in_the_place_of_an_object(tmp_path: Path) -> None:
    shadow = {"weight": torch.ones(2), "decay": 0.5}
    with mlprov.start("dict", ema=shadow, store=tmp_path / "s") as run:
        list(run.epochs(1))
    found = leaves(run, the(stored(run), "epoch")["ema"])
    assert found["decay"]["value"] == 0.5
    assert found["weight"]["shape"] == [2]


@pytest.mark.parametrize("name", ["ema", "scheduler", "scaler"])
def test_what_keeps_no_state_is_refused_at_the_start(name: str, tmp_path: Path) -> None:
    options: Any = {name: object()}
    with pytest.raises(ConfigError, match=f"cannot record {name}=builtins.object"):
        mlprov.start("odd", store=tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


class Failing:
    """A scheduler whose state cannot be had."""

    def state_dict(self) -> Any:
        raise RuntimeError("no state today")


def test_a_state_that_cannot_be_read_is_a_gap(tmp_path: Path) -> None:
    with (
        pytest.warns(RecordingWarning, match="scheduler"),
        mlprov.start("odd", scheduler=Failing(), store=tmp_path / "s") as run,
    ):
        list(run.epochs(1))
    assert [gap["what"] for gap in of_type(stored(run), "gap")] == ["scheduler"]
    assert the(stored(run), "epoch")["scheduler"] is None


@pytest.mark.parametrize("member", ["ema", "scheduler", "scaler"])
def test_a_proof_of_a_state_leads_from_an_epoch_alone(member: str) -> None:
    builder = standard_run()
    epoch = next(r for r in builder.records if r["type"] == "epoch")
    data = next(r for r in builder.records if r["type"] == "model")
    for record, result in ((epoch, "holds"), (data, "does not hold")):
        record[member] = epoch["weights"]
        proof = builder.proof("tensor", record["seq"], [member])
        assert verify(v.canonical_json(proof)).result == result


# ---- frozen bases ----


def adapter() -> tuple[Any, Any]:
    """A frozen base with a tied parameter, a trained head."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8, bias=False))
    base[1].weight = base[0].weight
    base.requires_grad_(False)
    model = torch.nn.ModuleDict({"base": base, "head": torch.nn.Linear(8, 2)})
    return model, torch.optim.AdamW(model["head"].parameters(), lr=0.1)


def train(model: Any, optimizer: Any, run: Any, epochs: int = 2, change: Any = None) -> None:
    for epoch in run.epochs(epochs):
        for _ in run.track([torch.ones(4, 8)] * 2):
            optimizer.zero_grad()
            model["head"](model["base"](torch.ones(4, 8))).sum().backward()
            optimizer.step()
        if change is not None and epoch.index == 1:
            change(model)


@pytest.mark.parametrize("snapshot", ["overlap", "copy", "inline"])
def test_a_frozen_base_gives_the_evidence_that_hashing_it_would_give(
    snapshot: str, tmp_path: Path
) -> None:
    roots = []
    for trust in (False, True):
        model, optimizer = adapter()
        run = mlprov.start(
            "lora", model=model, optimizer=optimizer, store=tmp_path / str(trust), every=1,
            snapshot=snapshot, trust_version=trust,
        )  # fmt: skip
        train(model, optimizer, run)
        run.finish()
        records = stored(run)
        kinds = [r for r in records if r["type"] in ("epoch", "step")]
        roots.append([(r["type"], r["weights"], r["aliases"]) for r in kinds])
        since = the(records, "model")["seq"]
        expected = {"since": since, "tensors": 3} if trust else None
        assert [r["trusted"] for r in kinds] == [expected] * len(kinds)
    assert roots[0] == roots[1]
    recheck = the(records, "recheck")
    assert (recheck["tensors"], recheck["changed"], recheck["names"]) == (3, 0, [])
    assert the(records, "run.end")["gaps"] == 0
    path = tmp_path / "lora.mlprov"
    with stores.open_store(run.store_path) as store:
        bundles.export_run(store, run.id, path)
    vkey = keys.owner_vkey()
    assert vkey is not None
    assert ask_both(path, keys=[vkey]).result == "holds"


def write_counted(model: Any) -> None:
    with torch.no_grad():
        model["base"][0].weight.add_(1)


def replace(model: Any) -> None:
    model["base"][0].bias = torch.nn.Parameter(torch.ones(8), requires_grad=False)


def thaw(model: Any) -> None:
    model["base"].requires_grad_(True)


@pytest.mark.parametrize("change", [write_counted, replace, thaw])
def test_what_is_written_replaced_or_thawed_is_trusted_no_longer(
    change: Any, tmp_path: Path
) -> None:
    model, optimizer = adapter()
    with mlprov.start(
        "lora", model=model, optimizer=optimizer, store=tmp_path / "s", trust_version=True
    ) as run:
        train(model, optimizer, run, 3, change)
        final = str(mlprov.digest_model(model).root)
    epochs = of_type(stored(run), "epoch")
    assert epochs[-1]["weights"]["root"] == final
    assert epochs[-1]["trusted"]["tensors"] < epochs[0]["trusted"]["tensors"] == 3
    assert the(stored(run), "recheck")["changed"] == 0


def test_a_write_that_nothing_counts_is_found_at_the_end_and_is_a_gap(tmp_path: Path) -> None:
    def write_unseen(model: Any) -> None:
        model["base"][0].bias.data.add_(1)

    model, optimizer = adapter()
    with (
        pytest.warns(RecordingWarning, match=r"base.0.bias.* torch counted no write"),
        mlprov.start(
            "lora", model=model, optimizer=optimizer, store=tmp_path / "s", trust_version=True
        ) as run,
    ):
        train(model, optimizer, run, 2, write_unseen)
    records = stored(run)
    recheck = the(records, "recheck")
    assert (recheck["changed"], recheck["names"]) == (1, ["base.0.bias"])
    assert the(records, "gap")["what"] == "weights"


def test_tensors_of_an_optimizer_are_hashed_however_frozen_they_are(tmp_path: Path) -> None:
    model, _ = adapter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # the frozen ones too
    with mlprov.start(
        "lora", model=model, optimizer=optimizer, store=tmp_path / "s", trust_version=True
    ) as run:
        train(model, optimizer, run)
    assert {epoch["trusted"]["tensors"] for epoch in of_type(stored(run), "epoch")} == {0}


def test_only_a_module_says_what_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trust_version=True with builtins.dict"):
        mlprov.start("odd", model={}, store=tmp_path / "s", trust_version=True)


def test_a_recheck_that_would_hold_up_the_end_is_a_gap(tmp_path: Path) -> None:
    if mlprov._core.hash_threads_beside() == 0:
        pytest.skip("one processor: there is no worker that could be late")
    base = torch.nn.Linear(4096, 4096, bias=False).requires_grad_(False)  # milliseconds of hashing
    model = torch.nn.ModuleDict({"base": base, "head": torch.nn.Linear(8, 2)})
    optimizer = torch.optim.SGD(model["head"].parameters(), lr=0.1)
    run = mlprov.start(
        "lora", model=model, optimizer=optimizer, store=tmp_path / "s", trust_version=True
    )
    for _ in run.epochs(1):
        optimizer.step()
    run._patience = 0.0  # as where the interpreter ends
    with pytest.warns(RecordingWarning, match="were not hashed again in 0 seconds"):
        run.finish()
    records = stored(run)
    assert of_type(records, "recheck") == []
    assert [gap["what"] for gap in of_type(records, "gap")] == ["weights"]
