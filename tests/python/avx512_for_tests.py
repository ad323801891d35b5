"""Executes the loops of the AVX-512 kernels on a processor that need not have AVX-512.

The compiler assembles them, objdump reads the machine code back, and every instruction becomes a
closure over integer registers, 32 vectors of 16 words, the zero flag and a memory of few regions;
an access anywhere else is a fault. Known are the instructions that occur, with operands as they
occur; any other is an error that names it.

Source of every meaning: Intel SDM, volume 2. AT&T syntax: the destination is last.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CORE = Path(__file__).resolve().parents[2] / "csrc"
SOURCE = CORE / "hash" / "blake3_avx512_loops.S"

# The System V convention; the stack holds four registers and the way back, and some room.
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
PROTECTED = ("rbx", "rbp", "rsp", "r12", "r13", "r14", "r15")
STACK_START, STACK_SIZE = 0x7FFE_0000_0000, 256
RETURN_ADDRESS = 0x7FFF_0000_BEEF

STEPS_MAX = 200_000  # several times what thirty-two chunks take
RETURNED = -1

# As operands: an integer register and how many bytes of it, a vector and how many words of it.
INTEGER_REGISTERS = {
    operand: (f"r{name}", size)
    for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", *map(str, range(8, 16)))
    for operand, size in ((f"%r{name}", 8), (f"%r{name}d" if name.isdigit() else f"%e{name}", 4))
}
VECTOR_REGISTERS = {
    f"%{kind}mm{i}": (i, words) for i in range(32) for kind, words in (("y", 8), ("z", 16))
}
IN_MEMORY = re.compile(r"(0x[0-9a-f]+)?(?:\((%\w+)(?:,(%\w+),1)?\))?")

Vector = NDArray[np.uint32]
Step = Callable[[], int | None]  # executes an instruction; a jump gives the index of the next


class FaultError(Exception):
    """What a processor would stop at, or never come back from."""


class UnknownInstructionError(Exception):
    """An instruction, or an operand of one, whose meaning is not written here."""


@dataclass(frozen=True)
class Instruction:
    """Operands are objdump's text, but for constants and jumps, which are numbers: addresses."""

    address: int
    name: str
    operands: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.address:#x}: {self.name} {','.join(self.operands)}"


@dataclass(frozen=True)
class Region:
    """Bytes that may be read, and perhaps written."""

    start: int
    content: bytearray
    writable: bool = False


@dataclass(frozen=True)
class Program:
    """The functions, and the constants that they read."""

    functions: dict[str, tuple[Instruction, ...]]
    constants: Region


# ---- from the assembly to instructions ----


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}: {done.stderr}"
    return done.stdout


def built_program(folder: Path) -> Program:
    """What the processor would get; linked, because then objdump says where constants are."""
    library = folder / "loops.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ("-shared", "-nostdlib", "-fcf-protection", f"-I{CORE}")
    output_of(*compiler, *flags, SOURCE, "-o", library)
    listing = output_of("objdump", "-d", "-j", ".text", "--no-show-raw-insn", "--wide", library)
    functions: dict[str, list[Instruction]] = {}
    for line in listing.splitlines():
        if heading := re.fullmatch(r"[0-9a-f]+ <(\w+)>:", line):
            functions[heading[1]] = code = []
        elif found := re.fullmatch(r" *([0-9a-f]+):\t(.*)", line):
            code.append(decoded(int(found[1], 16), found[2]))
    dump = output_of("objdump", "-s", "-j", ".rodata", library)
    rows = re.findall(r"^ ([0-9a-f]+) ((?:[0-9a-f]+ ){1,4})", dump, re.MULTILINE)
    constants = bytearray.fromhex("".join(words for _, words in rows))
    return Program(
        {name: tuple(code) for name, code in functions.items()},
        Region(int(rows[0][0], 16), constants),
    )


def decoded(address: int, line: str) -> Instruction:
    """A line of objdump's. What pads to an alignment does nothing, whatever its operands."""
    text, _, note = line.partition("#")  # of a constant the note says: # 2080 <iv>
    if re.search(r"\bnop[wl]?\b|^xchg +%ax,%ax", text):
        return Instruction(address, "nop")
    name, _, rest = text.strip().partition(" ")
    if name == "jne":  # 80c0 <function+0x80>
        return Instruction(address, name, (f"0x{rest.split()[0]}",))
    operands = re.split(r",(?![^(]*\))", rest.strip()) if rest else []
    if operands and "(%rip)" in operands[0]:
        operands[0] = f"0x{note.split()[0]}"
    return Instruction(address, name, tuple(operands))


# ---- what instructions do; operands in the order of the manual: AT&T's last first ----


def selection(first: Vector, second: Vector, indices: Sequence[int] | Vector) -> Vector:
    return np.concatenate((first, second))[indices]


