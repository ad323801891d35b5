"""One anchor for 100,000 runs: time to anchor them, to prove one of them, and to verify that.

A store log with a signed head of each of so many runs, kept in memory where there is /dev/shm, and
a real node (anvil) on which its checkpoint is anchored by one transaction. Then one run is proved
by its path in the log, its anchor verified with the node gone, and what the anchor adds to its
bundle is weighed. Left out where tests/nodes is not installed.

    python benchmarks/anchor_scale.py [--runs N]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from _measure import Goal, interleave, report, table

import mlprov
from mlprov import _core, anchor_files, anchoring, archives, keys, stores
from mlprov.stored_runs import prove_logged

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
import nodes_for_tests as nodes

_TIME = "2026-12-01T00:00:00.000Z"
_CHAIN = ("--block-time", "1", "--slots-in-an-epoch", "1")
_VERIFY_ROUNDS = 200


@dataclass
class Anchored:
    """What was measured while the node ran."""

    run: mlprov.Run
    bundle: Path
    seconds: dict[str, float]
    transactions: int


def fill(store: Path, runs: int) -> float:
    """Seconds to record so many runs of one record each."""
    began = time.perf_counter()
    with stores.open_store(store) as opened:
        for number in range(runs):
            log = opened.create_run(f"01900000-0000-7000-8000-{number:012x}", "one of many", None)
            log.append(b"{}", seq=0, type="run.start", time=_TIME)
            log.commit("finished")
            log.close()
    return time.perf_counter() - began


def name_chain(node: nodes.EthereumNode) -> nodes.Account:
    """Deploy the contract, and configure it as a user does; the account that pays."""
    owner = nodes.account(node)
    contract = nodes.deploy(owner, "AnchorStore")
    os.environ |= {
        "MLPROV_ETHEREUM_URL": node.url,
        "MLPROV_ETHEREUM_CHAIN_ID": str(int(node.raw_result("eth_chainId"), 16)),
        "MLPROV_ETHEREUM_CONTRACT": _core.ethereum_address(contract),
        "MLPROV_ETHEREUM_ACCOUNT": owner.key.address,
        "MLPROV_ETHEREUM_PRIVATE_KEY": nodes.SECRETS[0],
    }
    return owner


def anchor(folder: Path, runs: int) -> Anchored:
    """Record, anchor, export; the node is gone behind it."""
    store, seconds = folder / "store", {}
    with mlprov.start("the one", store=store, model={"w": memoryview(b"weights")}) as run:
        run.log(loss=1.0)
    seconds["recording the others"] = fill(store, runs - 1)
    with nodes.anvil(*_CHAIN) as node:
        owner = name_chain(node)
        count = (owner.key.address, "latest")
        before = int(node.raw_result("eth_getTransactionCount", *count), 16)
        began = time.perf_counter()
        with stores.open_with_log(store) as opened:
            seconds["heads into the log"] = time.perf_counter() - began
            anchoring.plan(opened, anchoring.endpoint("ethereum"))
            anchoring.deliver(opened, ["ethereum"], 60)
            seconds["all, to finality (blocks of 1 s)"] = time.perf_counter() - began
            rows = anchoring.read_anchors(opened)
        after = int(node.raw_result("eth_getTransactionCount", *count), 16)
    if [row.state for row in rows] != ["final"]:
        raise RuntimeError(f"the anchor did not become final: {rows}")
    began = time.perf_counter()
    bundle = run.export(folder / "one.mlprov")
    seconds["exporting the one"] = time.perf_counter() - began
    return Anchored(run, Path(bundle), seconds, after - before)


def measure_proofs(store: Path, made: Anchored) -> list[Goal]:
    """The goals of proving one run, and of verifying with the node gone."""
    entries = archives.read_archive(made.bundle.read_bytes()).entries
    name = next(iter(anchor_files.anchor_names(entries)))
    added = [entry for entry in entries if entry.startswith(("anchors/", "log/"))]
    note, evidence = entries[f"log/{name.size}/checkpoint"], entries[name.entry]
    size, root = _core.parse_checkpoint(_core.note_text(note))[1:]
    digest = hashlib.sha256(_core.note_text(note).encode()).digest()
    vkey = keys.owner_vkey()
    assert vkey is not None
    with stores.open_store(store, read_only=True) as opened:

        def prove() -> object:
            head = stores.read_heads(opened, made.run.id)[-1]
            return prove_logged(opened, made.run.id, head, size, root)

        timings = interleave(
            {
                "proving one run": prove,
                "verifying its anchor": lambda: anchor_files.read_ethereum(evidence, note, "it"),
                "… in the core alone": lambda: _core.ethereum_verify(evidence, digest),
                "verifying its whole bundle": lambda: mlprov.verify(made.bundle, keys=[vkey]),
            },
            rounds=_VERIFY_ROUNDS,
        )
    rows = [
        [name, f"{t.median * 1e3:.3f}", f"{t.low * 1e3:.3f} to {t.high * 1e3:.3f}"]
        for name, t in timings.items()
    ]
    table(["with the node gone", "ms", "range"], rows)
    weight = sum(len(entries[entry]) for entry in added)
    print(f"\n{', '.join(f'{entry} {len(entries[entry])} B' for entry in sorted(added))}")
    milliseconds = {name: timing.median * 1e3 for name, timing in timings.items()}
    return [
        Goal("proving one run, ms", milliseconds["proving one run"], 10, at_most=True),
        Goal("verifying its anchor, ms", milliseconds["verifying its anchor"], 5, at_most=True),
        Goal("evidence of an anchored run, bytes", weight, 8192, at_most=True),
    ]


def main() -> None:
    """Print the tables and the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    runs = parser.parse_args().runs
    warnings.simplefilter("ignore", UserWarning)
    if not nodes.NODES.joinpath("node_modules").exists():
        print("left out: there is no Ethereum node; bash scripts/test_nodes.sh installs one")
        return
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as text:
        folder = Path(text)
        os.environ["MLPROV_HOME"] = str(folder / "home")
        made = anchor(folder, runs)
        table(
            [f"{runs:,} runs", "s"],
            [[name, f"{seconds:.2f}"] for name, seconds in made.seconds.items()],
        )
        print()
        goals = measure_proofs(folder / "store", made)
    report([Goal("transactions for all runs", made.transactions, 1, at_most=True), *goals])


if __name__ == "__main__":
    main()
