"""Many inputs in one call against PyPI's blake3, input by input: lengths of every kind together.

``MLPROV_PROPERTY_CASES``: how many random sets are tried instead of 2,000 (``make property``:
100,000), shared among the kernels. Set number n is the same in every run.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest
from tensors_for_tests import blake3_of

from mlprov import _core

CASES = int(os.environ.get("MLPROV_PROPERTY_CASES", "2000"))
KERNELS_COUNT = len(_core.hash_kernels())
KIB = 1024
TOTAL_MAX = 300 * KIB


def random_length(chance: random.Random, kind: str) -> int:
    if kind == "one chunk":
        return chance.randrange(KIB + 2)
    if kind == "every magnitude":
        return chance.randrange(2 << chance.randrange(17))
    return KIB * chance.randrange(40) + chance.randrange(3)


def random_lengths(chance: random.Random) -> list[int]:
    """In one of two sets lengths of one kind; all equal in one of eight."""
    kinds = ["one chunk", "every magnitude", "about a boundary"]
    if chance.randrange(2):
        kinds = [chance.choice(kinds)]
    count = chance.randrange(1, 60)
    if chance.randrange(8) == 0:
        return [random_length(chance, kinds[0])] * count
    return [random_length(chance, chance.choice(kinds)) for _ in range(count)]


def test_any_set_of_inputs_has_the_digests_of_pypi_blake3(kernel: str) -> None:
    data = memoryview(random.Random(1).randbytes(TOTAL_MAX))
    for number in range(CASES // KERNELS_COUNT):
        chance = random.Random(number)
        inputs: list[memoryview] = []
        left = TOTAL_MAX
        for length in random_lengths(chance):
            if length <= left:
                begin = chance.randrange(TOTAL_MAX - length + 1)
                inputs.append(data[begin : begin + length])
                left -= length
        expected = [blake3_of(item) for item in inputs]
        assert _core.hash_many(inputs, threads=1 + number % 3) == expected, f"set {number}"


def rearranged(chance: random.Random, array: Any) -> Any:
    """The array, or a strided view of it."""
    how = chance.randrange(5 if array.ndim > 1 else 3)
    if how == 0:
        return array
    if how == 1:
        return array.transpose(chance.sample(range(array.ndim), array.ndim))
    if how == 2:
        return array[..., :: chance.choice((2, 3, -1))]
    if how == 3:
        return array[:: chance.choice((2, -2)), ..., chance.randrange(array.shape[-1]) :]
    return array.T[chance.randrange(array.shape[-1]) :]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_strided_arrays_beside_others_have_the_digests_of_their_copies(
    kernel: str, threads: int
) -> None:
    chance = random.Random(threads)
    values = np.frombuffer(random.Random(2).randbytes(1 << 22), np.uint8)
    arrays = []
    for number in range(120):
        item = values.view(chance.choice(("u1", "<u2", "<f4", "<f8", "<c16", ">f4")))
        # Small ones, and every tenth from a quarter of a MiB to four.
        sides = (40, 60, 5) if number % 10 else (400, 260, 4)
        shape = [chance.randrange(side // 2, side) for side in sides[: chance.randrange(1, 4)]]
        count = int(np.prod(shape))
        while count > item.size:
            shape[0] //= 2
            count = int(np.prod(shape))
        arrays.append(rearranged(chance, item[:count].reshape(shape)))
    expected = [
        blake3_of(array.astype(array.dtype.newbyteorder("<")).tobytes()) for array in arrays
    ]
    digests = [entry[0] for entry in _core.tensor_digests(arrays, threads=threads)]
    assert digests == expected
