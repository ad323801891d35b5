"""``mlprov hash`` of many files: order, threads, what lies among them, lists, progress."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_for_tests import is_error, shell

import mlprov
from mlprov import _core
from mlprov.cli import hash_verb, output
from mlprov.cli.listed_files import ListedFiles


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_tree_is_hashed_as_b3sum_hashes_it_file_by_file(tmp_path, threads):
    if shutil.which("b3sum") is None:
        pytest.skip("b3sum is not installed")
    for index in range(3000):
        path = tmp_path / "tree" / str(index % 7) / f"{index}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(index).encode() * (index % 900))
    (tmp_path / "tree" / "large").write_bytes(bytes(17_000_000))
    ours = shell("hash", "--threads", str(threads), "tree", cwd=tmp_path)
    assert ours.returncode == 0, ours.stderr
    paths = [line.partition(b"  ")[2] for line in ours.stdout.splitlines()]
    assert len(paths) == 3001
    assert paths == sorted(paths)
    theirs = subprocess.run(["b3sum", *paths], cwd=tmp_path, capture_output=True, check=True)
    assert ours.stdout == theirs.stdout


@pytest.mark.parametrize("threads", ["0", "-1", "1025", "99999999999999999999", "two", ""])
def test_a_number_of_threads_that_is_none_is_wrong_use(mlp, odd, threads):
    assert is_error(mlp("hash", "--threads", threads, "plain"), "threads")


def test_special_files_in_a_folder_are_said_and_the_rest_is_hashed(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d/a", "d/sub/b", "d/z"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    os.mkfifo("d/m fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("d/n socket")
    Path("d/sub/back").symlink_to("..")
    result = mlp("hash", "d", "d/a")
    assert result.code == 2
    names = [line.partition("  ")[2] for line in result.out.splitlines()]
    assert names == ["d/a", "d/sub/b", "d/z", "d/a"]
    assert "m fifo: it is a named pipe" in result.err
    assert "n socket" in result.err
    assert result.err.count("mlprov: cannot") == 2


def test_a_file_that_vanishes_after_it_was_listed_is_said(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        Path(name).write_bytes(b"x")
    real = _core.hash_files

    def without_b(paths, *arguments, **options):
        Path("b").unlink()
        return real(paths, *arguments, **options)

    monkeypatch.setattr(_core, "hash_files", without_b)
    result = mlp("hash", ".")
    assert result.code == 2
    assert [line[-3:] for line in result.out.splitlines()] == ["./a", "./c"]
    assert result.err.startswith("mlprov: cannot hash ./b: No such file or directory")


def test_a_pipe_without_a_name_is_read_as_the_shell_gives_it(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    reading, writing = os.pipe()
    os.write(writing, b"abc")  # as <(printf abc) does
    os.close(writing)
    command = [sys.executable, "-m", "mlprov", "hash", "a", f"/dev/fd/{reading}", "a"]
    done = subprocess.run(command, cwd=tmp_path, pass_fds=[reading], capture_output=True)
    os.close(reading)
    assert done.returncode == 0, done.stderr
    digests = [line.split()[0].decode() for line in done.stdout.splitlines()]
    assert digests == [mlprov.digest(data).hex() for data in (b"a", b"abc", b"a")]


def test_a_list_is_checked_in_its_order_with_what_cannot_be_hashed_in_it(mlp, odd, tmp_path):
    listed = shell("hash", "plain", "*star", "with space").stdout.decode().splitlines()
    os.mkfifo("pipe")
    digest = listed[0].split()[0]
    listed[1:1] = [f"{digest}  {name}" for name in ("gone", "pipe", ".")]
    path = tmp_path / "list"
    path.write_text("\n".join(listed))
    found = mlp("hash", "--check", path, "--json")
    assert found.code == 2
    assert [(entry["path"], entry["result"]) for entry in found.json["results"]] == [
        ("plain", "OK"),
        ("gone", "unreadable"),
        ("pipe", "unreadable"),
        (".", "unreadable"),
        ("*star", "OK"),
        ("with space", "OK"),
    ]


def test_a_directory_with_slashes_behind_it_is_named_without(mlp, odd):
    plain = mlp("hash", "../odd").out
    assert mlp("hash", "../odd//").out == plain
    assert "../odd/plain" in plain


def test_how_far_it_is_stands_on_the_terminal_after_a_second():
    controller, terminal = os.openpty()
    script = (
        "import signal, sys; from mlprov.cli.__main__ import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # background jobs ignore it
        "sys.exit(main(['hash', '/dev/zero']))"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stderr=terminal, stdout=subprocess.PIPE) as running:
        os.close(terminal)
        shown = b""
        while not re.search(rb"mlprov hash: [1-9]\d* s \d+\.\d GB", shown):
            shown += os.read(controller, 1000)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert running.stdout.read() == b""
    os.close(controller)


def test_the_bar_fills_as_files_are_done(mlp, odd, monkeypatch):
    monkeypatch.setattr(output, "_how_far", "")
    progress = hash_verb._Progress(_listed("."))
    progress(6, 1_500_000_000)
    assert output._how_far == " [##########----------] 6 of 11 files, 1.5 GB"
    progress.add(6, 1_500_000_000)
    progress(5, 0)
    assert output._how_far == " [####################] 11 of 11 files, 1.5 GB"
    hash_verb._Progress(_listed("-"))(0, 2_500_000_000)
    assert output._how_far == " 2.5 GB"


def _listed(path):
    listed = ListedFiles()
    listed.add(os.fsencode(path))
    return listed
