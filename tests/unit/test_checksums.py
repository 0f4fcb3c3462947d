"""Vectors are recognized by their checksum, whatever a store does to their precision and length."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_migration.indexing.checksums import are_of, checksums, differs, project
from ai_migration.testing.stores import unit_vectors
from ai_migration.types import Vectors

SPANS = [(0, 1), (1, 4), (4, 5), (5, 7)]
OWNERS = np.array([0, 1, 1, 1, 2, 3, 3])
CHUNKS = np.array([0, 0, 1, 2, 0, 0, 1])
COUNTS = np.array([1, 3, 1, 2])
HASHES = [bytes([n] * 16) for n in range(4)]


def are_others(vectors: Vectors, written: Vectors) -> list[bool]:
    """Return of which entities the vectors differ from those that were written."""
    sums = checksums(written, SPANS, HASHES)
    found: NDArray[np.bool_] = differs(project(vectors, OWNERS, CHUNKS, 4), [*sums], COUNTS)
    others: list[bool] = found.tolist()
    return others


@pytest.mark.parametrize("dimensions", [2, 8, 256, 3072])
def test_vectors_are_recognized(dimensions: int) -> None:
    written = unit_vectors(7, dimensions)
    none = [False] * 4
    assert are_others(written, written) == none
    assert are_others(written.astype(np.float16).astype(np.float32), written) == none
    assert are_others(written * 7.5, written) == none
    assert are_others(written[::-1].copy(), written) == [True] * 4


def test_vectors_that_are_much_alike_are_told_apart() -> None:
    written = unit_vectors(7, 256)
    near = written + 0.05 * unit_vectors(7, 256, seed=1)  # a cosine of 0.999
    assert are_others(near, written) == [True] * 4


def test_chunks_may_come_in_any_order_and_not_be_swapped() -> None:
    written = unit_vectors(7, 64)
    order = [3, 6, 0, 2, 4, 1, 5]
    sums = checksums(written, SPANS, HASHES)
    shuffled = project(written[order], OWNERS[order], CHUNKS[order], 4)
    assert not differs(shuffled, [*sums], COUNTS).any()
    swapped = written[[0, 2, 1, 3, 4, 5, 6]]
    assert are_others(swapped, written) == [False, True, False, False]


def test_a_checksum_belongs_to_a_content_hash() -> None:
    sums = checksums(unit_vectors(7, 8), SPANS, HASHES)
    assert are_of([*sums, None], [*HASHES, HASHES[0]]).tolist() == [True] * 4 + [False]
    assert are_of([*sums], HASHES[::-1]).tolist() == [False] * 4
    assert all(-(2**63) <= each < 2**63 for each in sums)


def test_nothing_and_no_direction() -> None:
    assert checksums(np.zeros((0, 8), np.float32), [], []) == []
    zeros = np.zeros((7, 8), np.float32)
    assert are_others(zeros, zeros) == [False] * 4
