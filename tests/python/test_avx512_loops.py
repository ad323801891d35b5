"""The loops of the AVX-512 kernels, interpreted, against BLAKE3 as its specification words it.

So they run wherever their assembly can be built, on processors without AVX-512 too. Where there is
one, tests/c/test_hash_kernels.c has them executed with all other kernels.
"""

from __future__ import annotations

import platform
import random
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from avx512_for_tests import (
    CORE,
    PROTECTED,
    FaultError,
    Instruction,
    Machine,
    Program,
    Region,
    UnknownInstructionError,
    built_program,
    decoded,
)
from slices_for_tests import CHUNK_END, CHUNK_START, PARENT, compress

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64",
        reason="the assembly is for ELF and x86-64",
    ),
    pytest.mark.skipif(not shutil.which("objdump"), reason="objdump is not installed (binutils)"),
]

KEYED_HASH = 16
CHUNK, CHUNKS, BLOCKS = 1024, 32, 16

# The offsets of the frames' members, from the contract; how long frames and sets are.
HEADER = (CORE / "hash" / "blake3_avx512_frames.h").read_text()
AT = {name: int(at) for name, at in re.findall(r"#define ((?:RUN|LANES)_\w+) +(\d+)\n", HEADER)}
RUN_SIZE, LANES_SIZE, SET_SIZE = AT["RUN_KEY"] + 32, AT["LANES_LATER_FLAGS"] + 64, 512

# Where things are: far apart, and what need not be aligned is not.
FRAME, LEFT, RIGHT, PARENTS = (place << 24 for place in range(1, 5))
DATA, NEXT, KEY, POINTERS, LANES = 5 << 24 | 1, 6 << 24 | 3, 7 << 24 | 4, 8 << 24 | 8, 9 << 24
AHEAD = 4 << 24 | 8
UPPER_HALF = 0xDEADBEEF << 32  # of a register that passes 32 bits


@dataclass(frozen=True)
class Trial:
    """A call: what there is in memory before it and, of that, what has to be there afterwards."""

    function: str
    arguments: tuple[int, ...]
    regions: tuple[Region, ...]
    expected: dict[str, tuple[int, bytes]]  # what: where, content

    def run(self, program: Program) -> Machine:
        regions = [replace(each, content=bytearray(each.content)) for each in self.regions]
        machine = Machine(program, self.function, regions)
        machine.call(*self.arguments)
        return machine

    def wrong(self, machine: Machine) -> list[str]:
        """What is not as expected."""
        return [
            what
            for what, (at, content) in self.expected.items()
            if machine.memory(at, len(content)) != content
        ]


def words(values: Sequence[int]) -> bytes:
    return np.array(values, "<u4").tobytes()


def counted(counters: Sequence[int]) -> tuple[bytes, bytes]:
    """The low and the high words."""
    return words([each % 2**32 for each in counters]), words([each >> 32 for each in counters])


def as_rows(lanes: Sequence[bytes]) -> bytes:
    """Word-major: row i holds word i of sixteen lanes; a set after another."""
    return np.frombuffer(b"".join(lanes), "<u4").reshape(-1, 16, 8).transpose(0, 2, 1).tobytes()


