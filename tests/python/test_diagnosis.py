"""What ``mlprov doctor`` says, and that it changes nothing."""

import json
import os
import sys
import types

import pytest
from cli_for_tests import as_nobody

from mlprov import diagnosis, keys, stores


def found(findings, what):
    return [finding for finding in findings if finding.what == what]


def test_a_fresh_user_in_an_empty_directory_has_nothing_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    findings = diagnosis.diagnose()
    assert {finding.state for finding in findings} <= {"ok", "note"}
    assert "none at" in found(findings, "owner key")[0].detail
    assert "none at" in found(findings, "store")[0].detail
    assert list(tmp_path.iterdir()) == []
    assert not keys.home().exists()


def test_a_store_that_cannot_be_made_is_said_with_what_to_do(nobody):
    nobody.chmod(0o555)
    done = as_nobody(nobody, "doctor", "--json")
    assert done.returncode == 2, done.stderr
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    for what, variable in (("store", "MLPROV_STORE"), ("owner key", "MLPROV_HOME")):
        assert findings[what]["state"] == "wrong"
        assert f"none can be made in {nobody}" in findings[what]["detail"]
        assert variable in findings[what]["remedy"]
    done = as_nobody(nobody, "doctor", "--store", nobody / "no" / "store")
    assert f"none can be made in {nobody / 'no'}: there is no such directory" in done.stdout


def test_a_recorded_store_is_described(as_owner):
    findings = diagnosis.diagnose(as_owner.store)
    assert {finding.state for finding in findings} <= {"ok", "note"}
    assert "runs: " in found(findings, "store")[0].detail
    assert found(findings, "database")[0].state == "ok"
    assert as_owner.vkey in found(findings, "owner key")[0].detail


def test_the_kernel_and_its_speed_are_named():
    detail = found(diagnosis.diagnose(), "hashing")[0].detail
    assert "kernel" in detail
    assert "GB/s on one thread" in detail


def test_a_broken_database_is_wrong_and_the_rest_is_looked_at(recorded, tmp_path):
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "store" / "store.db").write_bytes(b"not a database" * 1000)
    findings = diagnosis.diagnose(tmp_path / "store")
    (store,) = found(findings, "store")
    assert store.state == "wrong"
    assert found(findings, "clock")


def test_a_key_that_others_can_read_is_wrong(tmp_path):
    keys.owner_key()
    keys.owner_key_path().chmod(0o644)
    (finding,) = found(diagnosis.diagnose(tmp_path), "owner key")
    assert finding.state == "wrong"
    assert str(keys.owner_key_path()) in finding.detail


def test_a_torch_that_cannot_be_imported_is_said(monkeypatch):
    def find_spec(name, *_):
        return object()

    class Broken(types.ModuleType):
        def find_spec(self, name, path=None, target=None):
            if name == "torch":
                raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken("broken"), *sys.meta_path])
    (finding,) = found(diagnosis.diagnose(), "torch")
    assert finding.state == "wrong"
    assert "libtorch_cpu.so" in finding.detail


def test_the_absence_of_torch_is_a_note(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    (finding,) = found(diagnosis.diagnose(), "torch")
    assert finding.state == "note"


def test_a_bridge_for_another_torch_is_a_note_with_a_remedy(monkeypatch):
    pytest.importorskip("torch")
    core = types.SimpleNamespace(
        describe_torch_bridge=lambda: "not in use: built for torch 1.0", torch_bridge=lambda: None
    )
    monkeypatch.setattr(diagnosis, "_core", core)
    (finding,) = list(diagnosis._torch())
    assert finding.state == "note"
    assert "built for torch 1.0" in finding.detail
    assert "pip install" in finding.remedy


def test_a_full_disk_and_an_old_clock_are_notes(as_owner, monkeypatch):
    usage = types.SimpleNamespace(free=1 << 20)
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(
        diagnosis.time, "gmtime", lambda *_: __import__("time").struct_time((1970,) + (1,) * 8)
    )
    findings = diagnosis.diagnose(as_owner.store)
    assert found(findings, "disk")[0].state == "note"
    assert "1 MiB" in found(findings, "disk")[0].detail
    assert found(findings, "clock")[0].state == "note"


def test_a_store_of_another_user_is_wrong(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    with stores.open_store(tmp_path / "store", create=True):
        pass
    os.chown(tmp_path / "store", 65534, 65534)
    (finding,) = found(diagnosis.diagnose(tmp_path / "store"), "store")
    assert finding.state == "wrong"
