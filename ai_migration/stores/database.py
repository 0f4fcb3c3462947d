"""Vectors in the application's own database, of any vendor, with exact search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from django.db import router

from ai_migration.models.sql import vectors as sql
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.dialects.base import NO_CHUNK
from ai_migration.models.vectors import StoredVector
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
    unpacked,
)
from ai_migration.stores._transactions import atomically, translating
from ai_migration.stores.base import VectorStore
from ai_migration.types import CollectionRef, JSONValue, StoreHit, VectorBatch, VectorKey, Vectors

_BLOCK_BYTES = 4 << 20
"""Vectors that a search holds in memory at once."""


class DatabaseStore(VectorStore):
    """Table ``ai_vectors``, beside the ledger and in the same transaction.

    A search reads every vector of the collection and compares exactly, in bounded memory:
    right for tens of thousands of vectors. For more, use ``PgVectorStore``.

    Args:
        metric: ``cosine``, ``inner_product`` or ``l2``.
    """

    supports_filters = True
    supports_any_of = True

    def __init__(self, metric: str = "cosine") -> None:
        self.metric = parse_metric(metric, DatabaseStore)

    @property
    def using(self) -> str:
        """The database alias where the vectors are; read from there too: a replica lags."""
        return router.db_for_write(StoredVector)

    def shares_transaction(self, using: str) -> bool:
        return using == self.using

    def ensure_collection(self, collection: CollectionRef) -> None:
        with atomically(self.using, collection):
            sql.mark(self.using, collection.id, collection.dimensions)
            self._require(collection)

    def exists(self, collection: CollectionRef) -> bool:
        with translating(self.using, collection):
            return sql.marked_dimensions(self.using, collection.id) is not None

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        vectors = require_batch(self, collection, batch)
        documents = None if batch.metadata is None else dump_metadata(collection, batch.metadata)
        with atomically(self.using, collection):
            self._require(collection)
            sql.upsert(
                self.using, collection.id, batch.entity_ids, batch.chunks, vectors, documents
            )

    def update_metadata(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        metadata: Sequence[Mapping[str, JSONValue]],
    ) -> None:
        require_ids(collection, entity_ids)
        documents = dump_metadata(collection, metadata)
        with atomically(self.using, collection):
            self._require(collection)
            dialect(self.using).update_payloads(collection.id, entity_ids, documents)

    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        require_ids(collection, entity_ids)
        with atomically(self.using, collection):
            self._require(collection)
            dialect(self.using).delete_vectors(collection.id, entity_ids)

    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        for rows in self._pages(collection, page_size):
            yield VectorBatch(
                [row[0] for row in rows],
                [row[1] for row in rows],
                sql.as_array(rows, collection.dimensions),
                load_metadata([row[3] for row in rows]),
            )

    def fetch(self, collection: CollectionRef, entity_ids: Sequence[str]) -> Iterator[VectorBatch]:
        with translating(self.using, collection):
            self._require(collection)
            rows = dialect(self.using).vectors_of(collection.id, entity_ids)
        yield VectorBatch(
            [row[0] for row in rows],
            [row[1] for row in rows],
            unpacked([row[2] for row in rows], collection.dimensions),
            load_metadata([row[3] for row in rows]),
        )

    def keys(
        self, collection: CollectionRef, *, after: JSONValue = None, limit: int
    ) -> tuple[list[VectorKey], JSONValue]:
        with translating(self.using, collection):
            self._require(collection)
            found = dialect(self.using).vector_keys_after(
                collection.id, tuple(after or ("", -1)), limit
            )
        return found, list(found[-1]) if len(found) == limit else None

    def count(self, collection: CollectionRef) -> int:
        with translating(self.using, collection):
            return (
                StoredVector.objects.using(self.using)
                .filter(collection_id=collection.id)
                .exclude(chunk=NO_CHUNK)
                .count()
            )

    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        query = require_vectors(self, collection, vector)
        block = max(1, _BLOCK_BYTES // (4 * collection.dimensions))
        best: list[tuple[float, sql.Row]] = []
        for rows in self._pages(collection, block):
            if filters:
                payloads = load_metadata([row[3] for row in rows]) or [{}] * len(rows)
                rows = [
                    row
                    for row, payload in zip(rows, payloads, strict=True)
                    if matches(payload, filters)
                ]
            near = scores(self.metric, sql.as_array(rows, collection.dimensions), query)
            for index in np.argsort(-near, kind="stable")[: max(0, limit)]:
                entity_id, chunk, _, document = rows[index]
                best.append((float(near[index]), (entity_id, chunk, b"", document)))
            best = sorted(best, key=lambda hit: -hit[0])[: max(0, limit)]
        payloads = load_metadata([row[3] for _, row in best]) or [{}] * len(best)
        return [
            StoreHit(row[0], row[1], score, payload)
            for (score, row), payload in zip(best, payloads, strict=True)
        ]

    def drop_collection(self, collection: CollectionRef) -> None:
        with atomically(self.using, collection):
            StoredVector.objects.using(self.using).filter(collection_id=collection.id).delete()

    def _pages(self, collection: CollectionRef, size: int) -> Iterator[list[sql.Row]]:
        with translating(self.using, collection):
            self._require(collection)
        after, database = ("", -1), dialect(self.using)
        while True:
            with translating(self.using, collection):
                rows: list[sql.Row] = database.vectors_after(collection.id, after, size)
            if rows:
                yield rows
            if len(rows) < size:
                return
            after = (rows[-1][0], rows[-1][1])

    def _require(self, collection: CollectionRef) -> None:
        """Refuse a collection that does not exist, or has other dimensions."""
        dimensions = sql.marked_dimensions(self.using, collection.id)
        if dimensions is None:
            raise missing(collection)
        if dimensions != collection.dimensions:
            raise other_dimensions(collection, dimensions)
