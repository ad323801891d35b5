"""``mlprov prove``: one claim with all that is needed to check it."""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex

from mlprov import bundles, proofs, stores
from mlprov.cli import arguments as shared
from mlprov.cli import output

_INDEX = re.compile("[0-9]{1,18}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Write the proof of one tensor, batch, sample or record: a file of a few kilobytes, which "
        "'mlprov verify' checks alone, and which discloses nothing else of the run."
    )
    shared.add_run(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tensor", metavar="NAME", help="a tensor of weights, buffers or optimizer")
    what.add_argument("--batch", type=int, metavar="N", help="a batch, by its number in the epoch")
    what.add_argument("--sample", metavar="INDEX|PATH", help="a sample of the data set of --role")
    what.add_argument("--record", type=int, metavar="SEQ", help="a record, by its number")
    parser.add_argument("--epoch", type=int, metavar="N", help="of which epoch (default: the last)")
    parser.add_argument("--step", type=int, metavar="N", help="a tensor after this optimizer step")
    parser.add_argument("--role", metavar="ROLE", help="of which data set or loader, as train")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file to write (default: KIND.proof.json, here)"
    )
    shared.add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the proof file."""
    sample = arguments.sample
    with stores.open_with_log(arguments.store) as store:
        row = stores.find_run(store, arguments.run)
        proof = proofs.prove(
            store,
            row.id,
            tensor=arguments.tensor,
            batch=arguments.batch,
            sample=int(sample) if sample is not None and _INDEX.fullmatch(sample) else sample,
            record=arguments.record,
            epoch=arguments.epoch,
            step=arguments.step,
            role=arguments.role,
        )
    path = pathlib.Path(arguments.output or f"{proof.kind}.proof.json")
    data = bytes(proof)
    bundles.write_whole(path, data, what="proof", replace=arguments.force)
    size = len(data)
    if arguments.json:
        facts = {"kind": proof.kind, "leaf": proof.leaf, "path": path, "run": row.id, "size": size}
        output.emit_json(facts)
    elif not arguments.quiet:
        output.text(f"wrote {path} ({output.plural(size, 'byte')})")
        output.text(f"check it with: mlprov verify {shlex.quote(str(path))}")
    return 0
