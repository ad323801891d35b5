"""Makes bundles and proof files, good and bad, from the second verifier's own functions.

Nothing of mlprov is imported here, so a bundle made here and accepted by mlprov (or the other way
round) is a comparison of two implementations of docs/format.md. A test changes what it wants at any
stage: ``records`` before the heads are signed, ``entries()`` before the manifest is, the manifest
before the archive is made.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "verifier"))

import evidence_maker as w  # noqa: E402
import mlprov_verify as v  # noqa: E402

OWNER_SEED, RUN_SEED, LOG_SEED, OTHER_SEED = (bytes([number]) * 32 for number in (1, 2, 3, 9))
RUN_ID = "019aa5c1-5a40-7000-8000-000000000001"
ORIGIN = "mlprov/store/0123456789abcdef"
# The checks that a bundle must pass (docs/format.md section 10), in order.
CORE = ["archive", "manifest", "signature", "signer", "owner", "records", "heads", "log", "trees"]

FLOATS = struct.pack("<4f", 1.0, -2.0, 0.5, -0.0)


def tensor(data: bytes, dtype: str, shape: list[int], algorithm: str = "blake3") -> dict[str, Any]:
    """The four members that describe a tensor in any leaf."""
    digest = v.digest_text(data, algorithm)
    return {"digest": digest, "dtype": dtype, "len": len(data), "shape": shape}


def write_safetensors(tensors: dict[str, tuple[bytes, str, list[int]]]) -> bytes:
    """A safetensors file: name → (bytes, dtype, shape)."""
    header: dict[str, Any] = {}
    position = 0
    for name, (data, dtype, shape) in tensors.items():
        end = position + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, ensure_ascii=False).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for data, _, _ in tensors.values())


def write_npy(data: bytes, descr: str, shape: tuple[int, ...], *, fortran: bool = False) -> bytes:
    """A .npy file of format version 1.0."""
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def encoded(path: list[bytes]) -> list[str]:
    """Hashes of a path as JSON has them."""
    return [base64.b64encode(item).decode() for item in path]


@dataclasses.dataclass
class BundleBuilder:
    """A run being written; every part can be changed before the next one is made."""

    owner_seed: bytes = OWNER_SEED
    run_seed: bytes = RUN_SEED
    log_seed: bytes = LOG_SEED
    run: str = RUN_ID
    origin: str = ORIGIN
    algorithm: str = "blake3"
    open: bool = False
    revision: int = 1
    previous: str | None = None
    spec: bytes = b"mlprov formats, version 1: the text\n"
    records: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    trees: dict[str, list[bytes]] = dataclasses.field(default_factory=dict)
    head_sizes: list[int] | None = None
    log_before: list[bytes] = dataclasses.field(default_factory=lambda: [b"another run's head\n"])
    log_after: list[bytes] = dataclasses.field(default_factory=lambda: [b"a later head\n"] * 2)

    # -- keys

    @property
    def owner_key(self) -> v.Key:
        public = w.public_key(self.owner_seed)
        return v.Key(v.owner_name(public), public)

    @property
    def run_key(self) -> v.Key:
        return v.Key(f"mlprov/run/{self.run}", w.public_key(self.run_seed))

    @property
    def log_key(self) -> v.Key:
        return v.Key(self.origin, w.public_key(self.log_seed))

    def statement(self, **changes: Any) -> str:
        """The owner's statement, a signed note."""
        members = {
            "log_key": str(self.log_key),
            "log_origin": self.origin,
            "run": self.run,
            "run_key": str(self.run_key),
            "time": "2026-11-21T09:30:00.000Z",
            "version": 1,
        } | changes
        members = {name: value for name, value in members.items() if value is not ...}
        text = v.STATEMENT_TYPE + v.canonical_json(members) + b"\n"
        return w.sign_note(text, self.owner_key.name, self.owner_seed).decode()

    # -- records and trees

    def add(self, kind: str, /, **members: Any) -> dict[str, Any]:
        """Append a record, a second later than the one before."""
        seq = len(self.records)
        time = f"2026-11-21T09:{30 + seq // 60:02}:{seq % 60:02}.000Z"
        record = {"type": kind, "seq": seq, "time": time} | members
        self.records.append(record)
        return record

    def start(self, **members: Any) -> dict[str, Any]:
        """Append run.start with all members of section 5."""
        defaults: dict[str, Any] = {
            "version": 1,
            "run": self.run,
            "name": "digits",
            "project": None,
            "mlprov": "0.1.0",
            "algorithm": self.algorithm,
            "owner": self.statement(),
            "owner_key": str(self.owner_key),
            "config": {"lr": 0.001},
            "code": {"git": None, "modules": []},
            "environment": {"python": "3.11.7", "platform": "Linux", "packages": {}, "argv": []},
            "seeds": {"torch": "18446744073709551615", "python_hash": None, "rng": {}},
            "settings": {"every": "epoch", "snapshot": "inline", "on_error": "warn"},
            "parents": [],
            "tags": [],
            "group": None,
            "notes": None,
        }
        return self.add("run.start", **(defaults | members))

    def end(self, **members: Any) -> dict[str, Any]:
        """Append run.end."""
        defaults = {"status": "finished", "exception": None, "gaps": 0, "epochs": 2, "batches": 4}
        return self.add("run.end", **(defaults | members))

    def tree(self, leaves: list[Any], *, disclose: bool = True) -> dict[str, Any]:
        """A tree over JSON leaves (or raw ones); its reference, as records have it."""
        raw = [leaf if isinstance(leaf, bytes) else v.canonical_json(leaf) for leaf in leaves]
        root = v.merkle_root(raw).hex()
        if disclose:
            self.trees[root] = raw
        return {"root": f"sha256:{root}", "size": len(raw)}

    def retree(self, seq: int, member: str, leaves: list[Any]) -> None:
        """Put another tree in the place of one that a record cites."""
        old = self.records[seq][member]["root"].removeprefix("sha256:")
        self.trees.pop(old, None)
        self.records[seq][member] = self.tree(leaves)

    def named(self, tensors: dict[str, tuple[bytes, str, list[int]]]) -> dict[str, Any]:
        """A tree of tensor leaves, disclosed."""
        leaves = [
            {"name": name} | tensor(data, dtype, shape, self.algorithm)
            for name, (data, dtype, shape) in sorted(tensors.items())
        ]
        return self.tree(leaves)

    def lines(self) -> list[bytes]:
        """The records as they are hashed."""
        return [v.canonical_json(record) for record in self.records]

    # -- heads, log, bundle

    def heads(self) -> dict[int, bytes]:
        """Signed heads by size; by default one after each record."""
        lines = self.lines()
        sizes = self.head_sizes or range(1, len(lines) + 1)
        return {size: self.head(size, v.merkle_root(lines[:size])) for size in sizes}

    def head(self, size: int, root: bytes) -> bytes:
        """One signed head."""
        text = w.checkpoint_text(self.run_key.name, size, root)
        return w.sign_note(text, self.run_key.name, self.run_seed)

    def log(self) -> list[bytes]:
        """Every entry of the store log."""
        return [*self.log_before, *self.heads().values(), *self.log_after]

    def log_checkpoint(self) -> bytes:
        """The store log's signed checkpoint."""
        return self._checkpoint_of(self.log())

    def _checkpoint_of(self, log: list[bytes]) -> bytes:
        text = w.checkpoint_text(self.origin, len(log), v.merkle_root(log))
        return w.sign_note(text, self.origin, self.log_seed)

    def log_proof(self, head: bytes) -> dict[str, Any]:
        """Where a head is in the store log."""
        return self.proof_in(self.log(), head)

    @staticmethod
    def proof_in(log: list[bytes], head: bytes) -> dict[str, Any]:
        """Where a head is in a log with these entries."""
        index = log.index(head)
        return {"index": index, "path": encoded(w.inclusion_proof(index, log))}

    def entries(self) -> dict[str, bytes]:
        """Every entry but the manifest and its signature."""
        heads = self.heads()
        log = [*self.log_before, *heads.values(), *self.log_after]
        folder = f"log/{len(log)}"
        entries = {
            "SPEC.md": self.spec,
            "keys/owner.vkey": f"{self.owner_key}\n".encode(),
            "keys/run.vkey": f"{self.run_key}\n".encode(),
            "keys/log.vkey": f"{self.log_key}\n".encode(),
            "run.jsonl": b"".join(line + b"\n" for line in self.lines()),
            f"{folder}/checkpoint": self._checkpoint_of(log),
        }
        for size, head in heads.items():
            entries[f"heads/{size}.note"] = head
            entries[f"{folder}/{size}.proof"] = v.canonical_json(self.proof_in(log, head))
        for root, leaves in self.trees.items():
            entries[f"trees/{root}.leaves"] = w.write_leaves(leaves)
        return entries

    def manifest(self, entries: dict[str, bytes]) -> dict[str, Any]:
        """The manifest of these entries."""
        return {
            "entries": {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
                for name, data in entries.items()
            },
            "format": "mlprov-bundle",
            "open": self.open,
            "previous": self.previous,
            "revision": self.revision,
            "run": self.run,
            "spec": hashlib.sha256(entries.get("SPEC.md", b"")).hexdigest(),
            "version": 1,
        }

    def seal(self, entries: dict[str, bytes], manifest: Any = None) -> bytes:
        """Sign the manifest (bytes are taken as they are) and make the archive."""
        value = self.manifest(entries) if manifest is None else manifest
        text = value if isinstance(value, bytes) else v.canonical_json(value)
        return w.write_archive({**entries, "manifest.json": text, "manifest.sig": self.sign(text)})

    def sign(self, manifest: bytes) -> bytes:
        """manifest.sig."""
        digest = hashlib.sha256(manifest).hexdigest()
        text = v.MANIFEST_TYPE + f"sha256:{digest}\n".encode()
        return w.sign_note(text, self.owner_key.name, self.owner_seed)

    def build(self) -> bytes:
        """The bundle."""
        return self.seal(self.entries())

    # -- proof files

    def proof(self, kind: str, seq: int, field: list[Any] | None = None, index: int = 0) -> Any:
        """A proof file as an object: of a record, or of leaf ``index`` of the tree at ``field``."""
        lines, heads = self.lines(), self.heads()
        size = max(heads)
        proof: dict[str, Any] = {
            "format": "mlprov-proof",
            "version": 1,
            "kind": kind,
            "record": {
                "index": seq,
                "leaf": lines[seq].decode(),
                "path": encoded(w.inclusion_proof(seq, lines[:size])),
                "size": size,
            },
            "head": heads[size].decode(),
            "log": {"checkpoint": self.log_checkpoint().decode(), **self.log_proof(heads[size])},
            "owner": self.statement(),
            "owner_key": str(self.owner_key),
        }
        if field is not None:
            reference: Any = self.records[seq]
            for step in field:
                reference = reference[step]
            leaves = self.trees[reference["root"].removeprefix("sha256:")]
            proof["claim"] = {
                "field": field,
                "index": index,
                "leaf": leaves[index].decode(),
                "path": encoded(w.inclusion_proof(index, leaves)),
                "size": len(leaves),
            }
        return proof


