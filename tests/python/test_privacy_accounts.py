"""What Opacus' accountants say of a training at every epoch; and what the record must not hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import ask_both
from training_for_tests import of_type, stored, the

import mlprov
from mlprov import ConfigError, RecordingWarning, keys, privacy_accounts

torch: Any = pytest.importorskip("torch")
opacus: Any = pytest.importorskip("opacus")

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:Secure RNG|Full backward hook|Optimal order|GDP accounting"),
]

DELTA = 1e-5


class Private:
    """A small training that an engine has made private."""

    def __init__(self, accountant: str = "rdp", **options: Any) -> None:
        torch.manual_seed(0)
        data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        self.engine = opacus.PrivacyEngine(accountant=accountant)
        self.model, self.optimizer, self.loader = self.engine.make_private(
            module=self.inner,
            optimizer=torch.optim.SGD(self.inner.parameters(), lr=0.1),
            data_loader=torch.utils.data.DataLoader(data, batch_size=16),
            **{"noise_multiplier": 1.1, "max_grad_norm": 0.5, **options},
        )

    def train(self, batches: Any) -> None:
        """One pass."""
        for inputs, targets in batches:
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.model(inputs), targets).backward()
            self.optimizer.step()

    def record(self, folder: Path, epochs: int = 2, **options: Any) -> mlprov.Run:
        """Train and record."""
        folder.mkdir(exist_ok=True)
        common = {"model": self.model, "optimizer": self.optimizer, "store": folder / "store"}
        with mlprov.start("private", **{**common, **options}) as run:
            for _ in run.epochs(epochs):
                self.train(run.track(self.loader))
        return run


def accounts(run: mlprov.Run) -> list[Any]:
    """What the epoch records say of privacy."""
    return [epoch["privacy"] for epoch in of_type(stored(run), "epoch")]


def verdict_of(run: mlprov.Run, folder: Path) -> Any:
    """What both verifiers say of the exported run."""
    vkey, bundle = keys.owner_vkey(), run.export(folder / "private.mlprov")
    assert vkey is not None
    assert bundle is not None
    return ask_both(bundle, keys=[vkey])


def test_every_epoch_has_the_accountant_s_history_and_epsilon(tmp_path: Path) -> None:
    private = Private()
    run = private.record(tmp_path, privacy=private.engine, delta=DELTA)
    first, second = accounts(run)
    epsilon, order = private.engine.accountant.get_privacy_spent(delta=DELTA)
    assert second == {
        "mechanism": "rdp",
        "history": [{"noise_multiplier": 1.1, "sample_rate": 0.25, "steps": 8}],
        "epsilon": epsilon,
        "delta": DELTA,
        "order": order,
        "noise_multiplier": 1.1,
        "max_grad_norm": 0.5,
        "poisson": True,
    }
    assert first["history"][0]["steps"] == 4
    assert 0 < first["epsilon"] < epsilon
    verdict = verdict_of(run, tmp_path)
    assert verdict.result == "holds"
    assert verdict["privacy"].state == "holds"


@pytest.mark.parametrize("named", ["accountant", "optimizer"])
def test_accountant_and_optimizer_may_stand_in_the_place_of_the_engine(
    named: str, tmp_path: Path
) -> None:
    private = Private()
    source = {"accountant": private.engine.accountant, "optimizer": private.optimizer}[named]
    run = private.record(tmp_path, privacy=source, delta=DELTA, optimizer=None)
    assert accounts(run)[1]["epsilon"] == private.engine.get_epsilon(DELTA)


def test_an_optimizer_that_was_made_private_is_asked_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = Private()
    run = private.record(tmp_path)
    second = accounts(run)[1]
    assert second["history"] == [{"noise_multiplier": 1.1, "sample_rate": 0.25, "steps": 8}]
    assert (second["epsilon"], second["delta"], second["order"]) == (None, None, None)
    assert verdict_of(run, tmp_path)["privacy"].state == "unchecked"
    monkeypatch.setenv("MLPROV_DELTA", "1e-5")
    again = Private()
    told = accounts(again.record(tmp_path / "told"))[1]
    assert told["epsilon"] == again.engine.get_epsilon(DELTA)


def test_a_training_without_privacy_says_nothing_of_it(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with mlprov.start(
        "open", model=model, optimizer=optimizer, delta=DELTA, store=tmp_path / "s"
    ) as run:
        list(run.epochs(1))
    assert the(stored(run), "epoch")["privacy"] is None


def test_noise_that_changes_makes_a_history_of_several_entries(tmp_path: Path) -> None:
    private = Private()
    with mlprov.start(
        "scheduled", optimizer=private.optimizer, delta=DELTA, store=tmp_path / "s"
    ) as run:
        for _ in run.epochs(3):
            private.train(run.track(private.loader))
            private.optimizer.noise_multiplier *= 0.9
            private.optimizer.max_grad_norm = 0.25
    last = accounts(run)[2]
    noises = [entry["noise_multiplier"] for entry in last["history"]]
    assert noises == [1.1, 1.1 * 0.9, 1.1 * 0.9 * 0.9]
    assert last["max_grad_norm"] == 0.25
    assert verdict_of(run, tmp_path)["privacy"].state == "holds"


def test_norms_of_single_parameters_are_a_list(tmp_path: Path) -> None:
    private = Private(clipping="per_layer", max_grad_norm=[0.5, 0.4, 0.3, 0.2])
    run = private.record(tmp_path, delta=DELTA)
    assert accounts(run)[1]["max_grad_norm"] == [0.5, 0.4, 0.3, 0.2]


def test_batches_that_were_not_drawn_by_poisson_sampling_are_said_so(tmp_path: Path) -> None:
    private = Private(poisson_sampling=False)
    run = private.record(tmp_path, delta=DELTA)
    assert accounts(run)[1]["poisson"] is False
    assert "batches were not drawn so" in verdict_of(run, tmp_path)["privacy"].detail


def test_batches_of_no_loader_leave_open_how_they_were_drawn(tmp_path: Path) -> None:
    private = Private()
    with mlprov.start(
        "list", optimizer=private.optimizer, delta=DELTA, store=tmp_path / "s"
    ) as run:
        for _ in run.epochs(1):
            private.train(run.track(list(private.loader)))
    assert the(stored(run), "epoch")["privacy"]["poisson"] is None


@pytest.mark.parametrize("mechanism", ["prv", "gdp"])
def test_the_epsilon_of_another_accountant_is_recorded_and_unchecked(
    mechanism: str, tmp_path: Path
) -> None:
    private = Private(mechanism)
    run = private.record(tmp_path, privacy=private.engine, delta=DELTA)
    last = accounts(run)[1]
    assert (last["mechanism"], last["order"]) == (mechanism, None)
    assert last["epsilon"] == pytest.approx(private.engine.get_epsilon(DELTA))
    verdict = verdict_of(run, tmp_path)
    assert (verdict.result, verdict["privacy"].state) == ("holds", "unchecked")
    assert "by rdp its history has ε" in verdict["privacy"].detail


# ---- the noise stays unknown ----


def test_neither_seed_nor_states_that_noise_is_drawn_from_are_recorded(tmp_path: Path) -> None:
    private = Private()
    run = private.record(tmp_path, privacy=private.engine, delta=DELTA, seeds="values")
    records = stored(run)
    assert the(records, "run.start")["seeds"]["torch"] is None
    for epoch in of_type(records, "epoch"):
        loader = epoch["streams"][0]["loader"]
        for held in (epoch["rng"], epoch["rng_values"], loader["rng"], loader["rng_values"]):
            assert "python" in held
            assert not any(name.startswith("torch") for name in held)
        assert loader["base_seed"] is None
        assert (loader["generator"], loader["sampler_generator"]) == (None, None)


def test_the_order_that_batches_were_drawn_in_is_not_recorded(tmp_path: Path) -> None:
    private = Private()
    run = private.record(tmp_path, privacy=private.engine, delta=DELTA)
    for epoch in of_type(stored(run), "epoch"):
        (stream,) = epoch["streams"]
        assert (stream["indices"], stream["tree"]["size"]) == (None, stream["batches"])


def test_batches_that_a_memory_manager_cuts_up_were_drawn_by_poisson_sampling(
    tmp_path: Path,
) -> None:
    from opacus.utils.batch_memory_manager import BatchMemoryManager

    private = Private()
    options = {"data_loader": private.loader, "max_physical_batch_size": 4}
    with mlprov.start("cut", optimizer=private.optimizer, delta=DELTA, store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            with BatchMemoryManager(optimizer=private.optimizer, **options) as loader:
                private.train(run.track(loader))
    assert the(stored(run), "epoch")["privacy"]["poisson"] is True


def test_recording_changes_neither_noise_nor_weights(tmp_path: Path) -> None:
    alone, recorded = Private(), Private()
    torch.manual_seed(7)
    for _ in range(2):
        alone.train(alone.loader)
    torch.manual_seed(7)
    recorded.record(tmp_path, privacy=recorded.engine, delta=DELTA)
    for one, other in zip(alone.inner.parameters(), recorded.inner.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_wrapper_of_a_private_model_leaves_no_trace_in_names(tmp_path: Path) -> None:
    private = Private()
    assert private.model is not private.inner
    wrapped, plain = mlprov.digest_model(private.model), mlprov.digest_model(private.inner)
    assert wrapped == plain
    run = private.record(tmp_path, privacy=private.engine, delta=DELTA)
    proof = run.prove(tensor="0.weight", epoch=1)
    assert proof is not None


# ---- what goes wrong ----


def test_what_accounts_for_nothing_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot record privacy=builtins\.object: expected a"):
        mlprov.start("odd", privacy=object(), delta=DELTA, store=tmp_path / "s")
    plain = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    with pytest.raises(ConfigError, match=r"privacy=torch\.optim\.sgd\.SGD"):
        mlprov.start("odd", privacy=plain, delta=DELTA, store=tmp_path / "s")
    with pytest.raises(ConfigError, match="without delta"):
        mlprov.start("odd", privacy=Private().engine, store=tmp_path / "s")
    for delta in (0, 1, -1e-5, "small", True):
        with pytest.raises(ConfigError, match="cannot use delta="):
            mlprov.start("odd", delta=delta, store=tmp_path / "s")  # type: ignore[arg-type]
    assert not (tmp_path / "s").exists()


class Failing(opacus.accountants.RDPAccountant):  # type: ignore[misc]
    """An accountant that has no answer."""

    def get_privacy_spent(self, **_: Any) -> Any:
        raise OverflowError("no ε today")


def test_an_epsilon_that_cannot_be_had_is_a_gap_and_the_history_stays(tmp_path: Path) -> None:
    private = Private()
    private.engine.accountant = failing = Failing()
    private.optimizer.attach_step_hook(failing.get_optimizer_hook_fn(sample_rate=0.25))
    with pytest.warns(RecordingWarning, match="not recorded: privacy"):
        run = private.record(tmp_path, delta=DELTA)
    assert {gap["what"] for gap in of_type(stored(run), "gap")} == {"privacy"}
    last = accounts(run)[1]
    assert last["epsilon"] is None
    assert last["history"][0]["steps"] == 8
    with pytest.raises(OverflowError, match="no ε today"):
        private.record(tmp_path / "raising", delta=DELTA, on_error="raise")


def test_a_history_that_cannot_be_read_is_a_gap_and_training_goes_on(tmp_path: Path) -> None:
    private = Private()
    private.engine.accountant.history = [(1.1, 0.25, 1), "odd"]
    with pytest.warns(RecordingWarning, match="not recorded: privacy"):
        run = private.record(tmp_path, 1, privacy=private.engine, delta=DELTA, optimizer=None)
    epoch = the(stored(run), "epoch")
    assert (epoch["privacy"], epoch["steps"]) == (None, 4)


def test_noise_that_changes_with_every_step_is_refused_by_name(tmp_path: Path) -> None:
    private = Private()
    private.engine.accountant.history = [(1 + n / 10_000, 0.25, 1) for n in range(1500)]
    with pytest.warns(RecordingWarning, match="a history of more than 1000 changes"):
        run = private.record(tmp_path, 1, privacy=private.engine, delta=DELTA)
    assert accounts(run) == [None]


def test_two_accountants_of_one_run_have_to_be_told_apart(tmp_path: Path) -> None:
    class Several:
        def __init__(self, *several: Any) -> None:
            self.optimizers = several
            self.param_groups = [group for one in several for group in one.param_groups]
            self.state: dict[Any, Any] = {}

    one, other = Private(), Private()
    both = Several(one.optimizer, other.optimizer)
    account = privacy_accounts.PrivacyAccount(None, both, DELTA)
    assert account.is_private
    with pytest.raises(ConfigError, match="the privacy of 2 optimizers"):
        account.read([])
    named = privacy_accounts.PrivacyAccount(one.engine, both, DELTA).read([])[0]
    assert isinstance(named, dict)
    assert named["history"] == []
    assert (named["epsilon"], named["order"]) == (0, None)
    run = one.record(tmp_path, 1, optimizer=both, privacy=one.engine, delta=DELTA)
    assert accounts(run)[0]["history"][0]["steps"] == 4


# ---- scripts that know nothing of mlprov ----

SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import mlprov
mlprov.autolog(delta=1e-5, store=sys.argv[2])
from test_privacy_accounts import Private
private = Private()
for _ in range(2):
    private.train(private.loader)
"""


