"""The base of the suite of vector stores: fixtures, methods to override, data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import numpy as np
import pytest

from ai_migration.stores.base import VectorStore
from ai_migration.types import CollectionRef, VectorBatch, Vectors

DIMENSIONS = 8
ODD_IDS = [
    "it's",
    'say "hi"',
    "back\\slash",
    "percent %s %(x)s",
    "a,b;{c}",
    "$1",
    " spaces ",
    "line\nbreak",
    "日本語",
    "e\u0301",
    "é",
    "👩‍👩‍👧‍👦",
    "\u202ertl",
    "0",
    "-1",
    "NULL",
    '["a", 1]',
    "x" * 255,
]
ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1.5,
    2**40,
    "",
    'it\'s "quoted" \\ %s $1',
    "backslash-u: \\u0000",
    "日本語 👩‍👩‍👧‍👦\n\t",
    [1, "two", None],
    {"nested": {"deep": []}},
]

_ids = count(1_000_001)


def unit_vectors(n: int, dimensions: int = DIMENSIONS, seed: int = 0) -> Vectors:
    """Return random vectors of length 1, shape ``(n, dimensions)``."""
    vectors = np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def batch_of(
    entity_ids: Sequence[str],
    *,
    seed: int = 0,
    chunks: Sequence[int] | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    dimensions: int = DIMENSIONS,
) -> VectorBatch:
    """Return a batch with a random vector for each id, chunk 0 unless said otherwise."""
    vectors = unit_vectors(len(entity_ids), dimensions, seed)
    return VectorBatch(entity_ids, chunks or [0] * len(entity_ids), vectors, metadata)


class StoreSuite:
    """The base of the suite; the tests are in its subclasses."""

    tolerance = 1e-5
    min_recall = 0.9

    def other_process(self, store: VectorStore) -> Callable[[], VectorStore]:
        """Return a function that opens the same store in a process of its own. It must be
        picklable, such as ``functools.partial(MyStore, "/the/path")``."""
        pytest.skip("the suite does not say how another process opens the store")

    def break_connection(self, store: VectorStore) -> None:
        """Break the connection the store has, so that its next call fails."""
        pytest.skip("the suite does not say how the store loses its connection")

    def full_disk(self, store: VectorStore) -> AbstractContextManager[object]:
        """Return a context in which writes fail and reads still work."""
        pytest.skip("the suite does not say how the disk of the store is full")

    @pytest.fixture
    def store(self) -> VectorStore:
        raise NotImplementedError("Define a fixture 'store' that returns your vector store.")

    def make_collection(self, dimensions: int = DIMENSIONS) -> CollectionRef:
        """Return a reference that no other test uses."""
        return CollectionRef(next(_ids), "contract", dimensions)

    @pytest.fixture
    def collection(self, store: VectorStore) -> CollectionRef:
        """Return an empty collection."""
        collection = self.make_collection()
        store.ensure_collection(collection)
        return collection

    @staticmethod
    def contents(
        store: VectorStore, collection: CollectionRef
    ) -> dict[tuple[str, int], tuple[Vectors, dict[str, Any]]]:
        """Return everything in the collection: ``(entity, chunk) → (vector, payload)``."""
        found: dict[tuple[str, int], tuple[Vectors, dict[str, Any]]] = {}
        for page in store.scroll(collection):
            payloads = page.metadata or [{}] * len(page)
            for index, key in enumerate(zip(page.entity_ids, page.chunks, strict=True)):
                assert key not in found, "scroll gave a vector twice"
                found[key] = (page.vectors[index], dict(payloads[index]))
        return found