# The model of the standard run: two tied names, three other tensors of several types.
def weights(step: int = 1) -> dict[str, tuple[bytes, str, list[int]]]:
    """Name → (bytes, dtype, shape) of the model after ``step`` epochs."""
    return {
        "bias": (struct.pack("<2f", step, -step), "F32", [2]),
        "counter": (struct.pack("<q", step), "I64", []),
        "embed.weight": (FLOATS, "F32", [2, 2]),
        "head.weight": (FLOATS, "F32", [2, 2]),
        "scale": (bytes([step, 0x3F]), "BF16", [1]),
    }


ALIASES = [["embed.weight", "head.weight"]]
SAMPLES = struct.pack("<6f", 0, 1, 2, 3, 4, 5)
LABELS = struct.pack("<3q", 7, 8, 9)
FILES = {"a.txt": b"first\n", "b/c.bin": bytes(range(256)), "b/ü.txt": b""}
OPAQUE = b"\x80\x04not to be unpickled."


def sample_rows(algorithm: str = "blake3") -> list[dict[str, Any]]:
    """Sample leaves of the pairs (row of SAMPLES, label)."""
    leaves = []
    for index in range(3):
        row, label = SAMPLES[8 * index : 8 * index + 8], LABELS[8 * index : 8 * index + 8]
        items = [
            {"$tensor": tensor(row, "F32", [2], algorithm)},
            {"$tensor": tensor(label, "I64", [], algorithm)},
        ]
        text = v.canonical_json(items)
        digest = v.digest_text(text, algorithm)
        leaves.append({"digest": digest, "index": index, "len": len(text)})
    return leaves


