"""Vectors in the memory of one process, for tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

import numpy as np

from ai_migration.stores._support import (
    dump_metadata,
    load_metadata,
    matches,
    missing,
    other_dimensions,
    parse_metric,
    require_batch,
    require_ids,
    require_vectors,
    scores,
)
from ai_migration.stores.base import VectorStore
from ai_migration.types import CollectionRef, JSONValue, StoreHit, VectorBatch, VectorKey, Vectors


@dataclass
class _Contents:
    dimensions: int
    vectors: dict[tuple[str, int], Vectors] = field(default_factory=dict)
    payloads: dict[tuple[str, int], str] = field(default_factory=dict)
    chunks: dict[str, set[int]] = field(default_factory=dict)

    def keys_of(self, entity_id: str) -> list[VectorKey]:
        """Return the keys of an entity's vectors."""
        return [(entity_id, chunk) for chunk in sorted(self.chunks.get(entity_id, ()))]


class MemoryStore(VectorStore):
    """A store that keeps vectors as long as the instance lives, in this process alone.

    Args:
        metric: ``cosine``, ``inner_product`` or ``l2``.
    """

    supports_filters = True
    supports_any_of = True
    one_process = True

    def __init__(self, metric: str = "cosine") -> None:
        self.metric = parse_metric(metric, MemoryStore)
        self._collections: dict[str, _Contents] = {}
        self._lock = threading.RLock()

    def ensure_collection(self, collection: CollectionRef) -> None:
        with self._lock:
            contents = self._collections.setdefault(
                collection.name, _Contents(collection.dimensions)
            )
            if contents.dimensions != collection.dimensions:
                raise other_dimensions(collection, contents.dimensions)

    def exists(self, collection: CollectionRef) -> bool:
        return collection.name in self._collections

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        vectors = require_batch(self, collection, batch).copy()
        documents = None if batch.metadata is None else dump_metadata(collection, batch.metadata)
        with self._lock:
            contents = self._contents(collection)
            for index, key in enumerate(zip(batch.entity_ids, batch.chunks, strict=True)):
                contents.vectors[key] = vectors[index]
                contents.chunks.setdefault(key[0], set()).add(key[1])
                if documents is None:
                    contents.payloads.pop(key, None)
                else:
                    contents.payloads[key] = documents[index]

    def update_metadata(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        metadata: Sequence[Mapping[str, JSONValue]],
    ) -> None:
        require_ids(collection, entity_ids)
        documents = dump_metadata(collection, metadata)
        with self._lock:
            contents = self._contents(collection)
            for entity_id, document in zip(entity_ids, documents, strict=True):
                for chunk in contents.chunks.get(entity_id, ()):
                    contents.payloads[entity_id, chunk] = document

    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        with self._lock:
            contents = self._contents(collection)
            for entity_id in entity_ids:
                for chunk in contents.chunks.pop(entity_id, ()):
                    del contents.vectors[entity_id, chunk]
                    contents.payloads.pop((entity_id, chunk), None)

    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        with self._lock:
            keys = sorted(self._contents(collection).vectors)
        for start in range(0, len(keys), page_size):
            with self._lock:
                contents = self._contents(collection)
                page = [key for key in keys[start : start + page_size] if key in contents.vectors]
                if not page:
                    continue
                vectors = np.stack([contents.vectors[key] for key in page])
                payloads = [contents.payloads.get(key) for key in page]
            yield VectorBatch(
                [entity_id for entity_id, _ in page],
                [chunk for _, chunk in page],
                vectors,
                load_metadata(payloads),
            )

    def fetch(self, collection: CollectionRef, entity_ids: Sequence[str]) -> Iterator[VectorBatch]:
        with self._lock:
            contents = self._contents(collection)
            keys = [key for each in set(entity_ids) for key in contents.keys_of(each)]
            vectors = np.full((len(keys), collection.dimensions), np.nan, dtype=np.float32)
            for row, key in enumerate(keys):
                if contents.vectors[key].shape == (collection.dimensions,):
                    vectors[row] = contents.vectors[key]
            payloads = [contents.payloads.get(key) for key in keys]
        yield VectorBatch(
            [entity_id for entity_id, _ in keys],
            [chunk for _, chunk in keys],
            vectors,
            load_metadata(payloads),
        )

    def keys(
        self, collection: CollectionRef, *, after: JSONValue = None, limit: int
    ) -> tuple[list[VectorKey], JSONValue]:
        with self._lock:
            cursor = tuple(after or ("", -1))
            later = (key for key in self._contents(collection).vectors if key > cursor)
            found = nsmallest(limit, later)
        return found, list(found[-1]) if len(found) == limit else None

    def count(self, collection: CollectionRef) -> int:
        contents = self._collections.get(collection.name)
        return len(contents.vectors) if contents else 0

    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        query = require_vectors(self, collection, vector)
        with self._lock:
            contents = self._contents(collection)
            found = [
                (key, stored, json.loads(contents.payloads.get(key, "{}")))
                for key, stored in contents.vectors.items()
            ]
        found = [row for row in found if matches(row[2], filters or {})]
        if not found:
            return []
        near = scores(self.metric, np.stack([row[1] for row in found]), query)
        best = np.argsort(-near, kind="stable")[: max(0, limit)]
        return [
            StoreHit(entity_id, chunk, float(near[index]), found[index][2])
            for index in best
            for entity_id, chunk in [found[index][0]]
        ]

    def drop_collection(self, collection: CollectionRef) -> None:
        with self._lock:
            self._collections.pop(collection.name, None)

    def _contents(self, collection: CollectionRef) -> _Contents:
        contents = self._collections.get(collection.name)
        if contents is None:
            raise missing(collection)
        if contents.dimensions != collection.dimensions:
            raise other_dimensions(collection, contents.dimensions)
        return contents
