"""Bundles that were changed in every way we could think of, and two thousand that we could not."""

import base64
import hashlib
import json
import os
import random
import struct
import zipfile

import numpy as np
import pytest
from agreement import v
from bad_bundles_for_tests import BAD_NAMES, raw_zip, resealed
from bundles_for_tests import standard_run
from runs_for_tests import ask_both, record, refused_by_both, user, write_model

import mlprov
from mlprov import archives, bundles, keys, verification

MUTATIONS = 2000


# ---- random mutations ----


def change_bytes(chance, data, entries):
    """One byte, or a stretch that is lost, doubled, moved or cut off."""
    at = chance.randrange(len(data))
    length = min(chance.choice((1, 1, 2, 4, 30, 200, 5000)), len(data) - at)
    kind = chance.randrange(7)
    piece = data[at : at + length]
    if kind <= 1:
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + length :]
    if kind == 3:
        return data[: at + length] + piece + data[at + length :]
    if kind == 4:
        return data[:at] + chance.randbytes(length) + data[at + length :]
    if kind == 5:
        return data[:at]
    other = chance.randrange(len(data))
    return data[:other] + piece + data[other:]


def change_entry(chance, data, entries):
    """An entry that is lost, swapped, renamed, doubled or changed, in a right archive."""
    names = sorted(set(entries) - {"SPEC.md"})
    one, other = chance.sample(names, 2)
    kind = chance.randrange(5)
    if kind == 0:
        del entries[one]
    elif kind == 1:
        entries[one], entries[other] = entries[other], entries[one]
    elif kind == 2:
        entries[other] = entries[one]
    elif kind == 3:
        entries[one] = change_bytes(chance, entries[one], {})
    else:
        entries[f"heads/{chance.randrange(1, 99)}.note"] = entries[one]
    return archives.write_archive(entries)


def change_json(chance, data, entries):
    """A value, a key or a member somewhere in a JSON text, in canonical form again."""
    names = [n for n in entries if n.endswith((".json", ".jsonl", ".proof"))]
    name = chance.choice(sorted(names))
    lines = entries[name].split(b"\n")
    index = chance.randrange(max(1, len(lines) - 1))
    value = json.loads(lines[index])
    place = value
    while True:
        keys_here = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice(keys_here)
        if not isinstance(place[key], (dict, list)) or not place[key] or chance.random() < 0.2:
            break
        place = place[key]
    kind = chance.randrange(3)
    if kind == 0:
        del place[key]
    elif kind == 1:
        place[key] = chance.choice([None, True, 0, -1, 2**53 - 1, "", "\ud7ff", [], {}, "x" * 99])
    elif isinstance(place, dict):
        place[f"{key}x"] = place[key]
    else:
        place.append(place[key])
    lines[index] = mlprov.records.canonical(value)
    entries[name] = b"\n".join(lines)
    return archives.write_archive(entries)


def reseal_changed(chance, data, entries, home):
    """The same, under a manifest that fits and a signature by somebody else."""
    changed = chance.choice((change_entry, change_json))(chance, data, entries)
    try:
        return resealed(archives.read_archive(changed).entries, home)
    except (KeyError, ValueError, TypeError):  # the first record is gone, or no longer one
        return changed


@pytest.mark.slow
def test_two_thousand_mutations_of_a_bundle_are_refused_by_both_verifiers(recorded, tmp_path):
    chance = random.Random("two thousand mutations")
    data = recorded.data
    asked = {"keys": [recorded.vkey], "tensors": ["bias"]}
    changed = 0
    for _ in range(MUTATIONS):
        entries = recorded.entries()
        kind = chance.randrange(4)
        if kind == 3:
            mutated = reseal_changed(chance, data, entries, tmp_path / "other")
        else:
            mutated = (change_bytes, change_entry, change_json)[kind](chance, data, entries)
        if mutated != data:
            changed += 1
            refused_by_both(mutated, **asked)
    assert changed > MUTATIONS * 0.95
    assert ask_both(data, **asked).ok  # and the bundle itself does hold


@pytest.mark.parametrize("part", ["head", "middle", "tail"])
def test_every_cut_near_the_ends_of_an_archive_is_refused(recorded, part):
    data = recorded.data
    middle = len(data) // 2
    cuts = {"head": range(60), "middle": range(middle, middle + 20), "tail": range(-60, 0)}[part]
    for cut in cuts:
        refused_by_both(data[:cut], keys=[recorded.vkey])