def bare_rows(algorithm: str = "blake3") -> list[dict[str, Any]]:
    """Sample leaves of the rows of SAMPLES alone."""
    rows = [SAMPLES[at : at + 8] for at in range(0, 24, 8)]
    return [
        {"digest": v.digest_text(row, algorithm), "index": index, "len": 8}
        for index, row in enumerate(rows)
    ]


def file_leaves(files: dict[str, bytes], algorithm: str = "blake3") -> list[dict[str, Any]]:
    """Sample leaves of a set of files."""
    return [
        {"digest": v.digest_text(files[path], algorithm), "len": len(files[path]), "path": path}
        for path in sorted(files, key=str.encode)
    ]


def standard_run(**changes: Any) -> BundleBuilder:
    """A complete run: three data sets, a model, two epochs, two checkpoints, an end."""
    builder = BundleBuilder(**changes)
    algorithm = builder.algorithm
    builder.start()
    pairs = sample_rows(algorithm)
    raw = sorted(bytes.fromhex(leaf["digest"].partition(":")[2]) for leaf in pairs)
    fields = [{"dtype": "F32", "shape": [2]}, {"dtype": "I64", "shape": []}]
    common: dict[str, Any] = {"count": 3, "sorted": None, "weak": []}
    builder.add(
        "data",
        **common
        | {"role": "train", "kind": "arrays", "tree": builder.tree(pairs), "fields": fields}
        | {"sorted": builder.tree(raw), "source": "TensorDataset", "bytes": 99},
    )
    builder.add(
        "data",
        **common
        | {"role": "bare", "kind": "arrays", "tree": builder.tree(bare_rows(algorithm))}
        | {"fields": fields[0], "source": "ndarray", "bytes": 24},
    )
    tree = builder.tree(file_leaves(FILES, algorithm))
    builder.add("data", **common, role="files", kind="files", tree=tree, source="images")
    modules = [{"class": "torch.nn.Linear", "name": "", "text": "in_features=2, out_features=2"}]
    builder.add(
        "model",
        weights=builder.named(weights(0)),
        aliases=ALIASES,
        architecture=builder.tree(modules),
        parameters=12,
    )
    for epoch in range(2):
        _add_epoch(builder, epoch, pairs)
    identity = {
        "blake3": v.digest_text(OPAQUE).partition(":")[2],
        "len": len(OPAQUE),
        "path": "model.pt",
        "sha256": hashlib.sha256(OPAQUE).hexdigest(),
    }
    none: dict[str, Any] = {"weights": None, "aliases": [], "tensors": None, "mapping": None}
    builder.add("checkpoint", path="model.pt", format="opaque", files=[identity], epoch=1, **none)
    builder.end()
    return builder


