"""``mlprov show``: one run, in a screenful."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from mlprov import stored_anchors, stored_runs, stores
from mlprov.cli import arguments as shared
from mlprov.cli import output
from mlprov.cli.timeline import timeline
from mlprov.ranks import describe_ranks
from mlprov.run_trees import said_of_privacy

Record = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Show a run: name, owner, head, code, and each record in one line; or the same as a tree "
        "of digests (data, model, training), or as a timeline."
    )
    shared.add_run(parser)
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--tree", action="store_true", help="data, model and training as a tree, with digests"
    )
    picture.add_argument(
        "--timeline", action="store_true", help="what came when, and how long it took (as claimed)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show name, head, code, data, model, epochs and end of a run."""
    with stores.open_store(arguments.store, read_only=True) as store:
        stored = stored_runs.read_run(store, stores.find_run(store, arguments.run).id)
        anchors = stored_anchors.run_anchors(store, stored.heads)
    if arguments.tree:
        return _show_tree(stored, as_json=arguments.json)
    row, records, heads = stored.row, stored.records, stored.heads
    if arguments.timeline and not arguments.json:
        output.table(timeline(records, describe))
        return 0
    logged = sum(1 for head in heads if head.log_index is not None)
    if arguments.json:
        facts = {
            "anchors": anchors,
            "heads": len(heads),
            "imported": row.imported,
            "in_log": logged,
        }
        output.emit_json({**vars(row), **facts, "records": records})
        return 0
    lines = [("run", f"{row.id}  {row.name}  {row.status}{' (imported)' * row.imported}")]
    if records:
        lines += _start(row, records[0])
    if heads:
        root = f"sha256:{heads[-1].root.hex()} over {output.plural(heads[-1].size, 'record')}"
        lines.append(("head", root))
        if not row.imported:
            have = "is" if len(heads) == 1 else "are"
            entered = f"{logged} of {output.plural(len(heads), 'head')} {have} in the store log"
            lines.append(("log", entered))
    lines += [("anchor", _anchor(anchor)) for anchor in anchors]
    lines += [(str(record["type"]), describe(record)) for record in records[1:]]
    output.table(lines)
    return 0


def _anchor(anchor: Record) -> str:
    """An anchor's state, what it covers, and what its evidence shows."""
    what = f"{anchor['kind']}, {anchor['state']}: the first {anchor['head']} records"
    if "fault" in anchor:
        return f"{what}; {anchor['fault']}"
    if "cid" in anchor:
        return f"{what}, {anchor['cid']} (storage, not time)"
    if "block" in anchor:
        return (
            f"{what}, in block {anchor['number']} of chain {anchor['chain_id']}, {anchor['time']}"
        )
    return what


def _show_tree(stored: stored_runs.StoredRun, *, as_json: bool) -> int:
    from mlprov import run_trees
    from mlprov.cli import run_tree

    tree = run_trees.tree_of(stored)
    if as_json:
        output.emit_json({"run": stored.row.id, "tree": tree.json()})
    else:
        output.table(run_tree.draw(tree))
    return 0


def _start(row: stores.RunRow, start: Record) -> list[tuple[str, str]]:
    made = f"by mlprov {start.get('mlprov')}, digests {start.get('algorithm')}"
    lines = [
        ("began", f"{row.created}, {made}"),
        ("owner", str(start.get("owner_key"))),
        ("code", _code(start.get("code") or {})),
    ]
    if start.get("ranks") is not None:
        lines.append(("ranks", describe_ranks(start["ranks"])))
    config = start.get("config")
    if config:
        lines.append(("config", pairs(config) if isinstance(config, dict) else str(config)))
    return lines


def _code(code: Record) -> str:
    git = code.get("git")
    where = "no git"
    if git:
        commit = str(git["commit"])[:12] if git.get("commit") else "none yet"
        where = f"commit {commit}{' with changes' if git.get('dirty') else ''}"
    return f"{where}, {output.plural(len(code.get('modules') or ()), 'file')}"


# ---- one record in one line ----


def describe(record: Record) -> str:
    """What a record says, in one line; of an unknown type the names of its members."""
    describer = _DESCRIBERS.get(str(record["type"]))
    if describer is not None:
        return describer(record)
    return ", ".join(sorted(set(record) - {"seq", "time", "type"}))


def _root(reference: Any) -> str:
    return f"{str(reference['root'])[:19]}…" if isinstance(reference, dict) else "none"


def pairs(values: Any) -> str:
    """Names and values in one line."""
    return "  ".join(f"{name} {_value(value)}" for name, value in (values or {}).items())


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def count(value: Any, thing: str) -> str:
    """A number of things; what is no number as it is."""
    return output.plural(value, thing) if isinstance(value, int) else f"{value} {thing}s"


def _describe_start(record: Record) -> str:
    return f"{record.get('name')}, {_code(record.get('code') or {})}"


