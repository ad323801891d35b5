"""``mlprov prove``: one claim with all that is needed to check it."""

from __future__ import annotations

import argparse
import pathlib

from mlprov import proofs, stores
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
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--tensor", metavar="NAME", help="a tensor of the weights, buffers or optimizer state"
    )
    what.add_argument(
        "--batch", type=int, metavar="N", help="a batch, by its number within --epoch"
    )
    what.add_argument("--sample", metavar="INDEX|PATH", help="a sample of the data set of --role")
    what.add_argument("--record", type=int, metavar="SEQ", help="a record, by its number")
    parser.add_argument("--epoch", type=int, metavar="N", help="of which epoch (default: the last)")
    parser.add_argument("--role", metavar="ROLE", help="of which data set or loader, such as train")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: NAME.proof.json here")


def run(arguments: argparse.Namespace) -> int:
    """Write the proof file."""
    sample = arguments.sample
    with stores.open_store(arguments.store) as store:
        store.integrate()
        row = stores.find_run(store, arguments.run)
        proof = proofs.prove(
            store,
            row.id,
            tensor=arguments.tensor,
            batch=arguments.batch,
            sample=int(sample) if sample is not None and sample.isdigit() else sample,
            record=arguments.record,
            epoch=arguments.epoch,
            role=arguments.role,
        )
    path = pathlib.Path(arguments.output or f"{proof.kind}.proof.json")
    proof.save(path)
    if arguments.json:
        output.emit_json(
            {
                "kind": proof.kind,
                "leaf": proof.leaf,
                "path": path,
                "run": row.id,
                "size": len(bytes(proof)),
            }
        )
    elif not arguments.quiet:
        print(
            f"wrote {output.escape(path)} ({len(bytes(proof))} bytes); check it with: mlprov verify {output.escape(path)}"
        )
    return 0
