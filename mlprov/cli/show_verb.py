"""``mlprov show``: one run, in a screenful."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from mlprov import stored_runs, stores
from mlprov.cli import arguments as shared
from mlprov.cli import output

Record = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    shared.add_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show name, head, code, data, model, epochs and end of a run."""
    with stores.open_store(arguments.store, read_only=True) as store:
        stored = stored_runs.read_run(store, stores.find_run(store, arguments.run).id)
    row, records, heads = stored.row, stored.records, stored.heads
    logged = sum(1 for head in heads if head.log_index is not None)
    if arguments.json:
        facts = {"heads": len(heads), "imported": row.imported, "in_log": logged}
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
    lines += [(str(record["type"]), describe(record)) for record in records[1:]]
    output.table(lines)
    return 0


def _start(row: stores.RunRow, start: Record) -> list[tuple[str, str]]:
    made = f"by mlprov {start.get('mlprov')}, digests {start.get('algorithm')}"
    lines = [
        ("began", f"{row.created}, {made}"),
        ("owner", str(start.get("owner_key"))),
        ("code", _code(start.get("code") or {})),
    ]
    config = start.get("config")
    if config:
        lines.append(("config", _pairs(config) if isinstance(config, dict) else str(config)))
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


def _pairs(values: Any) -> str:
    return "  ".join(f"{name} {_value(value)}" for name, value in (values or {}).items())


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _count(value: Any, thing: str) -> str:
    return output.plural(value, thing) if isinstance(value, int) else f"{value} {thing}s"


def _describe_start(record: Record) -> str:
    return f"{record.get('name')}, {_code(record.get('code') or {})}"


def _describe_data(record: Record) -> str:
    samples = output.plural(int(record.get("count") or 0), "sample")
    return (
        f"{record.get('role')}: {samples}, {_count(record.get('bytes'), 'byte')}, "
        f"{_root(record.get('tree'))}"
    )


def _describe_model(record: Record) -> str:
    weights = f"weights {_root(record.get('weights'))}"
    return f"{record.get('class')}, {_count(record.get('parameters'), 'parameter')}, {weights}"


def _describe_epoch(record: Record) -> str:
    mark = " (interrupted)" if record.get("interrupted") else ""
    batches = sum(stream.get("batches") or 0 for stream in record.get("streams") or ())
    steps = record.get("steps")
    counted = [output.plural(batches, "batch"), *([] if steps is None else [_count(steps, "step")])]
    facts = f"{', '.join(counted)}, weights {_root(record.get('weights'))}"
    return f"{record.get('epoch')}{mark}: {facts}  {_pairs(record.get('metrics'))}".rstrip()


def _describe_step(record: Record) -> str:
    return f"{record.get('step')}: weights {_root(record.get('weights'))}"


def _describe_batches(record: Record) -> str:
    """Batches that no epoch has: how many of each role."""
    return "outside epochs: " + ", ".join(
        f"{stream.get('role')} {_count(stream.get('batches'), 'batch')}"
        for stream in record.get("streams") or ()
    )


def _describe_metrics(record: Record) -> str:
    step = "" if record.get("step") is None else f"step {record.get('step')}: "
    return step + _pairs(record.get("metrics"))


def _describe_activity(record: Record) -> str:
    """The verb, and what it made of what: ``preprocess_data: raw sha256:… → clean sha256:…``."""
    used, made = (
        ", ".join(_thing(thing) for thing in record.get(member) or ()) or "nothing"
        for member in ("inputs", "outputs")
    )
    failed = f" ended by {record['exception']}" if record.get("exception") else ""
    said = f"{record.get('verb')}{failed}: {used} → {made}  {_pairs(record.get('params'))}"
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


def _describe_end(record: Record) -> str:
    cost = (record.get("overhead") or {}).get("seconds")
    gaps = output.plural(int(record.get("gaps") or 0), "gap")
    return (
        f"{record.get('status')} after {record.get('seconds')} s, {gaps}, recording took {cost} s"
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
    "run.end": _describe_end,
}