def in_quarters(*words: int) -> list[int]:
    """In each quarter the same: of the first vector's four words 0 to 3, of the other's 4 to 7."""
    return [word // 4 * 16 + quarter * 4 + word % 4 for quarter in range(4) for word in words]


def whole_quarters(*quarters: int) -> list[int]:
    return [4 * quarter + word for quarter in quarters for word in range(4)]


def chosen(immediate: int) -> tuple[int, int, int, int]:
    """Four fields of two bits: two choose from the first vector, two from the other."""
    return immediate & 3, immediate >> 2 & 3, 4 + (immediate >> 4 & 3), 4 + (immediate >> 6)


# What the destination becomes: of the sources alone ...
RESULTS: dict[str, Callable[..., Any]] = {
    "mov": lambda a: a,
    "vmovdqa32": lambda a: a,
    "vmovdqu32": lambda a: a,
    "vpbroadcastd": lambda word: word,
    "vpaddd": lambda a, b: a + b,
    "vpxord": lambda a, b: a ^ b,
    "vprord": lambda a, count: a >> count % 32 | a << (32 - count % 32),
    "vpunpckldq": lambda a, b: selection(a, b, in_quarters(0, 4, 1, 5)),
    "vpunpckhdq": lambda a, b: selection(a, b, in_quarters(2, 6, 3, 7)),
    "vpunpcklqdq": lambda a, b: selection(a, b, in_quarters(0, 1, 4, 5)),
    "vpunpckhqdq": lambda a, b: selection(a, b, in_quarters(2, 3, 6, 7)),
    "vshufps": lambda a, b, which: selection(a, b, in_quarters(*chosen(which))),
    "vshufi32x4": lambda a, b, which: selection(a, b, whole_quarters(*chosen(which))),
    "vinserti64x4": lambda a, half, upper: np.concatenate(
        (a[:8], half) if upper % 2 else (half, a[8:])
    ),
}
# ... or of itself and the sources.
UPDATES: dict[str, Callable[..., Any]] = {
    "vpermt2d": lambda a, indices, b: selection(a, b, indices % 32),
    "add": lambda a, b: a + b,
    "xor": lambda a, b: a ^ b,
    "dec": lambda a: a - 1,
    "cmp": lambda a, b: a - b,  # only sets the flag
}
FLAGGED = ("add", "xor", "dec", "cmp")  # set the zero flag
# Bytes of an operand in memory, where they are not those of the register beside it.
NARROW = {"vpbroadcastd": 4, "vinserti64x4": 32}


def size_of(operand: str) -> int:
    """Bytes of a register; 0 of anything else."""
    if operand in VECTOR_REGISTERS:
        return 4 * VECTOR_REGISTERS[operand][1]
    return INTEGER_REGISTERS.get(operand, ("", 0))[1]


class Machine:
    """A function as closures, and what it runs on.

    Registers hold anything when it is called: nothing may depend on them.
    """

    def __init__(self, program: Program, function: str, regions: Sequence[Region]) -> None:
        stack = Region(STACK_START, bytearray(STACK_SIZE), writable=True)
        self.regions = (*regions, program.constants, stack)
        anything = np.random.default_rng(512)
        self.zmm = anything.integers(0, 2**32, (32, 16), np.uint32)
        self.registers = {
            name: int(anything.integers(0, 2**64, dtype=np.uint64))
            for name, _ in INTEGER_REGISTERS.values()
        }
        self.registers["rsp"] = STACK_START + STACK_SIZE
        self.zero = True
        code = program.functions[function]
        self.indices = {instruction.address: i for i, instruction in enumerate(code)}
        self.steps = [self.compiled(instruction) for instruction in code]

    def call(self, *arguments: int) -> None:
        self.registers.update(zip(ARGUMENTS, arguments, strict=False))
        self.push(RETURN_ADDRESS)
        index = 0
        for _ in range(STEPS_MAX):
            if index == len(self.steps):
                raise FaultError("execution ran past the end of the function")
            target = self.steps[index]()
            if target == RETURNED:
                return
            index = index + 1 if target is None else target
        raise FaultError(f"the function did not return within {STEPS_MAX} instructions")

    # ---- memory and operands ----

    def memory(self, address: int, size: int, *, writing: bool = False) -> memoryview:
        for region in self.regions:
            at = address - region.start
            if 0 <= at <= len(region.content) - size and (region.writable or not writing):
                return memoryview(region.content)[at : at + size]
        verb = "written" if writing else "read"
        raise FaultError(f"{size} bytes at {address:#x} may not be {verb}")

    def address(self, operand: str, alignment: int = 1) -> Callable[[], int]:
        """Of displacement(base,index,1), of which parts may be missing."""
        if not (found := IN_MEMORY.fullmatch(operand)):
            raise KeyError(operand)
        displacement = int(found[1] or "0", 16)
        names = [INTEGER_REGISTERS[register][0] for register in found.groups()[1:] if register]

        def value() -> int:
            total = (displacement + sum(self.registers[name] for name in names)) % 2**64
            if total % alignment:
                raise FaultError(f"{total:#x} is no multiple of {alignment}")
            return total

        return value

    def reader(self, operand: str, size: int, alignment: int = 1) -> Callable[[], Any]:
        """What an operand holds; of memory, more than 8 bytes are a vector."""
        if operand.startswith("$"):
            immediate = int(operand[1:], 16)
            return lambda: immediate
        if operand in INTEGER_REGISTERS:
            name, width = INTEGER_REGISTERS[operand]
            return lambda: self.registers[name] % 2 ** (8 * width)
        if operand in VECTOR_REGISTERS:
            number, words = VECTOR_REGISTERS[operand]
            row = self.zmm[number, :words]
            return lambda: row
        address = self.address(operand, alignment)
        if size > 8:
            return lambda: np.frombuffer(self.memory(address(), size), "<u4")
        return lambda: int.from_bytes(self.memory(address(), size), "little")

    def writer(self, operand: str, size: int, alignment: int = 1) -> Callable[[Any], None]:
        """The rest of a register that is written in part becomes zero."""
        if operand in INTEGER_REGISTERS:
            name, width = INTEGER_REGISTERS[operand]
            return lambda value: self.registers.update({name: value % 2 ** (8 * width)})
        if operand in VECTOR_REGISTERS:
            number, words = VECTOR_REGISTERS[operand]
            used, rest = self.zmm[number, :words], self.zmm[number, words:]

            def fill(value: Any) -> None:
                used[:], rest[:] = value, 0

            return fill
        address = self.address(operand, alignment)

        def store(value: Any) -> None:
            content = value.tobytes() if size > 8 else value.to_bytes(size, "little")
            self.memory(address(), size, writing=True)[:] = content

        return store

    # ---- instructions ----

    def compiled(self, instruction: Instruction) -> Step:
        name, operands = instruction.name, instruction.operands
        try:
            if name in OTHERS:
                return OTHERS[name](self, *operands)
            sources = operands if name in UPDATES else operands[:-1]
            return self.computation(name, sources, operands[-1])
        except (KeyError, IndexError) as error:
            raise UnknownInstructionError(f"{instruction} is not known here ({error})") from error

    def computation(self, name: str, sources: Sequence[str], destination: str) -> Step:
        operation = UPDATES[name] if name in UPDATES else RESULTS[name]
        size = NARROW.get(name) or max(map(size_of, (*sources, destination)))
        alignment = size if name == "vmovdqa32" else 1
        values = [self.reader(source, size, alignment) for source in reversed(sources)]
        write = self.writer(destination, size, alignment)
        if name not in FLAGGED:
            return lambda: write(operation(*(value() for value in values)))

        def step() -> None:
            result = operation(*(value() for value in values)) % 2 ** (8 * size)
            self.zero = result == 0
            if name != "cmp":
                write(result)

        return step

    def lea(self, source: str, destination: str) -> Step:
        address, write = self.address(source), self.writer(destination, 8)
        return lambda: write(address())

    def cmove(self, source: str, destination: str) -> Step:
        read, write = self.reader(source, 8), self.writer(destination, 8)
        return lambda: write(read()) if self.zero else None

    def jne(self, target: str) -> Step:
        index = self.indices.get(int(target, 16))

        def step() -> int | None:
            if index is None:
                raise FaultError(f"a jump to {target}, where no instruction begins")
            return None if self.zero else index

        return step

    def push(self, value: int) -> None:
        self.registers["rsp"] -= 8
        self.memory(self.registers["rsp"], 8, writing=True)[:] = value.to_bytes(8, "little")

    def pop(self) -> int:
        value = int.from_bytes(self.memory(self.registers["rsp"], 8), "little")
        self.registers["rsp"] += 8
        return value

    def push_register(self, source: str) -> Step:
        read = self.reader(source, 8)
        return lambda: self.push(read())

    def pop_register(self, destination: str) -> Step:
        write = self.writer(destination, 8)
        return lambda: write(self.pop())

    def ret(self) -> int:
        if (address := self.pop()) != RETURN_ADDRESS:
            raise FaultError(f"a return to {address:#x}, where no call was made")
        return RETURNED

    def nothing(self, *_: str) -> Step:
        """Of a prefetch too: what it names need not be there."""
        return lambda: None


OTHERS: dict[str, Callable[..., Step]] = {
    "lea": Machine.lea,
    "cmove": Machine.cmove,
    "jne": Machine.jne,
    "push": Machine.push_register,
    "pop": Machine.pop_register,
    "ret": lambda machine: machine.ret,
    "vzeroupper": lambda machine: lambda: machine.zmm[:16, 4:].fill(0),
    "prefetcht1": Machine.nothing,
    "endbr64": Machine.nothing,
    "nop": Machine.nothing,
}
