"""What bounds a run in time: blocks that the verifier trusts, and nothing that evidence brings."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anchors_for_tests import AnchoredRun, anchored_on, anchored_run, ask
from bundles_for_tests import v
from cli_for_tests import is_error, run_command
from nodes_for_tests import Account, account, anvil, require_secp256k1
from runs_for_tests import user
from servers_for_tests import always, serving
from servers_for_tests import answer as http_answer

import mlprov
from mlprov import anchoring
from mlprov.errors import ConfigError


@pytest.fixture(scope="module")
def alive(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Account, AnchoredRun]]:
    """A node that goes on running, and a run that is anchored there."""
    with anchored_on(tmp_path_factory.mktemp("alive")) as found:
        yield found


@pytest.fixture(scope="module")
def made(alive: tuple[Account, AnchoredRun]) -> AnchoredRun:
    """The run alone."""
    return alive[1]


def verify(made: AnchoredRun, *arguments: Any) -> Any:
    return run_command("verify", made.bundle, "--key", made.vkey, *arguments)


def block(made: AnchoredRun, place: int = -1, **changes: str) -> dict[str, str]:
    """A trusted block, as --headers has it."""
    shown = made.shown(place)
    return {"chain_id": shown["chain_id"], "hash": shown["block"]} | changes


def header(made: AnchoredRun, place: int = -1) -> str:
    return "0x" + base64.b64decode(made.shown(place)["header"]).hex()


# ---- blocks that the verifier trusts ----


def test_a_trusted_block_bounds_what_its_checkpoint_covers(made: AnchoredRun) -> None:
    verdict = ask(made.data, made, [block(made)])
    assert verdict.ok
    assert verdict["time"].state == verdict["block:ethereum-4"].state == "holds"
    assert verdict["block:ethereum-2"].state == "unchecked"
    bound = verdict.facts["no_later_than"]
    assert f"all 5 records no later than {bound} (block 3 of chain 31337)" in verdict["time"].detail


def test_a_block_that_covers_a_part_bounds_that_part_and_no_more(made: AnchoredRun) -> None:
    verdict = ask(made.data, made, [block(made, 0)])
    assert (verdict.result, verdict["time"].state) == ("could not check", "unchecked")
    assert "the first 3 records no later than" in verdict["time"].detail
    assert "nothing bounds the last 2 records" in verdict["time"].detail
    assert verdict.facts["no_later_than"] is None


def test_several_trusted_blocks_bound_early_records_earlier(tmp_path: Path) -> None:
    require_secp256k1()
    with anvil("--block-time", "1") as node:
        made = anchored_run(tmp_path, account(node))
    verdict = ask(made.data, made, [block(made, 0), block(made)])
    assert verdict.ok
    assert verdict["time"].detail.startswith("all 5 records no later than")
    assert "; the first 3 records no later than" in verdict["time"].detail


def test_the_command_line_takes_blocks_and_answers_with_exit_codes(
    made: AnchoredRun, tmp_path: Path
) -> None:
    assert verify(made).code == 0
    done = verify(made, "--trusted-block", made.trusted())
    assert done.code == 0
    assert "all 5 records no later than" in done.out
    done = verify(made, "--trusted-block", "31337:" + "ab" * 32)
    assert done.code == 2  # time was asked for, and nothing bounds it
    assert "none of the blocks that you trust" in done.out
    listed = tmp_path / "headers.json"
    listed.write_text(json.dumps([{"chain_id": "31337", "header": header(made)}]))
    done = verify(made, "--headers", listed, "--json")
    assert done.code == 0
    assert done.json["facts"]["no_later_than"] is not None
    arguments = [os.fspath(made.bundle), "--key", made.vkey, "-q"]
    assert v.main([*arguments, "--trusted-block", made.trusted()]) == 0
    assert v.main([*arguments, "--headers", os.fspath(listed)]) == 0
    assert v.main([*arguments, "--trusted-block", "1:" + "ab" * 32]) == 2


def test_a_block_that_is_trusted_as_another_chains_does_not_hold(made: AnchoredRun) -> None:
    verdict = ask(made.data, made, [block(made, chain_id="1")])
    assert verdict["block:ethereum-4"].state == "fails"
    assert "as one of chain 1; the evidence names chain 31337" in verdict["block:ethereum-4"].detail
    assert verdict.exit_code == 1


def test_another_header_at_the_same_height_does_not_hold(made: AnchoredRun, tmp_path: Path) -> None:
    with anchored_on(tmp_path, "--timestamp", "1500000000") as (_, other):
        pass
    assert other.shown(-1)["block"] != made.shown(-1)["block"]
    listed = [{"chain_id": "31337", "header": header(other)}, block(made)]
    verdict = ask(made.data, made, listed)
    assert verdict["block:ethereum-4"].state == "fails"
    assert verdict["block:ethereum-4"].expected == other.shown(-1)["block"]
    # A header of another chain at that height says nothing.
    listed = [{"chain_id": "1", "header": header(other)}, block(made)]
    assert ask(made.data, made, listed).ok


def test_a_proof_file_has_no_anchor(made: AnchoredRun, tmp_path: Path) -> None:
    with user(made.home, made.store):
        path = tmp_path / "it.proof"
        done = run_command("prove", made.run, "--record", "0", "-o", path, "--store", made.store)
        assert done.code == 0, done.err
    done = run_command("verify", path, "--key", made.vkey)
    assert done.code == 0
    done = run_command("verify", path, "--key", made.vkey, "--trusted-block", made.trusted())
    assert done.code == 2
    request = v.Request(keys=[v.parse_vkey(made.vkey)], blocks=[v._listed_block(block(made))])
    assert v.verify_bytes(path.read_bytes(), request).result == "could not check"


@pytest.mark.parametrize(
    "text", ["", "1", "1:0x12", ":0x" + "ab" * 32, "x:" + "ab" * 32, f"{2**64}:" + "ab" * 32]
)
def test_a_trusted_block_that_is_none_is_wrong_use(made: AnchoredRun, text: str) -> None:
    is_error(verify(made, "--trusted-block", text), "cannot trust the block", "CHAIN:HASH")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        '[{"chain_id":"1"}]',
        '[{"chain_id":"1","hash":"0x12"}]',
        '[{"chain_id":"1","hash":"12"}]',
        '[{"chain_id":"1","header":"0x"}]',
        '[{"chain_id":"1","header":"0xc0"}]',
        '[{"chain_id":"-1","hash":"0x' + "ab" * 32 + '"}]',
        '[{"chain_id":true,"hash":"0x' + "ab" * 32 + '"}]',
        '[{"chain_id":"1","hash":"0x' + "ab" * 32 + '","more":1}]',
        '[{"chain_id":"1","other":"0x' + "ab" * 32 + '"}]',
    ],
)
def test_headers_that_are_none_are_wrong_use(
    made: AnchoredRun, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "headers.json"
    path.write_text(content)
    is_error(verify(made, "--headers", path), "headers.json")
    assert v.main([os.fspath(made.bundle), "--headers", os.fspath(path), "-q"]) == 2


def test_headers_that_cannot_be_read_are_wrong_use(made: AnchoredRun, tmp_path: Path) -> None:
    is_error(verify(made, "--headers", tmp_path / "none.json"), "cannot read the headers")


@pytest.mark.parametrize(
    "arguments",
    [{"trusted_blocks": "1:ab"}, {"trusted_blocks": [1]}, {"online": 5}, {"online": b"http://x"}],
    ids=str,
)
def test_arguments_of_the_wrong_type_are_refused(
    made: AnchoredRun, arguments: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        mlprov.verify(made.bundle, **arguments)


# ---- chains that somebody made up ----


def test_a_local_chain_with_mainnets_id_and_an_old_clock_never_bounds_the_time(
    tmp_path: Path,
) -> None:
    with anchored_on(tmp_path, "--chain-id", "1", "--timestamp", "1500000000") as (owner, run):
        shown = run.shown(-1)
        assert shown["chain_id"] == "1"
        verdict = ask(run.data, run)
        # The evidence is sound, relative to that block.
        assert verdict["anchor:ethereum-4"].state == "holds"
        assert "2017-07-14" in verdict["anchor:ethereum-4"].detail
        assert verdict["block:ethereum-4"].state == verdict["time"].state == "unchecked"
        assert verdict.facts["no_later_than"] is None
        assert "2017" not in verdict["time"].detail
        owner.node.raw_result("anvil_mine", "0x80")
    # Whoever asks a node of chain 1 of his own is told that the block is none of it.
    with anvil("--chain-id", "1") as mainnet:
        mainnet.raw_result("anvil_mine", "0x80")
        done = verify(run, "--online", mainnet.url)
    assert done.code == 1
    assert "has another final block there" in done.out
    assert "no later than" not in done.out
    # Nor do blocks that he trusts, none of which is this one.
    done = verify(run, "--trusted-block", f"1:0x{'ab' * 32}")
    assert done.code == 2
    assert "no later than" not in done.out


# ---- a node of the verifier's own ----


def test_a_node_that_calls_the_block_final_bounds_the_time(
    alive: tuple[Account, AnchoredRun],
) -> None:
    owner, made = alive
    done = verify(made, "--online", owner.node.url)
    if done.code != 0:  # final comes blocks later
        assert done.code == 2
        assert "does not call it final yet" in done.out
        owner.node.raw_result("anvil_mine", "0x80")
        done = verify(made, "--online", owner.node.url)
    assert done.code == 0, done.out
    assert "has block 3 of chain 31337, and calls it final" in done.out
    assert "all 5 records no later than" in done.out


def test_a_block_that_is_not_final_yet_is_no_bound(tmp_path: Path) -> None:
    with anchored_on(tmp_path, "--slots-in-an-epoch", "32") as (owner, made):
        done = verify(made, "--online", owner.node.url)
        assert done.code == 2
        assert "does not call it final yet" in done.out
        assert "no later than" not in done.out
        # Trusted by its hash it needs no node.
        done = verify(made, "--online", owner.node.url, "--trusted-block", made.trusted())
        assert done.code == 0


def test_a_block_that_the_chain_gave_up_does_not_hold(tmp_path: Path) -> None:
    require_secp256k1()
    with anvil() as node:
        before = node.raw_result("evm_snapshot")
        made = anchored_run(tmp_path, account(node))
        node.raw_result("evm_revert", before)
        done = verify(made, "--online", node.url)
        assert done.code == 2
        assert "does not have the height" in done.out
        node.raw_result("anvil_mine", "0x8")  # another block there, which may yet be given up too
        done = verify(made, "--online", node.url)
        assert done.code == 2
        assert "calls neither final yet" in done.out
        node.raw_result("anvil_mine", "0x80")
        done = verify(made, "--online", node.url)
        assert done.code == 1
        assert "was given up, or never was in this chain" in done.out


def test_a_node_of_another_chain_says_nothing(made: AnchoredRun) -> None:
    with anvil("--chain-id", "5") as node:
        done = verify(made, "--online", node.url)
    assert done.code == 2
    assert "the node asked is of chain 5; the evidence names block 3 of chain 31337" in done.out


def test_a_node_that_cannot_be_asked_says_nothing(
    made: AnchoredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/secret-key"
        done = verify(made, "--online", url)
        assert done.code == 2
        assert "fails" not in done.out
        assert "could not be reached" in done.out
        assert "secret-key" not in done.out + done.err
        monkeypatch.setenv("MLPROV_OFFLINE", "1")
        done = verify(made, "--online", url)
        assert done.code == 2
        assert "MLPROV_OFFLINE" in done.out


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"{}",
        b'{"jsonrpc":"2.0","id":2,"result":"0x7a69"}',
        b'{"jsonrpc":"2.0","id":1,"result":5}',
        b'{"jsonrpc":"2.0","id":1,"result":"0x07a69"}',
        b'{"jsonrpc":"2.0","id":1,"result":"0x7A69"}',
        b'{"jsonrpc":"2.0","id":1,"result":null}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"\\u001b[31mno"}}',
        b'{"jsonrpc":"2.0","id":1,"result":"0x7a69"}',  # then the block is no object
    ],
)
def test_a_node_that_answers_nonsense_says_nothing(made: AnchoredRun, answer: bytes) -> None:
    with serving(always(http_answer(answer))) as server:
        done = verify(made, "--online", server.url())
    assert done.code == 2, done.out
    assert "fails" not in done.out
    assert "\x1b" not in done.out


@pytest.mark.parametrize("url", ["http://example.org:8545", "ftp://127.0.0.1", "", "no url"])
def test_a_url_that_may_not_be_asked_says_nothing(made: AnchoredRun, url: str) -> None:
    done = verify(made, "--online", url)
    assert done.code == 2
    assert "no later than" not in done.out


def test_the_configured_node_is_asked_where_the_url_is_a_secret(
    alive: tuple[Account, AnchoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, made = alive
    is_error(verify(made, "--online", "configured"), "MLPROV_ETHEREUM_URL")
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", owner.node.url)
    owner.node.raw_result("anvil_mine", "0x80")
    assert verify(made, "--online", "configured").code == 0
    given = anchoring.Endpoint("ethereum", owner.node.url)
    assert mlprov.verify(made.bundle, keys=[made.vkey], online=given).ok
    with pytest.raises(ConfigError):
        mlprov.verify(made.bundle, level="fast")


def test_verifying_an_anchor_loads_no_network_library_unless_a_node_is_named(
    alive: tuple[Account, AnchoredRun], run_python: Any
) -> None:
    owner, made = alive
    code = """
import sys, mlprov
bundle, key, block, url = sys.argv[1:]
assert mlprov.verify(bundle, keys=[key], trusted_blocks=[block]).ok
maps = open("/proc/self/maps").read()
assert "libcurl" not in maps and "libssl" not in maps, maps
assert "socket" not in sys.modules
mlprov.verify(bundle, keys=[key], online=url)
assert "libcurl" in open("/proc/self/maps").read()
print("looked")
"""
    said = run_python(code, os.fspath(made.bundle), made.vkey, made.trusted(), owner.node.url)
    assert said == "looked\n"
