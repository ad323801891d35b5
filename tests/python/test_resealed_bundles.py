"""Bundles changed in structure by the owner himself: manifest, signature and archive are right.

The owner key signs a manifest; it makes no record, head or log entry. What he may do is to show
less: leave a tree out, or an early head with its proof, or stop at an earlier head. All else has
to be refused by a check of the evidence itself, not by the archive or the manifest.
"""

import base64
import json
import random

import pytest
from bad_bundles_for_tests import resealed
from runs_for_tests import ask_both, record

from mlprov import _core, archives, keys, records

OUTER = ("archive", "manifest", "signature", "signer")


class Cannot(Exception):  # noqa: N818 - no error
    """The change drawn by chance is none."""


def lines_of(entries):
    return entries["run.jsonl"].split(b"\n")[:-1]


def put_lines(entries, lines):
    entries["run.jsonl"] = b"".join(line + b"\n" for line in lines)


def numbered(lines):
    """The records with ``seq`` from 0 and the times they need, so that only heads can tell."""
    times = sorted(json.loads(line)["time"] for line in lines)
    numbered = []
    for seq, (line, time) in enumerate(zip(lines, times, strict=True)):
        numbered.append(records.canonical(json.loads(line) | {"seq": seq, "time": time}))
    return numbered


def named(entries, prefix, suffix=""):
    return sorted(n for n in entries if n.startswith(prefix) and n.endswith(suffix))


# ---- records ----


def change_value(chance, value):
    """One value somewhere in a JSON value is another."""
    places = []

    def walk(place):
        for key in place if isinstance(place, dict) else range(len(place)):
            places.append((place, key))
            if isinstance(place[key], (dict, list)):
                walk(place[key])

    walk(value)
    place, key = chance.choice(places)
    old = place[key]
    choices = [None, True, 0, 7, "", "other", [], {}, [old], f"{old}x"]
    place[key] = chance.choice([one for one in choices if json.dumps(one) != json.dumps(old)])


def change_records(chance, entries, other):
    """A record that is lost, moved, doubled, edited, forged or from another run."""
    lines = lines_of(entries)
    kind = chance.choice(["drop", "move", "double", "edit", "edit", "edit", "forge", "foreign"])
    at = chance.randrange(1, len(lines) - 1)  # run.start and run.end stay where they belong
    if kind == "drop":
        del lines[at]
    elif kind == "move":
        to = chance.choice([one for one in range(1, len(lines) - 1) if one != at])
        lines.insert(to, lines.pop(at))
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "edit":
        at = chance.randrange(len(lines))
        value = json.loads(lines[at])
        change_value(chance, value)
        if at == 0 and value["run"] != json.loads(lines[0])["run"]:
            raise Cannot  # the manifest would be of that run
        lines[at] = records.canonical(value)
    elif kind == "forge":
        value = json.loads(lines[at]) | {"metrics": {"accuracy": 1}, "type": "metrics"}
        lines.insert(at, records.canonical(value))
    else:
        lines[at] = chance.choice(lines_of(other)[1:-1])
    if kind != "edit" and chance.random() < 0.7:
        times = {json.loads(line)["time"] for line in lines}
        if len(times) == len(lines):
            lines = numbered(lines)
    put_lines(entries, lines)


# ---- heads ----


def change_heads(chance, entries, other):
    """A head that is another's, of another size or root, signed by another key, or the last."""
    heads = named(entries, "heads/")
    name = chance.choice(heads)
    size, note = int(name[6:-5]), entries[name].decode()
    text, _, signature = note.partition("\n\n")
    origin, _, root = text.split("\n")
    kind = chance.choice(["swap", "foreign", "size", "root", "origin", "owner", "last", "new"])
    if kind == "swap":
        one, two = chance.sample(heads, 2)
        entries[one], entries[two] = entries[two], entries[one]
    elif kind == "foreign":
        entries[name] = other[chance.choice(named(other, "heads/"))]
    elif kind == "size":
        entries[name] = f"{origin}\n{size + 1}\n{root}\n\n{signature}".encode()
    elif kind == "root":
        wrong = base64.b64encode(chance.randbytes(32)).decode()
        entries[name] = f"{origin}\n{size}\n{wrong}\n\n{signature}".encode()
    elif kind == "origin":
        entries[name] = f"{origin}x\n{size}\n{root}\n\n{signature}".encode()
    elif kind == "owner":  # all that the owner has to sign with
        entries[name] = keys.owner_key().sign_note(f"{origin}\n{size}\n{root}\n")
    elif kind == "last":
        last = max(int(one[6:-5]) for one in heads)
        del entries[f"heads/{last}.note"]
        if chance.random() < 0.5:
            del entries[named(entries, "log/", f"/{last}.proof")[0]]
    else:
        entries[f"heads/{chance.randrange(50, 99)}.note"] = entries[name]