def test_a_script_that_knows_nothing_of_mlprov_has_its_accountant_found(
    tmp_path: Path, run_python: Any
) -> None:
    run_python(SCRIPT, str(Path(__file__).parent), str(tmp_path / "store"))
    from mlprov import stored_runs, stores

    with stores.open_store(tmp_path / "store", read_only=True) as store:
        records = stored_runs.read_run(store, stores.find_run(store, "@").id).records
    first, second = (epoch["privacy"] for epoch in of_type(records, "epoch"))
    assert second["history"] == [{"noise_multiplier": 1.1, "sample_rate": 0.25, "steps": 8}]
    assert 0 < first["epsilon"] < second["epsilon"]
    assert second["max_grad_norm"] == 0.5
    assert the(records, "run.start")["seeds"]["torch"] is None


def test_the_private_optimizer_is_found_from_the_one_within() -> None:
    private = Private()
    inner = private.optimizer.original_optimizer
    assert privacy_accounts.private_optimizer(inner) is private.optimizer
    assert privacy_accounts.private_optimizer(private.optimizer) is private.optimizer
    plain = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    assert privacy_accounts.private_optimizer(plain) is plain


def test_asking_for_epsilon_leaves_the_filters_of_warnings_as_they_were(tmp_path: Path) -> None:
    private = Private()
    before = list(warnings.filters)
    private.record(tmp_path, 1, privacy=private.engine, delta=DELTA)
    assert list(warnings.filters) == before
