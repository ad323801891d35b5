"""Anchor a training on an Ethereum chain of your own, stop the chain, and verify what is left.

    make demo-chain                 (or: python examples/anchor_digits.py [directory])

Five commands lead to a bundle with an anchor in it: a node, a contract, a training, its delivery,
an export. Then the node is stopped, and an auditor verifies with a block's hash in his hand and no
network. The training is that of digits.py, on the same real data; no line of it knows of anchors.
docs/anchoring.md explains what the anchor proves, and what it does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
NODE_MODULES = HERE.parent / "tests" / "nodes" / "node_modules"
VERIFIER = HERE.parent / "verifier" / "mlprov_verify.py"

# The first account that every Ethereum test node funds. The node itself signs for it, as a signer
# of your own would (web3signer, clef): no key is in this demonstration.
ACCOUNT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
CHAIN_ID = 31337


# ---- 1. A node -------------------------------------------------------------------------------


def find_anvil() -> str:
    """Foundry's test node: on the PATH, or as `make demo-chain` installs it."""
    if found := shutil.which("anvil"):
        return found
    for program in NODE_MODULES.glob("@foundry-rs/anvil-*/bin/anvil"):
        program.chmod(program.stat().st_mode | 0o100)
        return str(program)
    sys.exit("anchor_digits.py: there is no anvil here; 'make demo-chain' installs it (npm)")


@contextlib.contextmanager
def running_node() -> Iterator[str]:
    """A chain on this machine: a block each second, final two blocks later. Gives its URL."""
    options = ["--port", "0", "--block-time", "1", "--slots-in-an-epoch", "1"]
    print(f"$ anvil {shlex.join(options)} &")
    environment = {**os.environ, "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1", "NO_COLOR": "1"}
    environment.pop("LD_PRELOAD", None)
    node = subprocess.Popen(
        [find_anvil(), *options], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert node.stdout is not None
    try:
        address = next((line for line in node.stdout if line.startswith("Listening on ")), None)
        if address is None:
            sys.exit("anchor_digits.py: anvil ended before it listened")
        node.stdout.close()  # what it goes on to print is nobody's
        print(address.strip())
        yield f"http://{address.removeprefix('Listening on ').strip()}"
    finally:
        node.terminate()
        node.wait()


def ask(url: str, method: str, *parameters: Any) -> Any:
    """One question to the node, with nothing of mlprov."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["result"]


# ---- 2. Commands -----------------------------------------------------------------------------


def mlprov_command(
    base: pathlib.Path,
    line: str,
    *,
    expect: int = 0,
    auditor: bool = False,
    about: tuple[str, ...] = (),
) -> str:
    """Type ``mlprov …``; print it and what it prints.

    Args:
        base: directory to type it in.
        line: the command's words.
        expect: the exit code; another one ends the demonstration.
        auditor: as somebody else, with a home of his own and without network.
        about: print only lines with one of these parts and the last line, "…" for the others.
    """
    environment = {name: value for name, value in os.environ.items() if "MLPROV" not in name}
    with tempfile.TemporaryDirectory() as elsewhere:
        if auditor:
            environment |= {"HOME": elsewhere, "MLPROV_HOME": elsewhere, "MLPROV_OFFLINE": "1"}
        else:
            environment |= own_variables(base)
        done = subprocess.run(
            [sys.executable, "-m", "mlprov", *shlex.split(line)],
            cwd=base,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    printed = shortened(done.stdout, about) if about else done.stdout
    print(f"$ mlprov {line}\n{printed}", end="")
    if done.returncode != expect:
        sys.exit(f"anchor_digits.py: it ended with {done.returncode}, not {expect}")
    return done.stdout


def shortened(text: str, parts: tuple[str, ...]) -> str:
    """The lines with one of the parts, and the last."""
    *lines, last = text.splitlines()
    kept: list[str] = []
    for line in lines:
        if any(part in line for part in parts):
            kept.append(line)
        elif kept[-1:] != ["…"]:
            kept.append("…")
    return "".join(f"{line}\n" for line in [*kept, last])


def own_variables(base: pathlib.Path) -> dict[str, str]:
    """Whose keys and store: those of this demonstration. And that its runs have an anchor."""
    return {
        "MLPROV_HOME": str(base / "home"),
        "MLPROV_STORE": str(base / "store"),
        "MLPROV_ANCHORS": "ethereum",
    }


# ---- 3. From the contract to the bundle ------------------------------------------------------


def configure(base: pathlib.Path, settings: str) -> None:
    """Write the user's own config.toml, which says where anchors go; no project file may."""
    home = base / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "config.toml").write_text(settings)


