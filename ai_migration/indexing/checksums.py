"""Checksums of an entity's vectors, to find vectors that were replaced or swapped in the store.

A checksum is three projections of the vectors on fixed random signs, which a store may round (half
precision) or bring to length 1: two are compared with a tolerance. It has a tag of the content hash
beside it, so that one which does not belong to the vectors of that hash (a worker of an older
version writes none) is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import shake_256

import numpy as np
from numpy.typing import NDArray

from ai_migration.types import Vectors

PROJECTIONS = 3
TOLERANCE = 0.01
"""Difference of two projections of a vector of length 1 that is taken for rounding: 30 times that
of half precision. Vectors whose cosine is 0.999 differ by more, with a probability of 99.5 %."""
_STEPS = 4096
"""Steps of a projection in 1. It has 16 bits, and wraps around."""
_GOLDEN = 0.6180339887498949


def checksums(
    vectors: Vectors, spans: Sequence[tuple[int, int]], content_hashes: Sequence[bytes]
) -> list[int]:
    """Return the checksum of each entity.

    Args:
        vectors: float32, shape ``(n, dimensions)``.
        spans: The rows of each entity's vectors, ``(start, stop)``, in the order of its chunks;
            they do not overlap.
        content_hashes: The content hash of each entity.
    """
    if not spans:
        return []
    if len(spans) == len(vectors):  # one chunk each, the usual case
        sums = _projected(vectors)
    else:
        bounds = np.array(spans, dtype=np.int64)
        counts = bounds[:, 1] - bounds[:, 0]
        owners = np.repeat(np.arange(len(spans)), counts)
        chunks = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(bounds[:, 0], counts) + chunks
        sums = project(vectors[rows], owners, chunks, len(spans))
    steps = _steps(sums).astype(np.uint64)
    packed = _tags(content_hashes)
    for column in range(PROJECTIONS):
        packed = packed << np.uint64(16) | steps[:, column]
    result: list[int] = packed.view(np.int64).tolist()
    return result


def are_of(checksums: Sequence[int | None], content_hashes: Sequence[bytes]) -> NDArray[np.bool_]:
    """Return whether each checksum is of vectors that were written with that content hash. None is
    of none."""
    tags = _packed(checksums) >> np.uint64(48)
    is_known = np.array([each is not None for each in checksums], dtype=np.bool_)
    result: NDArray[np.bool_] = is_known & (tags == _tags(content_hashes))
    return result


def project(
    vectors: Vectors, owners: NDArray[np.int64], chunks: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return the projections of each entity, shape ``(count, PROJECTIONS)``. Each chunk has a
    weight of its own, so that two chunks cannot be swapped.

    Args:
        vectors: Those of all entities, in any order.
        owners: The entity of each, from 0.
        chunks: The chunk of each.
        count: The number of entities.
    """
    weighted = _projected(vectors) * (1.0 + (chunks * _GOLDEN) % 1.0)[:, np.newaxis]
    columns = [np.bincount(owners, each, minlength=count) for each in weighted.T]
    return np.stack(columns, axis=1)


def differs(
    projections: NDArray[np.float64],
    checksums: Sequence[int | None],
    chunk_counts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return whether the vectors of each entity differ from those of its checksum."""
    packed = _packed(checksums)
    shifts = np.array([16 * (PROJECTIONS - 1 - column) for column in range(PROJECTIONS)])
    before = (packed[:, np.newaxis] >> shifts.astype(np.uint64) & np.uint64(0xFFFF)).astype(
        np.int64
    )
    apart = (_steps(projections) - before + 0x8000) % 0x10000 - 0x8000
    allowed = TOLERANCE * _STEPS * np.sqrt(chunk_counts)
    result: NDArray[np.bool_] = (np.abs(apart) > allowed[:, np.newaxis]).any(axis=1)
    return result


def _tags(content_hashes: Sequence[bytes]) -> NDArray[np.uint64]:
    tags = b"".join([content_hash[:2] for content_hash in content_hashes])
    return np.frombuffer(tags, dtype=">u2").astype(np.uint64)


def _packed(checksums: Sequence[int | None]) -> NDArray[np.uint64]:
    known = [0 if each is None else each for each in checksums]
    return np.array(known, dtype=np.int64).view(np.uint64)


def _projected(vectors: Vectors) -> NDArray[np.float64]:
    """Return the projections of each vector, brought to length 1."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors).astype(np.float64))
    # Not by BLAS: its threads wait for each other where all cores are busy.
    columns = [np.einsum("ij,j->i", vectors, signs) for signs in _signs(vectors.shape[1])]
    sums = np.stack(columns, axis=1).astype(np.float64)
    np.divide(sums, lengths[:, np.newaxis], out=sums, where=lengths[:, np.newaxis] > 0)
    return sums


def _steps(projections: NDArray[np.float64]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):  # NaN, which the store refuses
        rounded = np.rint(projections * _STEPS).astype(np.int64)
    return rounded & 0xFFFF


@lru_cache(maxsize=16)
def _signs(dimensions: int) -> Vectors:
    """Return the fixed signs, shape ``(PROJECTIONS, dimensions)``. They may never change."""
    length = dimensions * PROJECTIONS
    bits = shake_256(b"ai_migration").digest(-(-length // 8))
    ones = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=length)
    return (ones.reshape(PROJECTIONS, dimensions) * 2.0 - 1.0).astype(np.float32)
