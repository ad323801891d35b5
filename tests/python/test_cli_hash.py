"""``mlprov hash``: what b3sum and sha256sum print, lists, tensors, and what cannot be read."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_for_tests import ODD_NAMES, as_nobody, is_error, shell
from runs_for_tests import needs_no_root

import mlprov

# ---- hash ----


@pytest.mark.parametrize(
    ("program", "algorithm"),
    [
        ("b3sum", "blake3"),
        ("sha256sum", "sha256"),
        ("sha384sum", "sha384"),
        ("sha512sum", "sha512"),
    ],
)
def test_hash_prints_what_the_known_programs_print(odd, program, algorithm):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    names = [os.fsdecode(b"./" + name) for name in ODD_NAMES]
    # b3sum replaces what is not UTF-8, and cannot be checked then: names of other bytes are ours.
    if program == "b3sum":
        names = [name for name in names if "\udcff" not in name and "\r" not in name]
    ours = shell("hash", "--algorithm", algorithm, "--", *names)
    theirs = subprocess.run([program, *names], capture_output=True)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == theirs.stdout


@pytest.mark.parametrize("place", ["/sys/devices/system/cpu", "/sys/kernel", "/proc/sys/vm"])
def test_files_that_are_made_as_they_are_read_are_read_to_their_end(mlp, place):
    """They say 0 or 4096 bytes, whatever they have."""
    names = [str(path) for path in sorted(Path(place).glob("*")) if path.is_file()]
    before, after = [], []
    for found in (before, after):
        done = subprocess.run(["sha256sum", "--", place, *names], capture_output=True, text=True)
        found += done.stdout.splitlines()
        if not found:
            pytest.skip(f"nothing can be read in {place}")
        if found is before:
            result = mlp("hash", "--algorithm", "sha256", *names)
    steady = set(before) & set(after)  # some count
    assert steady
    assert steady <= set(result.out.splitlines()), result.err


def test_a_list_that_hash_printed_is_checked_by_it_and_by_sha256sum(mlp, odd, tmp_path):
    listed = shell("hash", "--algorithm", "sha256", ".")
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) >= len(ODD_NAMES)
    path = tmp_path / "list"
    path.write_bytes(listed.stdout)
    result = mlp("hash", "--algorithm", "sha256", "--check", path)
    assert result.code == 0, result.err
    assert result.out.count(": OK") == len(ODD_NAMES)
    assert "\x1b" not in result.out
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--quiet", "--check", path]).returncode == 0
    done = mlp("hash", "--algorithm", "sha256", "--check", "-", stdin=listed.stdout)
    assert done.code == 0


def test_check_says_what_failed_and_what_it_could_not_read(mlp, odd, tmp_path):
    path = tmp_path / "list"
    path.write_bytes(shell("hash", "plain", "with space", "*star").stdout)
    Path("plain").write_bytes(b"changed")
    result = mlp("hash", "--check", path)
    assert result.code == 1
    assert "plain: FAILED" in result.out
    assert "with space: OK" in result.out
    assert "1 of 3 digests does not match" in result.err
    quiet = mlp("hash", "--check", path, "-q")
    assert "OK" not in quiet.out
    assert "plain: FAILED" in quiet.out
    found = mlp("hash", "--check", path, "--json").json
    assert set(found) == {"algorithm", "failed", "results", "unreadable"}
    assert found["results"][0] == {"line": 1, "path": "plain", "result": "FAILED"}
    Path("plain").unlink()
    result = mlp("hash", "--check", path)
    assert result.code == 2
    assert "plain: unreadable" in result.out
    path.write_text("no digest here\n")
    assert is_error(mlp("hash", "--check", path), "line 1")
    path.write_text("")
    assert is_error(mlp("hash", "--check", path), "no lines")
    assert is_error(mlp("hash", "--check", "nowhere"), "nowhere: No such file")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CR LF"])
def test_a_list_that_an_editor_wrote_is_checked_as_sha256sum_checks_it(
    mlp, odd, tmp_path, mark, end
):
    digests = mlp("hash", "--algorithm", "sha256", "plain", "with space").out.encode()
    path = tmp_path / "list"
    path.write_bytes(mark + digests.replace(b"\n", end))
    result = mlp("hash", "--check", path, "--algorithm", "sha256")
    assert (result.code, result.out) == (0, "plain: OK\nwith space: OK\n"), result.err
    if not mark:
        peer = subprocess.run(["sha256sum", "--check", path], capture_output=True, text=True)
        assert peer.stdout == result.out


def test_a_name_that_ends_in_a_carriage_return_keeps_it(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a\r").write_bytes(b"a")
    Path("b").write_bytes(b"b")
    digests = mlp("hash", "a\r", "b").out
    for text in (digests, digests.replace("\\r", "\r")):
        Path("list").write_bytes(text.encode())
        assert mlp("hash", "--check", "list").code == 0


def test_standard_input_is_hashed(mlp):
    digest = str(mlprov.digest(b"abc")).partition(":")[2]
    assert mlp("hash", "-", stdin=b"abc").out == f"{digest}  -\n"


def test_one_bad_file_leaves_the_rest_hashed_with_exit_code_2(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("a fifo")
    Path("b").write_bytes(b"b")
    Path("dangling").symlink_to("nowhere")
    Path("z").write_bytes(b"z")
    result = mlp("hash", "a fifo", "b", "missing", "dangling", "z")
    assert result.code == 2
    assert [line.partition("  ")[2] for line in result.out.splitlines()] == ["b", "z"]
    for name in ("a fifo", "missing", "dangling"):
        assert name in result.err
    found = mlp("hash", "a fifo", "b", "--json").json
    assert set(found) == {"algorithm", "errors", "files"}
    assert len(found["errors"]) == 1
    assert [file["path"] for file in found["files"]] == ["b"]


def test_errors_in_json_are_the_two_lines_of_the_plain_output(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("text").write_bytes(b"abc")
    for arguments in (
        ["missing"],
        ["fifo"],
        ["text/x"],
        ["--tensors", "text"],
        ["--tensors", "no"],
    ):
        (error,) = mlp("hash", *arguments, "--json").json["errors"]
        lines = [f"mlprov: {error[key]}" for key in ("what", "remedy") if error[key]]
        assert mlp("hash", *arguments).err.splitlines() == lines
        assert error["what"].startswith("cannot ")
        assert "[Errno" not in error["what"]


def test_an_unreadable_file_or_folder_leaves_the_rest_hashed(mlp, tmp_path, monkeypatch):
    needs_no_root()
    monkeypatch.chdir(tmp_path)
    Path("closed").mkdir()
    Path("closed", "x").write_bytes(b"x")
    Path("secret").write_bytes(b"x")
    Path("open").write_bytes(b"x")
    Path("closed").chmod(0)
    Path("secret").chmod(0)
    result = mlp("hash", ".")
    Path("closed").chmod(0o700)
    assert result.code == 2
    assert "./open" in result.out
    assert "closed" in result.err
    assert "secret" in result.err


def test_the_same_for_a_user_who_is_not_root(nobody):
    folder = nobody
    (folder / "closed").mkdir(mode=0o700)
    (folder / "secret").write_bytes(b"x")
    (folder / "secret").chmod(0)
    (folder / "open").write_bytes(b"x")
    done = as_nobody(folder, "hash", ".")
    assert done.returncode == 2, done.stderr
    assert "cannot hash ./closed: Permission denied" in done.stderr
    assert "cannot hash ./secret: Permission denied" in done.stderr
    assert "./open" in done.stdout
    done = as_nobody(folder, "hash", "--tensors", "secret")
    assert "cannot hash secret: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_is_hashed_in_the_order_of_its_paths_without_links(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d/b", "d/a/z", "d/a.txt", "d/.hidden", "d/ü"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    Path("d/link").symlink_to("b")
    Path("d/loop").symlink_to(".")
    result = mlp("hash", "d")
    names = [line.partition("  ")[2] for line in result.out.splitlines()]
    assert names == ["d/.hidden", "d/a.txt", "d/a/z", "d/b", "d/ü"]
    assert result.code == 0


def test_tensors_equal_b3sum_over_their_byte_ranges(mlp, here, recorded):
    result = mlp("hash", "--tensors", here.model)
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    data = here.model.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert [line[1] for line in lines[:-1]] == sorted(header)
    for digest, name, *_ in lines[:-1]:
        begin, end = (8 + length + offset for offset in header[name]["data_offsets"])
        if shutil.which("b3sum"):
            command = ["b3sum", "--no-names"]
            done = subprocess.run(command, input=data[begin:end], capture_output=True)
            assert done.stdout.decode().strip() == digest
        assert str(mlprov.digest(data[begin:end])) == f"blake3:{digest}"
    assert lines[-1][0] == str(mlprov.digest_model(here.model).root)
    found = mlp("hash", "--tensors", here.model, "--json").json
    assert set(found) == {"algorithm", "errors", "models"}
    assert set(found["models"][0]) == {"path", "root", "size", "tensors"}
    assert set(found["models"][0]["tensors"][0]) == {"digest", "dtype", "len", "name", "shape"}
    both = mlp("hash", "--tensors", here.pickle, here.model)
    assert both.code == 2
    assert "model root" in both.out


def test_names_that_are_no_unicode_are_bytes_in_json(mlp, odd):
    found = mlp("hash", "--json", ".").json
    paths = [file["path"] for file in found["files"]]
    assert {"bytes": "Li//3yBub3QgdXRmLTg="} not in paths  # that would be other bytes
    (odd_one,) = [path for path in paths if isinstance(path, dict)]
    assert base64.b64decode(odd_one["bytes"]) == b"./\xff\xfe not utf-8"
