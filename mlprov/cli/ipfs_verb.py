"""``mlprov ipfs``: CIDs of files, files as CARs, files out of CARs, files on a node."""

from __future__ import annotations

import argparse
import pathlib
import shlex
from collections.abc import Callable

from mlprov import anchoring, ipfs, publishing, stores
from mlprov.cli import output, status_verb
from mlprov.cli.arguments import add_force
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "cid FILE...: print the CID of each. export FILE [CAR]: write a file, such as a bundle or "
        "a model, as a CAR, which every IPFS node imports ('ipfs dag import'). import CAR FILE: "
        "take it out again, every block checked. Files are cut as IPIP-499's unixfs-v1-2025 says "
        "(1 MiB, 1,024 links, raw leaves); nothing is sent by these. publish FILE...: send each to "
        "the node of [anchor.ipfs], pin it there, and read it back, through the store's outbox; "
        "whoever knows the CID can read it. IPFS is storage: it proves no time."
    )
    parser.add_argument("action", choices=("cid", "export", "import", "publish"), help="what to do")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="as the action has it")
    parser.add_argument(
        "--cid", metavar="CID", help="import: the file to take out (default: the root)"
    )
    parser.add_argument(
        "--max-size",
        type=int,
        metavar="BYTES",
        help="import: refuse a longer file (default: what all blocks have together)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="publish: give up then (default: 60); 'mlprov sync' goes on",
    )
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do one of them."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "cid": _cid,
        "export": _export,
        "import": _import,
        "publish": _publish,
    }
    return actions[arguments.action](arguments)


def _progress(total: int) -> Callable[[int, int], None]:
    def show(_: int, done: int) -> None:
        output.progress(done / total if total else None, f"{done / 1e9:.1f} GB")

    return show


def _cid(arguments: argparse.Namespace) -> int:
    rows = []
    for path in arguments.paths:
        cid = ipfs.cid_of_file(path, progress=_progress(pathlib.Path(path).stat().st_size))
        rows.append({"cid": str(cid), "path": path})
        if not arguments.json:
            output.text(f"{cid}  {path}")
    if arguments.json:
        output.emit_json({"files": rows})
    return 0


def _two(arguments: argparse.Namespace, form: str) -> tuple[pathlib.Path, pathlib.Path | None]:
    if len(arguments.paths) > 2:
        raise ConfigError(f"cannot {arguments.action} that many files", f"give {form}")
    first, *rest = map(pathlib.Path, arguments.paths)
    return first, rest[0] if rest else None


def _export(arguments: argparse.Namespace) -> int:
    path, car = _two(arguments, "FILE [CAR]")
    car = car or pathlib.Path(f"{path.name}.car")
    size = 2 * path.stat().st_size  # it is read twice
    cid = ipfs.export_car(path, car, replace=arguments.force, progress=_progress(size))
    if arguments.json:
        output.emit_json({"car": car, "cid": str(cid), "path": path, "size": car.stat().st_size})
    elif not arguments.quiet:
        output.text(f"wrote {car} ({output.plural(car.stat().st_size, 'byte')}): {cid}")
        output.text(f"take it out with: mlprov ipfs import {shlex.quote(str(car))} FILE")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    car, path = _two(arguments, "CAR FILE")
    if path is None:
        raise ConfigError(f"cannot import {car}: nothing says where to", "give CAR FILE")
    wanted = None if arguments.cid is None else ipfs.CID.parse(arguments.cid)
    cid = ipfs.import_car(
        car, path, cid=wanted, max_size=arguments.max_size, replace=arguments.force
    )
    if arguments.json:
        output.emit_json({"car": car, "cid": str(cid), "path": path, "size": path.stat().st_size})
    elif not arguments.quiet:
        output.text(f"wrote {path} ({output.plural(path.stat().st_size, 'byte')}): {cid}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    anchoring.endpoint(anchoring.FILES)  # what is not configured is said before anything is planned
    with stores.open_store(arguments.store) as store:
        cids = [publishing.plan_file(store, path).binary for path in arguments.paths]
        anchoring.deliver(store, [anchoring.FILES], arguments.timeout)
        found = anchoring.read_anchors(store)
        rows = [row for row in found if row.kind == anchoring.FILES and row.reference in cids]
        path = store.path
    if arguments.json:
        output.emit_json({"files": status_verb.as_json(rows), "store": path})
    elif not arguments.quiet:
        status_verb.show(rows, path)
    return 0 if all(row.state == "final" for row in rows) else 2