def as_pairs(data: bytes) -> bytes:
    """The first block of each chunk as run->pairs holds it."""
    blocks = np.frombuffer(data, "<u4").reshape(CHUNKS, CHUNK // 4)[:, :16]
    places = blocks.reshape(2, 4, 2, 2, 8, 2)  # half, quarter, row, lane of the two; pair, word
    return places.transpose(0, 4, 2, 1, 3, 5).tobytes()


def compressed(cv: bytes, data: bytes, length: int, counter: int, flags: Sequence[int]) -> bytes:
    """The value of blocks of 64 bytes that count as so long; the rest of each is zeros."""
    for at, of_block in enumerate(flags):
        cv = compress(cv, data[64 * at : 64 * at + length], counter, of_block)
    return cv


def frame(size: int, members: dict[str, bytes]) -> Region:
    content = bytearray(b"\xa5" * size)
    for name, value in members.items():
        content[AT[name] : AT[name] + len(value)] = value
    return Region(FRAME, content, writable=True)


def in_frame(members: dict[str, bytes]) -> dict[str, tuple[int, bytes]]:
    return {name: (FRAME + AT[name], value) for name, value in members.items()}


# ---- calls ----


@cache
def chunks_trial(how: str, *, last: bool = False) -> Trial:
    """A run of keyed chunks, in which the counter carries; the last run has itself as next."""
    anything = random.Random(how)
    data, after = anything.randbytes(CHUNKS * CHUNK), anything.randbytes(CHUNKS * CHUNK)
    key, counters = anything.randbytes(32), range(2**32 - 11, 2**32 + 21)
    flags = [KEYED_HASH | CHUNK_START, *[KEYED_HASH] * (BLOCKS - 2), KEYED_HASH | CHUNK_END]
    low, high = counted(counters)
    members = {"RUN_FLAGS": words(flags), "RUN_KEY": key}
    members |= {"RUN_COUNTER_LOW": low, "RUN_COUNTER_HIGH": high}
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    cvs = [compressed(key, chunks[i], 64, counters[i], flags) for i in range(CHUNKS)]
    before, afterwards = dict(members), members | {"RUN_CV": as_rows(cvs)}
    if how == "copied":
        before["RUN_PAIRS"] = as_pairs(data)
        afterwards["RUN_PAIRS"] = as_pairs(data if last else after)
    regions = [frame(RUN_SIZE, before), Region(DATA, bytearray(data))]
    if how == "copied" and not last:
        regions.append(Region(NEXT, bytearray(after)))
    return Trial(
        f"mlp_blake3_avx512_chunks_{how}",
        (FRAME, DATA, DATA if last else NEXT),
        tuple(regions),
        in_frame(afterwards),
    )


@cache
def parents_trial(place: int = PARENTS) -> Trial:
    """The parents' place may be that of a set of which they are the parents."""
    anything = random.Random("parents")
    key, flags = anything.randbytes(32), PARENT | KEYED_HASH
    cvs = [anything.randbytes(32) for _ in range(32)]
    parents = [compress(key, cvs[i] + cvs[i + 1], 0, flags) for i in range(0, 32, 2)]
    sets = {PARENTS: bytes(SET_SIZE), LEFT: as_rows(cvs[:16]), RIGHT: as_rows(cvs[16:])}
    return Trial(
        "mlp_blake3_avx512_parents",
        (place, LEFT, RIGHT, KEY, flags | UPPER_HALF),
        (
            Region(KEY, bytearray(key)),
            *(Region(at, bytearray(each), writable=at == place) for at, each in sets.items()),
        ),
        {"parents": (place, as_rows(parents))},
    )


@cache
def blocks_trial(count: int) -> Trial:
    """Lanes anywhere, each with blocks of its own length, its own counter and flags."""
    anything = random.Random(count)
    cvs = [anything.randbytes(32) for _ in range(16)]
    counters = [anything.randrange(2**64) for _ in range(16)]
    lengths = [anything.randrange(61, 65) for _ in range(16)]  # so that no word is zero
    first, later = ([anything.randrange(128) for _ in range(16)] for _ in range(2))
    lanes = [
        b"".join(anything.randbytes(length).ljust(64, b"\0") for _ in range(count))
        for length in lengths
    ]
    starts = [LANES + (lane << 20) + anything.randrange(4096) for lane in range(16)]
    anything.shuffle(starts)
    low, high = counted(counters)
    members = {"LANES_COUNTER_LOW": low, "LANES_COUNTER_HIGH": high}
    members |= {"LANES_BLOCK_LEN": words(lengths), "LANES_LATER_FLAGS": words(later)}
    before = {"LANES_CV": as_rows(cvs), "LANES_FLAGS": words(first)}
    results = [
        compressed(cvs[i], lanes[i], lengths[i], counters[i], [first[i], *[later[i]] * (count - 1)])
        for i in range(16)
    ]
    afterwards = {"LANES_CV": as_rows(results), "LANES_FLAGS": words(later)}
    return Trial(
        "mlp_blake3_avx512_blocks",
        (FRAME, POINTERS, count, AHEAD, anything.randrange(2**40)),
        (
            frame(LANES_SIZE, members | before),
            Region(POINTERS, bytearray(np.array(starts, "<u8").tobytes())),
            Region(AHEAD, bytearray(anything.randbytes(16 * 8))),
            *(Region(starts[i], bytearray(lanes[i])) for i in range(16)),
        ),
        in_frame(members | afterwards),
    )


TRIALS: dict[str, Callable[[], Trial]] = {
    "chunks_copied": lambda: chunks_trial("copied"),
    "chunks_shuffled": lambda: chunks_trial("shuffled"),
    "parents": parents_trial,
    "blocks": lambda: blocks_trial(2),
}
of_every_function = pytest.mark.parametrize("name", TRIALS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return built_program(tmp_path_factory.mktemp("assembly"))


# ---- the contract ----


def test_every_function_of_the_assembly_is_tried(program: Program) -> None:
    assert program.functions.keys() == {trial().function for trial in TRIALS.values()}


@pytest.mark.parametrize("how", ["copied", "shuffled"])
def test_keyed_chunks_whose_counters_carry_are_those_of_the_specification(
    program: Program, how: str
) -> None:
    trial = chunks_trial(how)
    assert trial.wrong(trial.run(program)) == []


@pytest.mark.parametrize("last", [False, True], ids=["another run next", "no other run next"])
def test_copies_leave_the_next_pairs_and_read_nothing_but_data_and_next(
    program: Program, last: bool
) -> None:
    trial = chunks_trial("copied", last=last)
    assert "RUN_PAIRS" in trial.expected
    assert trial.wrong(trial.run(program)) == []


@pytest.mark.parametrize("place", [PARENTS, LEFT, RIGHT], ids=["elsewhere", "left", "right"])
def test_parents_of_neighbours_are_made_elsewhere_or_in_place(program: Program, place: int) -> None:
    trial = parents_trial(place)
    assert trial.wrong(trial.run(program)) == []


@pytest.mark.parametrize("count", [1, 2, 3, 15])
def test_blocks_of_lanes_anywhere_are_those_of_the_specification(
    program: Program, count: int
) -> None:
    trial = blocks_trial(count)
    assert trial.wrong(trial.run(program)) == []


@of_every_function
def test_the_registers_that_the_convention_protects_come_back(program: Program, name: str) -> None:
    trial = TRIALS[name]()
    before = Machine(program, trial.function, ()).registers
    after = trial.run(program)
    assert [after.registers[each] for each in PROTECTED] == [before[each] for each in PROTECTED]
    assert not after.zmm[:16, 4:].any(), "upper halves would slow down the caller's SSE"


# ---- the tester ----


def mutants(code: Sequence[Instruction], chance: random.Random) -> list[Instruction]:
    """Of each kind of instruction one with a bit flipped, and one with two registers swapped."""
    kinds: dict[tuple[str, str], list[Instruction]] = {}
    for each in code:
        # What is prefetched changes no result, nor do the registers that serve it alone.
        if each.name in ("prefetcht1", "nop") or each.operands[-1:] in (("%rbx",), ("%rbp",)):
            continue
        first, last = each.operands[:1], each.operands[-1:]
        if number := re.search("0x[0-9a-f]+", "".join(first)):
            # Of an immediate the lowest bit, which always counts; of an address any that could err.
            bit = 1 if first[0][0] == "$" else 1 << chance.randrange(11)
            flipped = first[0].replace(number[0], hex(int(number[0], 16) ^ bit))
            changed = replace(each, operands=(flipped, *each.operands[1:]))
            kinds.setdefault((each.name, first[0][0]), []).append(changed)
        for at, source in enumerate(each.operands[:-1]):
            if source != last[0] and source[:2] == last[0][:2] and source[0] == "%":
                swapped = (*each.operands[:at], *last, *each.operands[at + 1 : -1], source)
                changed = replace(each, operands=swapped)
                kinds.setdefault((each.name, "swapped"), []).append(changed)
    return [chance.choice(choices) for choices in kinds.values()]


@of_every_function
def test_a_flipped_bit_and_two_swapped_registers_are_noticed(program: Program, name: str) -> None:
    trial = TRIALS[name]()
    code = program.functions[trial.function]

    def noticed(mutant: Instruction) -> bool:
        changed = tuple(mutant if each.address == mutant.address else each for each in code)
        try:
            machine = trial.run(replace(program, functions={trial.function: changed}))
        except FaultError:
            return True
        return trial.wrong(machine) != []

    changed = mutants(code, random.Random(name))
    assert len(changed) >= 8
    assert [str(mutant) for mutant in changed if not noticed(mutant)] == []


def call(text: str) -> None:
    """Instructions, with 128 readable bytes at rdi."""
    code = tuple(decoded(at, line) for at, line in enumerate(text.split("; ")))
    program = Program({"f": code}, Region(0, bytearray()))
    Machine(program, "f", [Region(FRAME, bytearray(128))]).call(FRAME)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("vmovdqa32 0x20(%rdi),%zmm0", "no multiple of 64"),
        ("vmovdqu32 0x41(%rdi),%zmm0", "64 bytes .* may not be read"),
        ("vmovdqu32 %zmm0,(%rdi)", "64 bytes .* may not be written"),
        ("mov 0x79(%rdi),%rax", "8 bytes .* may not be read"),
        ("mov %eax,(%rdi)", "4 bytes .* may not be written"),
        ("cmp $0x1,%rdi; jne 7 <f+0x7>", "no instruction begins"),
        ("cmp $0x1,%rdi; jne 0 <f>", "did not return"),
        ("push %rax; ret", "no call was made"),
        ("nopw 0x0(%rax,%rax,1)", "past the end"),
    ],
)
def test_the_interpreter_stops_at_what_a_processor_would_not_do(text: str, complaint: str) -> None:
    with pytest.raises(FaultError, match=complaint):
        call(text)


@pytest.mark.parametrize(
    "text",
    [
        "vpmulld %zmm0,%zmm1,%zmm2",
        "vpaddd (%rdi){1to16},%zmm1,%zmm2",
        "vmovdqa32 %zmm0,%zmm1{%k1}",
        "mov (%rdi,%rax,8),%rcx",
        "jmp 0 <f>",
    ],
)
def test_an_instruction_that_the_interpreter_does_not_know_is_named(text: str) -> None:
    with pytest.raises(UnknownInstructionError, match=re.escape(text)):
        call(text)