# ---- trees ----


def change_leaves(chance, leaves):
    kind = chance.choice(["edit", "drop", "double", "swap", "digest"])
    at = chance.randrange(len(leaves))
    if kind == "drop":
        del leaves[at]
    elif kind == "double":
        leaves.insert(at, leaves[at])
    elif kind == "swap":
        to = chance.randrange(len(leaves))
        leaves[at], leaves[to] = leaves[to], leaves[at]
    else:
        value = json.loads(leaves[at])
        if kind == "digest":
            if "digest" not in value:
                raise Cannot
            value["digest"] = "blake3:" + chance.randbytes(32).hex()
        else:
            change_value(chance, value)
        leaves[at] = records.canonical(value)


def change_trees(chance, entries, other):
    """Leaves edited, under the old name, under their own, and with the records made to cite it."""
    name = chance.choice(named(entries, "trees/"))
    old = _core.decode_leaves(entries[name])
    leaves = list(old)
    change_leaves(chance, leaves)
    if leaves == old or not leaves:
        raise Cannot
    root = _core.merkle_root(leaves).hex()
    kind = chance.choice(["old name", "own name", "cited", "cut"])
    content = _core.encode_leaves(leaves)
    if kind == "cut":
        content = entries[name][: chance.randrange(1, len(entries[name]))]
    if kind in ("old name", "cut"):
        entries[name] = content
        return
    del entries[name]
    entries[f"trees/{root}.leaves"] = content
    if kind == "cited":
        before = b'{"root":"sha256:%b","size":%d}' % (name[6:-7].encode(), len(old))
        after = b'{"root":"sha256:%b","size":%d}' % (root.encode(), len(leaves))
        entries["run.jsonl"] = entries["run.jsonl"].replace(before, after)


# ---- the store log ----


def change_proof(chance, entries, other):
    """A proof with another index or path."""
    name = chance.choice(named(entries, "log/", ".proof"))
    proof = json.loads(entries[name])
    path = proof["path"]
    kind = chance.choice(["index", "index", "hash", "hash", "shorter", "longer", "order"])
    if kind == "index":
        proof["index"] = chance.choice([n for n in range(20) if n != proof["index"]])
    elif kind == "hash":
        path[chance.randrange(len(path))] = base64.b64encode(chance.randbytes(32)).decode()
    elif kind == "shorter":
        del path[chance.randrange(len(path))]
    elif kind == "longer":
        path.append(path[0])
    else:
        path.reverse()
    entries[name] = records.canonical(proof)


def change_log(chance, entries, other):
    """Proofs of other heads, or gone; another checkpoint, or one that somebody else signed."""
    proofs = named(entries, "log/", ".proof")
    (checkpoint,) = named(entries, "log/", "checkpoint")
    text, _, signature = entries[checkpoint].decode().partition("\n\n")
    origin, size, _ = text.split("\n")
    kind = chance.choice(
        ["swap", "swap", "drop", "all", "checkpoint", "foreign", "owner", "folder"]
    )
    if kind == "swap":
        one, two = chance.sample(proofs, 2)
        entries[one], entries[two] = entries[two], entries[one]
    elif kind == "drop":
        del entries[chance.choice(proofs)]
    elif kind == "all":
        for one in proofs:
            del entries[one]
    elif kind == "checkpoint":
        wrong = base64.b64encode(chance.randbytes(32)).decode()
        entries[checkpoint] = f"{origin}\n{size}\n{wrong}\n\n{signature}".encode()
    elif kind == "foreign":
        entries[checkpoint] = other[named(other, "log/", "checkpoint")[0]]
    elif kind == "owner":
        entries[checkpoint] = keys.owner_key().sign_note(f"{text}\n")
    else:
        for one in [*proofs, checkpoint]:
            there = one.replace(f"log/{size}/", f"log/{int(size) + chance.randrange(1, 9)}/")
            entries[there] = entries.pop(one)