def deploy(base: pathlib.Path, url: str) -> None:
    """A contract on the chain; what the command says to put into config.toml is put there."""
    places = f'url = "{url}"\nsigner_url = "{url}"\n'
    start = f'[anchor.ethereum]\n{places}chain_id = {CHAIN_ID}\naccount = "{ACCOUNT}"\n'
    configure(base, start)
    said = mlprov_command(base, "anchor ethereum deploy")
    configure(base, said[said.index("[anchor.ethereum]") :] + places)


def train(base: pathlib.Path) -> None:
    """The training of digits.py. Its run asks for an anchor because MLPROV_ANCHORS says so."""
    program = f"import digits, pathlib; digits.train(pathlib.Path({str(base)!r}))"
    print("$ MLPROV_ANCHORS=ethereum python train.py")
    environment = {**os.environ, **own_variables(base), "PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", program], cwd=base, env=environment, check=True)


# ---- 4. What an auditor does, with the node gone ---------------------------------------------


def audit(base: pathlib.Path, trusted: str) -> None:
    """Verify without network: first without a block to trust, then with one."""
    key = "--key owner.vkey"
    about = ("anchor:", "block:", " time   ")
    mlprov_command(base, f"verify anchored.mlprov {key}", auditor=True, about=about)
    command = f"verify anchored.mlprov {key} --trusted-block {trusted}"
    mlprov_command(base, command, auditor=True, about=("block:", " time   "))
    second = [sys.executable, str(VERIFIER), *shlex.split(command.removeprefix("verify "))]
    done = subprocess.run(second, cwd=base, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"anchor_digits.py: the second verifier disagrees:\n{done.stdout}{done.stderr}")
    print(f"and the second verifier: {done.stdout.splitlines()[-1]}")


def forge(base: pathlib.Path, trusted: str) -> None:
    """A digit of the anchor's evidence changed; a block trusted that is another one."""
    content = (base / "anchored.mlprov").read_bytes()
    at = content.index(b'"receipt') + 40
    tampered = content[:at] + (b"1" if content[at : at + 1] == b"0" else b"0") + content[at + 1 :]
    (base / "tampered.mlprov").write_bytes(tampered)
    command = "verify tampered.mlprov --key owner.vkey"
    mlprov_command(base, command, auditor=True, expect=1, about=("fails",))
    other = trusted[:-4] + ("0000" if trusted[-4:] != "0000" else "1111")
    command = f"verify anchored.mlprov --key owner.vkey --trusted-block {other}"
    mlprov_command(base, command, auditor=True, expect=2, about=("block:", " time   "))


# ---- All of it -------------------------------------------------------------------------------


def prepare_directory() -> pathlib.Path:
    """The directory to work in: the one named, which must be new or empty, or out/demo-chain."""
    if len(sys.argv) > 1:
        base = pathlib.Path(sys.argv[1]).absolute()
        if base.exists() and any(base.iterdir()):
            sys.exit(f"anchor_digits.py: {base} is not empty; name a new directory")
    else:
        base = pathlib.Path("out/demo-chain").absolute()
        shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True, exist_ok=True)
    return base


def main() -> None:
    """Everything above, in order."""
    started = time.perf_counter()
    base = prepare_directory()
    with running_node() as url:
        deploy(base, url)
        train(base)
        mlprov_command(base, "sync")
        mlprov_command(base, "export digits-mlp anchored.mlprov")
        vkey = mlprov_command(base, "keys --quiet")
        (base / "owner.vkey").write_text(vkey)
        # An auditor takes the block's hash from where he trusts it: here from the node, later from
        # an explorer, a newspaper, a colleague's node.
        rows = json.loads(run_quietly(base, "status", "--json"))["anchors"]
        number = max(row["found"]["number"] for row in rows)
        block = ask(url, "eth_getBlockByNumber", hex(number), False)["hash"]
    print("== the node is stopped; from here on there is no chain and no network")
    trusted = f"{CHAIN_ID}:{block}"
    audit(base, trusted)
    print("== and what was tampered with is refused")
    forge(base, trusted)
    print(f"demo passed in {time.perf_counter() - started:.1f} s")


def run_quietly(base: pathlib.Path, *arguments: str) -> str:
    """What a command of the owner's prints, for the script to read."""
    environment = {**os.environ, **own_variables(base)}
    command = [sys.executable, "-m", "mlprov", *arguments]
    return subprocess.run(
        command, cwd=base, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    main()