def _describe_data(record: Record) -> str:
    samples = output.plural(int(record.get("count") or 0), "sample")
    return (
        f"{record.get('role')}: {samples}, {count(record.get('bytes'), 'byte')}, "
        f"{_root(record.get('tree'))}"
    )


def _describe_model(record: Record) -> str:
    weights = f"weights {_root(record.get('weights'))}"
    return f"{record.get('class')}, {count(record.get('parameters'), 'parameter')}, {weights}"


def _describe_epoch(record: Record) -> str:
    mark = " (interrupted)" if record.get("interrupted") else ""
    batches = sum(stream.get("batches") or 0 for stream in record.get("streams") or ())
    steps = record.get("steps")
    counted = [output.plural(batches, "batch"), *([] if steps is None else [count(steps, "step")])]
    facts = f"{', '.join(counted)}, weights {_root(record.get('weights'))}"
    said = (facts, pairs(record.get("metrics")), said_of_privacy(record.get("privacy")))
    return f"{record.get('epoch')}{mark}: {'  '.join(filter(None, said))}"


def _describe_step(record: Record) -> str:
    return f"{record.get('step')}: weights {_root(record.get('weights'))}"


def _describe_batches(record: Record) -> str:
    """Batches that no epoch has: how many of each role."""
    streams = record.get("streams") or ()
    where = "left open" if any(s.get("stopped") for s in streams) else "outside epochs"
    return f"{where}: " + ", ".join(
        f"{stream.get('role')} {count(stream.get('batches'), 'batch')}"
        + ("" if stream.get("epoch") is None else f" of epoch {stream['epoch']}")
        for stream in streams
    )


def _describe_metrics(record: Record) -> str:
    step = "" if record.get("step") is None else f"step {record.get('step')}: "
    return step + pairs(record.get("metrics"))


def _describe_activity(record: Record) -> str:
    """The verb, and what it made of what: ``preprocess_data: raw sha256:… → clean sha256:…``."""
    used, made = (
        ", ".join(_thing(thing) for thing in record.get(member) or ()) or "nothing"
        for member in ("inputs", "outputs")
    )
    failed = f" ended by {record['exception']}" if record.get("exception") else ""
    said = f"{record.get('verb')}{failed}: {used} → {made}  {pairs(record.get('params'))}"
    return said.rstrip()


def _thing(thing: Record) -> str:
    tree = thing.get("tree")
    digest = _root(tree) if tree is not None else f"{str(thing.get('digest'))[:19]}…"
    return f"{thing.get('name')} {digest}"


def _describe_checkpoint(record: Record) -> str:
    files = output.plural(len(record.get("files") or ()), "file")
    tensors = f"tensors {_root(record.get('tensors'))}"
    return f"{record.get('path')}: {files}, {record.get('format')}, {tensors}"


def _describe_gap(record: Record) -> str:
    epoch = "" if record.get("epoch") is None else f" (epoch {record.get('epoch')})"
    return (
        f"not recorded: {record.get('count')} × {record.get('what')}{epoch}: {record.get('error')}"
    )


def _describe_recheck(record: Record) -> str:
    changed = record.get("changed")
    said = "are what they were" if not changed else f"but {changed} of them have changed"
    tensors = count(record.get("tensors"), "frozen tensor")
    return f"{tensors} taken on trust since record {record.get('since')} {said}"


def _describe_resume(record: Record) -> str:
    process = (record.get("process") or {}).get("pid")
    equal, same = record.get("equal"), record.get("same")
    told = f"those of record {record.get('last')}, the last recorded"
    if equal is None:
        said = "the loaded weights could not be compared"
    elif equal:
        said = f"the loaded weights equal {told}"
    else:
        other = "" if same is None else f", but equal those of record {same}"
        said = f"the loaded weights do not equal {told}{other}"
    late = "; the clock went back" if record.get("clock") is not None else ""
    ranks = "" if record.get("ranks") is None else f"; {describe_ranks(record['ranks'])}"
    return f"by process {process}: {said}{late}{ranks}"


def _describe_end(record: Record) -> str:
    cost = (record.get("overhead") or {}).get("seconds")
    gaps = output.plural(int(record.get("gaps") or 0), "gap")
    kind = "" if record.get("exception") is None else f" ({record.get('exception')})"
    return (
        f"{record.get('status')}{kind} after {record.get('seconds')} s, {gaps}, recording took"
        f" {cost} s"
    )


_DESCRIBERS: dict[str, Callable[[Record], str]] = {
    "run.start": _describe_start,
    "data": _describe_data,
    "model": _describe_model,
    "epoch": _describe_epoch,
    "step": _describe_step,
    "batches": _describe_batches,
    "activity": _describe_activity,
    "metrics": _describe_metrics,
    "checkpoint": _describe_checkpoint,
    "gap": _describe_gap,
    "interruption": _describe_end,
    "recheck": _describe_recheck,
    "ranks": lambda record: describe_ranks(record.get("ranks")),
    "resume": _describe_resume,
    "run.end": _describe_end,
}