# ---- the archive ----


def test_the_helper_writes_what_the_format_says(recorded):
    members = [(n.encode(), c) for n, c in sorted(recorded.entries().items())]
    assert raw_zip(members) == recorded.data


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_the_format_does_not_know_are_refused(recorded, name):
    members = [(n.encode(), c) for n, c in recorded.entries().items()] + [(name, b"x")]
    for order in (members, sorted(members)):
        data = raw_zip(order)
        refused_by_both(data, keys=[recorded.vkey])
        assert verification.verify_bytes(data, "it")["archive"].state == "fails"


def test_two_entries_of_one_name_are_refused(recorded):
    members = [(n.encode(), c) for n, c in sorted(recorded.entries().items())]
    for index, (name, content) in enumerate(members):
        doubled = [*members[: index + 1], (name, content), *members[index + 1 :]]
        refused_by_both(raw_zip(doubled), keys=[recorded.vkey])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: b"\0" + d,
        lambda d: d + b"\0",
        lambda d: d + d,
        lambda d: b"PK\x03\x04" + d,
        lambda d: d[:-2] + b"\x05\x00hello",
        lambda d: d.replace(b"\x00\x00\x80\x81", b"\x00\x00\xff\xa1"),
        lambda d: d.replace(b"PK\x01\x02\x14\x03", b"PK\x01\x02\x14\x00"),
    ],
    ids=["prefix", "suffix", "twice", "magic", "comment", "mode", "host"],
)
def test_other_spellings_of_the_same_archive_are_refused(recorded, change):
    refused_by_both(change(recorded.data), keys=[recorded.vkey])


