"""``mlprov show``: one run, in a screenful."""

from __future__ import annotations

import argparse
from typing import Any

from mlprov import stores
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "run",
        nargs="?",
        default="@",
        metavar="RUN",
        help="id, unique prefix, name, or @ (the newest)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show name, head, code, data, model, epochs and end of a run."""
    with stores.open_store(arguments.store, read_only=True) as store:
        row = stores.find_run(store, arguments.run)
        records = stores.decode_records(store, row.id)
        heads = stores.read_heads(store, row.id)
    logged = [head for head in heads if head.log_index is not None]
    if arguments.json:
        output.emit_json(
            {**vars(row), "heads": len(heads), "in_log": len(logged), "records": records}
        )
        return 0
    start: dict[str, Any] = records[0]
    print(
        f"run      {row.id}  {output.escape(row.name)}  {row.status}{' (imported)' if row.imported else ''}"
    )
    print(
        f"began    {row.created}  mlprov {output.escape(start.get('mlprov'))}, digests {output.escape(start.get('algorithm'))}"
    )
    if heads:
        print(
            f"head     sha256:{heads[-1].root.hex()} over {heads[-1].size} records; {len(logged)} of {len(heads)} heads in the store log"
        )
    print(f"owner    {output.escape(start.get('owner_key'))}")
    print(f"code     {output.escape(_code(start.get('code') or {}))}")
    config = start.get("config")
    if config:
        print(f"config   {output.escape(config)}")
    for record in records[1:]:
        line = describe(record)
        if line is not None:
            print(f"{record['type']:<8} {output.escape(line)}")
    return 0


def _code(code: dict[str, Any]) -> str:
    git = code.get("git")
    where = (
        f"commit {str(git.get('commit'))[:12]}{' with changes' if git.get('dirty') else ''}, "
        if git
        else "no git, "
    )
    return f"{where}{len(code.get('modules') or ())} files"


def _root(reference: Any) -> str:
    return (
        f"{str(reference['root'])[:23]}… ({reference['size']})"
        if isinstance(reference, dict)
        else "none"
    )


def describe(record: dict[str, Any]) -> str | None:
    """A record in one line, or None for a kind that has no summary."""
    kind = record["type"]
    if kind == "data":
        return f"{record.get('role')}: {record.get('count')} samples, {record.get('bytes')} bytes, {_root(record.get('tree'))}"
    if kind == "model":
        return f"{record.get('class')}, {record.get('parameters')} parameters, {_root(record.get('weights'))}"
    if kind == "epoch":
        metrics = "  ".join(
            f"{name} {_number(value)}" for name, value in (record.get("metrics") or {}).items()
        )
        batches = sum(int(s.get("batches", 0)) for s in record.get("streams") or ())
        mark = " (interrupted)" if record.get("interrupted") else ""
        return f"{record.get('epoch')}{mark}: {batches} batches, weights {_root(record.get('weights'))}  {metrics}".rstrip()
    if kind == "metrics":
        return f"step {record.get('step')}: " + "  ".join(
            f"{k} {_number(v)}" for k, v in record["metrics"].items()
        )
    if kind == "checkpoint":
        return f"{record.get('path')}: {len(record.get('files') or ())} files, tensors {_root(record.get('tensors'))}"
    if kind == "gap":
        return f"not recorded: {record.get('count')} × {record.get('what')} (epoch {record.get('epoch')}): {record.get('error')}"
    if kind == "run.end":
        cost = record.get("overhead") or {}
        return f"{record.get('status')} after {record.get('seconds')} s, {record.get('gaps')} gaps, recording cost {cost.get('seconds')} s"
    return None


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