# ---- statement and keys ----


def change_binding(chance, entries, other):
    """Keys of another run of the owner, or a statement that he signs anew."""
    kind = chance.choice(["key", "record", "statement", "statement", "both"])
    which = chance.choice(["run", "log"])
    if kind == "key":
        entries["keys/run.vkey"] = other["keys/run.vkey"]
        return
    lines = lines_of(entries)
    start = json.loads(lines[0])
    if kind == "record":
        start["owner"] = json.loads(lines_of(other)[0])["owner"]
    else:
        name, _, text = start["owner"].partition("\n\n")[0].partition("\n")
        statement = json.loads(text)
        if kind == "both":  # bind a key that the owner still has
            fresh = f"{statement['run']}{chance.randrange(99)}"
            statement["run_key"] = statement["run_key"].replace(statement["run"], fresh)
            entries["keys/run.vkey"] = f"{statement['run_key']}\n".encode()
        elif which == "run":
            foreign = other["keys/run.vkey"].decode().strip()
            statement["run_key"] = foreign
            entries["keys/run.vkey"] = other["keys/run.vkey"]
        else:
            statement["time"] = "2020-01-01T00:00:00.000Z"
        body = records.canonical(statement).decode()
        start["owner"] = keys.owner_key().sign_note(f"{name}\n{body}\n").decode()
    lines[0] = records.canonical(start)
    put_lines(entries, lines)


# What changes, how many times, and checks that have to be among the refusing ones.
CHANGES = [
    (change_records, 100, {"records", "heads"}),
    (change_heads, 60, {"heads"}),
    (change_trees, 60, {"heads", "trees"}),
    (change_proof, 50, {"log"}),
    (change_log, 30, {"log"}),
    (change_binding, 12, {"owner", "heads"}),
]


@pytest.fixture(scope="module")
def other(recorded, tmp_path_factory):
    """Another run of the same owner."""
    return record(tmp_path_factory.mktemp("other"), home=recorded.home, name="other").entries()


@pytest.mark.parametrize(
    ("change", "count", "refusing"), CHANGES, ids=[change.__name__ for change, _, _ in CHANGES]
)
def test_structural_changes_are_refused_under_the_owner_s_own_seal(
    recorded, other, as_owner, change, count, refusing
):
    chance = random.Random(change.__name__)
    made, failing = set(), set()
    original = dict(archives.read_archive(recorded.full.read_bytes()).entries)
    while len(made) < count:
        entries = dict(original)
        try:
            change(chance, entries, dict(other))
        except Cannot:
            continue
        if entries == original:
            continue
        data = resealed(entries, recorded.home)
        if data in made:
            continue
        made.add(data)
        verdict = ask_both(data, keys=[recorded.vkey])
        assert verdict.result == "does not hold", (len(made), str(verdict))
        assert all(verdict[name].state == "holds" for name in OUTER), str(verdict)
        failing |= {check.name for check in verdict.failing}
    assert refusing <= failing
    assert ask_both(resealed(original, recorded.home), keys=[recorded.vkey]).ok


def test_an_owner_who_stops_at_an_earlier_head_shows_a_run_that_is_not_complete(recorded):
    """That is no forgery, only less: the records shown are signed; the check says what lacks."""
    entries = recorded.entries()
    lines = lines_of(entries)[:5]
    put_lines(entries, lines)
    for name in named(entries, "heads/", ".note") + named(entries, "log/", ".proof"):
        if int(name.rpartition("/")[2].partition(".")[0]) > len(lines):
            del entries[name]
    for name in named(entries, "trees/"):
        if name[6:-7].encode() not in entries["run.jsonl"]:
            del entries[name]
    verdict = ask_both(resealed(entries, recorded.home), keys=[recorded.vkey])
    assert verdict.ok
    assert verdict["complete"].state == "unchecked"
    assert "had not ended" in verdict.summary