def test_an_archive_that_python_wrote_its_own_way_is_refused(recorded, tmp_path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = tmp_path / "x.mlprov"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in sorted(recorded.entries().items()):
                archive.writestr(name, content)
        refused_by_both(path.read_bytes(), keys=[recorded.vkey])


def test_a_size_that_is_announced_and_not_there_is_refused_at_once(recorded):
    data = bytearray(recorded.data)
    data[18:26] = struct.pack("<II", 2**30, 2**30)
    refused_by_both(bytes(data), keys=[recorded.vkey])
    data[18:26] = b"\xff" * 8
    refused_by_both(bytes(data), keys=[recorded.vkey])


def test_more_entries_than_the_format_allows_are_refused(recorded):
    members = [(f"heads/{n}.note".encode(), b"") for n in range(60_001)]
    verdict = verification.verify_bytes(raw_zip(members[:65_000]), "it")
    assert verdict["archive"].state == "fails"
    with pytest.raises(mlprov.EvidenceError, match="60000"):
        archives.write_archive({f"heads/{n}.note": b"" for n in range(60_001)})


def test_a_file_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "huge.mlprov"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(mlprov.EvidenceError, match="at most"):
        mlprov.verify(path)


@pytest.mark.parametrize("missing", ["SPEC.md", "run.jsonl", "manifest.sig", "keys/log.vkey"])
def test_an_archive_without_a_required_entry_is_refused(recorded, missing):
    entries = recorded.entries()
    del entries[missing]
    data = archives.write_archive(entries)
    refused_by_both(data, keys=[recorded.vkey])
    assert missing in verification.verify_bytes(data, "it")["archive"].detail


# ---- the manifest and what it lists ----


def test_an_entry_that_the_manifest_lacks_is_named(recorded):
    entries = recorded.entries() | {"heads/3.note": b"hello\n"}
    verdict = ask_both(archives.write_archive(entries), keys=[recorded.vkey])
    assert verdict["manifest"].state == "fails"
    assert "'heads/3.note' is not in the manifest" in verdict["manifest"].detail


def test_an_entry_that_only_the_manifest_has_is_named(recorded):
    entries = recorded.entries()
    del entries["heads/5.note"]
    verdict = ask_both(archives.write_archive(entries), keys=[recorded.vkey])
    assert "'heads/5.note' is missing" in verdict["manifest"].detail


def test_a_changed_entry_is_named_with_both_digests(recorded):
    entries = recorded.entries()
    entries["run.jsonl"] = entries["run.jsonl"].replace(b'"loss":0.5', b'"loss":0.4')
    verdict = ask_both(archives.write_archive(entries), keys=[recorded.vkey])
    check = verdict["manifest"]
    assert "'run.jsonl'" in check.detail
    assert check.seen == hashlib.sha256(entries["run.jsonl"]).hexdigest()
    assert check.expected != check.seen


def test_a_changed_metric_is_refused_even_under_the_owner_s_own_manifest(recorded):
    """The owner cannot rewrite a record either: the run key is gone with the end of the run."""
    entries = recorded.entries()
    entries["run.jsonl"] = entries["run.jsonl"].replace(b'"loss":0.5', b'"loss":0.4')
    verdict = ask_both(resealed(entries, recorded.home), keys=[recorded.vkey])
    assert verdict["signature"].state == "holds"
    assert verdict["heads"].state == "fails"
    assert verdict.exit_code == 1


@pytest.mark.parametrize(
    ("version", "code"), [(2, 2), (2**53 - 1, 2), (0, 1), (-1, 1), ("1", 1), (None, 1), (True, 1)]
)
def test_a_newer_version_cannot_be_checked_and_none_is_refused(recorded, version, code):
    entries = recorded.entries()
    manifest = json.loads(entries["manifest.json"]) | {"version": version}
    entries["manifest.json"] = mlprov.records.canonical(manifest)
    verdict = ask_both(archives.write_archive(entries), keys=[recorded.vkey])
    assert verdict.exit_code == code
    if code == 2:
        assert verdict.newer == version
        with pytest.raises(mlprov.EvidenceError, match="upgrade mlprov"):
            verdict.require()


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_hundred_thousand_nested_brackets_are_refused(recorded, bracket):
    bomb = bracket.encode() * 100_000
    for name in ("manifest.json", "run.jsonl", "log/7/10.proof"):
        entries = recorded.entries() | {name: bomb + b"\n" * (name == "run.jsonl")}
        refused_by_both(archives.write_archive(entries), keys=[recorded.vkey])
        if name.startswith("log/"):  # the owner himself, under a manifest that fits
            refused_by_both(resealed(entries, recorded.home), keys=[recorded.vkey])
    refused_by_both(b"{" + bomb, keys=[recorded.vkey])


def test_a_key_of_the_wrong_kind_is_refused(recorded):
    """An Ed25519 vkey begins with the byte 1 (C2SP signed-note); 2 is ECDSA, 4 a cosigner's."""
    owner = recorded.entries()["keys/owner.vkey"].decode().strip()
    name = owner.partition("+")[0]
    key = v.parse_vkey(owner)
    for kind, public in ((2, key.public), (4, key.public), (1, key.public[:31]), (1, b"")):
        material = bytes([kind]) + public
        key_id = hashlib.sha256(name.encode() + b"\n" + material).hexdigest()[:8]
        vkey = f"{name}+{key_id}+{base64.b64encode(material).decode()}\n".encode()
        entries = recorded.entries() | {"keys/owner.vkey": vkey}
        data = archives.write_archive(entries)
        refused_by_both(data, keys=[recorded.vkey])
        assert verification.verify_bytes(data, "it")["signature"].state == "fails"


@pytest.mark.parametrize("which", ["run", "log"])
def test_another_run_s_key_is_refused(recorded, tmp_path, which):
    other = record(tmp_path, home=tmp_path / "home").entries()
    entries = recorded.entries() | {f"keys/{which}.vkey": other[f"keys/{which}.vkey"]}
    verdict = ask_both(resealed(entries, recorded.home), keys=[recorded.vkey])
    assert verdict["owner"].state == "fails"
    assert f"keys/{which}.vkey" in verdict["owner"].detail


def test_heads_of_another_run_of_the_same_owner_are_refused(recorded, tmp_path):
    other = record(tmp_path, home=recorded.home).entries()
    entries = recorded.entries() | {"heads/10.note": other["heads/10.note"]}
    verdict = ask_both(resealed(entries, recorded.home), keys=[recorded.vkey])
    assert verdict["heads"].state == "fails"


def test_a_tree_that_no_record_cites_is_refused(recorded):
    leaves = [b'{"digest":"x","name":"a"}']
    root = mlprov.MerkleTree(leaves).root().hex()
    name = f"trees/{root}.leaves"
    entries = recorded.entries() | {name: mlprov._core.encode_leaves(leaves)}
    verdict = ask_both(resealed(entries, recorded.home), keys=[recorded.vkey])
    assert verdict["trees"].state == "fails"


def test_undisclosed_weights_make_another_model_unchecked(recorded, tmp_path):
    entries = {n: c for n, c in recorded.entries().items() if not n.startswith("trees/")}
    data = resealed(entries, recorded.home)
    other = write_model(tmp_path / "other.safetensors", recorded.epochs[0])
    verdict = ask_both(data, keys=[recorded.vkey], model=other, tensors=["bias"])
    assert verdict["trees"].state == "holds"
    assert verdict["model"].state == verdict["tensor:bias"].state == "unchecked"
    assert verdict.exit_code == 2
    # The recorded file itself is known by the root of its tensors.
    assert ask_both(data, keys=[recorded.vkey], model=recorded.model).ok


# ---- exporting ----


def test_only_the_key_that_began_a_run_exports_it(recorded, tmp_path):
    with user(tmp_path / "somebody"):
        keys.owner_key()
        store = mlprov.stores.open_store(recorded.store, read_only=True)
        with store, pytest.raises(mlprov.ConfigError, match="begun by the owner key"):
            bundles.export_run(store, recorded.run, tmp_path / "x.mlprov")
    assert not (tmp_path / "x.mlprov").exists()


def test_without_its_owner_key_a_finished_run_is_not_exported_again(recorded, tmp_path):
    with user(tmp_path / "nobody"):
        store = mlprov.stores.open_store(recorded.store, read_only=True)
        with store, pytest.raises(mlprov.ConfigError) as caught:
            bundles.export_run(store, recorded.run, tmp_path / "x.mlprov")
    said = str(caught.value)
    for part in (f"owner key {recorded.vkey}", "there is none at", "point MLPROV_OWNER_KEY at"):
        assert part in said
    assert not (tmp_path / "nobody").exists()  # no new key is made for it


@pytest.mark.parametrize(
    "disclose",
    [["weights"], ["batches", "secrets"], "batches", [5], [["batches"]], 5, None, np.ones(2)],
    ids=lambda value: type(value).__name__,
)
def test_only_known_things_are_disclosed(as_owner, tmp_path, disclose):
    store = mlprov.stores.open_store(as_owner.store, read_only=True)
    with store, pytest.raises(mlprov.ConfigError, match="cannot disclose"):
        bundles.export_run(store, as_owner.run, tmp_path / "x", disclose=disclose)
    assert not (tmp_path / "x").exists()


def test_a_bundle_discloses_no_batch_and_no_sample_unless_asked(recorded):
    trees = {n for n in recorded.entries() if n.startswith("trees/")}
    full = {n for n in archives.read_archive(recorded.full.read_bytes()).entries if "trees/" in n}
    assert trees < full


def test_a_bundle_is_written_whole_or_not_at_all(as_owner, tmp_path, monkeypatch):
    target = tmp_path / "x.mlprov"
    target.write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(mlprov.StoreError, match="No space left"):
        bundles.write_whole(target, b"after", what="bundle")
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["", ".", "/", "there"])
def test_a_bundle_is_not_written_over_a_directory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(mlprov.StoreError, match="directory"):
        bundles.write_whole(tmp_path.__class__(name), b"x", what="bundle")


def test_a_file_is_replaced_unless_that_is_refused(tmp_path):
    target = tmp_path / "x"
    bundles.write_whole(target, b"first", what="bundle", replace=False)
    with pytest.raises(mlprov.ConfigError, match="there is such a file"):
        bundles.write_whole(target, b"second", what="bundle", replace=False)
    assert target.read_bytes() == b"first"
    bundles.write_whole(target, b"third", what="bundle")
    assert target.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [target]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(mlprov.ConfigError, match="device or a pipe"):
        bundles.write_whole(pipe, b"x", what="proof")
    assert pipe.is_fifo()


def test_names_of_255_bytes_can_be_written(tmp_path):
    target = tmp_path / ("n" * 255)
    bundles.write_whole(target, b"x", what="bundle")
    assert target.read_bytes() == b"x"


def test_a_bundle_of_the_second_verifier_s_own_making_holds():
    builder = standard_run()
    assert ask_both(builder.build(), keys=[str(builder.owner_key)]).ok