def _add_epoch(builder: BundleBuilder, epoch: int, pairs: list[dict[str, Any]]) -> None:
    batches = [
        {"batch": 0, "items": [{"$tensor": tensor(SAMPLES[:16], "F32", [2, 2])}, "text", 0.5]},
        {"batch": 1, "items": {"x": {"$tensor": tensor(SAMPLES[16:], "F32", [1, 2])}, "n": None}},
    ]
    stream = {"role": "train", "batches": 2, "samples": 3, "bytes": 24, "indices": None}
    state = [{"name": "param_groups.0.lr", "value": 0.001}]
    moment = {"name": "state.0.exp_avg"} | tensor(FLOATS, "F32", [2, 2], builder.algorithm)
    builder.add(
        "epoch",
        epoch=epoch,
        guard="inline",
        weights=builder.named(weights(epoch + 1)),
        aliases=ALIASES,
        optimizer=builder.tree([*state, moment]),
        streams=[stream | {"tree": builder.tree(batches)}],
        metrics={"loss": 0.25, "worst": "NaN"},
    )


def check_states(verdict: v.Verdict) -> dict[str, str]:
    """Name → state of every check."""
    return {check.name: check.state for check in verdict.checks}


def failing(verdict: v.Verdict) -> list[str]:
    """Names of the checks that fail, in order."""
    return [check.name for check in verdict.checks if check.state == v.FAILS]


# -- what tests of models and data share

Tensors = dict[str, tuple[bytes, str, list[int]]]
PAIRS: Tensors = {"0": (SAMPLES, "F32", [3, 2]), "1": (LABELS, "I64", [3])}


def pinned(**asked: Any) -> v.Request:
    """A request that pins the key of the standard run."""
    return v.Request(keys=[BundleBuilder().owner_key], **asked)


def verify(bundle: bytes, **asked: Any) -> v.Verdict:
    """The verdict on a bundle of the pinned owner."""
    return v.verify_bytes(bundle, pinned(**asked))


def check(verdict: v.Verdict, name: str) -> v.Check:
    """One check of a verdict."""
    return next(check for check in verdict.checks if check.name == name)


def saved(folder: Path, tensors: Tensors, name: str = "model.safetensors") -> Path:
    """A safetensors file with these tensors."""
    path = folder / name
    path.write_bytes(write_safetensors(tensors))
    return path


def arrays_file(folder: Path, tensors: Tensors) -> Path:
    """A data set as a safetensors file."""
    return saved(folder, tensors, "data.safetensors")


def without(tensors: Tensors, *names: str) -> Tensors:
    """The tensors but for these."""
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def replaced(seq: int, member: str, value: Any) -> bytes:
    """The standard run with one member changed; a tree that it named is no longer disclosed."""
    builder = standard_run()
    old = builder.records[seq].get(member)
    if isinstance(old, dict) and "root" in old:
        builder.trees.pop(old["root"].removeprefix("sha256:"), None)
    builder.records[seq][member] = value
    return builder.build()
