"""Vectors in PostgreSQL with pgvector: a table per collection, its HNSW index built after
the load."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from django.core.checks import CheckMessage, Error
from django.db import connections, router

from ai_migration.exceptions import MissingDependencyError, SettingsError, StoreError
from ai_migration.models.vectors import StoredVector
from ai_migration.stores import _hnsw as hnsw
from ai_migration.stores._support import (
    dump_metadata,
    load_metadata,
    missing,
    other_dimensions,
    parse_metric,
    require_batch,
    require_ids,
    require_vectors,
)
from ai_migration.stores._transactions import atomically, translating
from ai_migration.stores.base import VectorStore
from ai_migration.types import CollectionRef, JSONValue, Metric, StoreHit, VectorBatch, Vectors

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

_STATEMENT_BYTES = 16 << 20
"""Vectors in one statement, at most: the driver holds a parameter several times over."""
_LOCK = 0x61695F76
"""Advisory lock of those who create the extension or a table."""

_DISTANCE = {Metric.COSINE: "<=>", Metric.INNER_PRODUCT: "<#>", Metric.L2: "<->"}

_vector_oids: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""Oid of the type ``vector`` by the driver's connection: it differs per database."""


class PgVectorStore(VectorStore):
    """pgvector 0.8 or later, on psycopg 3 (extra ``pgvector``).

    Writes are one binary statement per batch, in the transaction that is open on the
    database alias. A search is exact until :meth:`~VectorStore.optimize` has built the
    HNSW index, and approximate afterwards; where the index finds fewer vectors than were
    asked for (a rare filter), the search is repeated exactly.

    Args:
        using: Database alias; None: where this package's own tables are.
        metric: ``cosine``, ``inner_product`` or ``l2``.
        m: Links of a node of the HNSW graph, 2 to 100.
        ef_construction: Candidates while building, 4 to 1000, at least twice ``m``.
        ef_search: Candidates while searching, 1 to 1000.
        maintenance_work_mem: Memory for building the index, such as ``"1GB"``; the build is
            much faster when the graph fits. None: as the server is set.
        build_workers: Parallel workers for building it; None: as the server is set.

    System checks:
        ``ai_migration.E111``: psycopg 3 is not installed.
        ``ai_migration.E112``: the database alias does not exist or is no PostgreSQL.
    """

    supports_filters = True

    def __init__(
        self,
        using: str | None = None,
        metric: str = "cosine",
        m: int = 16,
        ef_construction: int = 64,
        ef_search: int = 40,
        maintenance_work_mem: str | None = None,
        build_workers: int | None = None,
    ) -> None:
        self.metric = parse_metric(metric, PgVectorStore)
        for name, value, low, high in (
            ("m", m, 2, 100),
            ("ef_construction", ef_construction, max(4, 2 * m), 1000),
            ("ef_search", ef_search, 1, 1000),
        ):
            if not low <= value <= high:
                raise SettingsError(f"PgVectorStore: {name} is {value}; use {low} to {high}")
        self._using = using
        self._ef_search = ef_search
        self._index = hnsw.IndexOptions(
            self.metric, m, ef_construction, maintenance_work_mem, build_workers
        )

    @property
    def using(self) -> str:
        """The database alias where the vectors are; read from there too: a replica lags."""
        return self._using or router.db_for_write(StoredVector)

    def shares_transaction(self, using: str) -> bool:
        return using == self.using

    def ensure_collection(self, collection: CollectionRef) -> None:
        with atomically(self.using, collection):
            if self._dimensions(collection) is None:
                # CREATE … IF NOT EXISTS still fails when two create at once.
                self._execute("SELECT pg_advisory_xact_lock($1::bigint)", _LOCK)
                self._ensure_extension()
                # Collation "C": ids are compared byte by byte, a third faster to write.
                self._execute(
                    f"CREATE TABLE IF NOT EXISTS {collection.name} ("
                    'entity_id text COLLATE "C" NOT NULL, chunk integer NOT NULL, '
                    f"embedding vector({collection.dimensions}) NOT NULL, metadata jsonb, "
                    "PRIMARY KEY (entity_id, chunk))"
                )
            self._require(collection)

    def exists(self, collection: CollectionRef) -> bool:
        with translating(self.using, collection):
            return self._dimensions(collection) is not None

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        vectors = require_batch(self, collection, batch)
        documents = None if batch.metadata is None else dump_metadata(collection, batch.metadata)
        rows = max(1, _STATEMENT_BYTES // (4 * collection.dimensions))
        connection = self._connection()
        try:
            with atomically(self.using, collection):
                for start in range(0, len(batch), rows):
                    part = slice(start, start + rows)
                    self._upsert(
                        collection,
                        batch.entity_ids[part],
                        batch.chunks[part],
                        vectors[part],
                        None if documents is None else documents[part],
                    )
        except StoreError:
            # The extension may have been created anew, with another oid.
            _vector_oids.pop(connection.connection, None)
            raise

    def _upsert(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        chunks: Sequence[int],
        vectors: Vectors,
        documents: Sequence[str] | None,
    ) -> None:
        from ai_migration.models.sql.raw import Int4Array, JsonbArray, TextArray, VectorArray

        params: list[Any] = [
            TextArray(entity_ids),
            Int4Array(chunks),
            VectorArray(vectors, self._vector_oid()),
        ]
        if documents is not None:
            params.append(JsonbArray(documents))
        # Set-returning functions of the select list run in step and stream their rows; in
        # FROM they would be written to a temporary file first.
        self._execute(
            f"INSERT INTO {collection.name} (entity_id, chunk, embedding, metadata) "
            "SELECT unnest($1::text[]), unnest($2::int[]), unnest($3::vector[]), "
            f"{'NULL::jsonb' if documents is None else 'unnest($4::jsonb[])'} "
            "ON CONFLICT (entity_id, chunk) DO UPDATE "
            "SET embedding = excluded.embedding, metadata = excluded.metadata",
            *params,
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
            self._connection()
            from ai_migration.models.sql.raw import JsonbArray, TextArray

            self._execute(
                f"UPDATE {collection.name} AS old SET metadata = new.metadata FROM "
                "(SELECT unnest($1::text[]) AS entity_id, unnest($2::jsonb[]) AS metadata) AS new "
                "WHERE old.entity_id = new.entity_id",
                TextArray(entity_ids),
                JsonbArray(documents),
            )

    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        require_ids(collection, entity_ids)
        with atomically(self.using, collection):
            self._connection()
            from ai_migration.models.sql.raw import TextArray

            self._execute(
                f"DELETE FROM {collection.name} WHERE entity_id = ANY($1::text[])",
                TextArray(entity_ids),
            )

    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        row = np.dtype([("header", ">i4"), ("vector", ">f4", (collection.dimensions,))])
        with translating(self.using, collection):
            self._require(collection)
        after = ("", -1)
        while True:
            with translating(self.using, collection):
                rows = self._execute(
                    f"SELECT entity_id, chunk, embedding, metadata::text FROM {collection.name} "
                    "WHERE (entity_id, chunk) > ($1::text, $2::int) "
                    "ORDER BY entity_id, chunk LIMIT $3::bigint",
                    *after,
                    page_size,
                    binary=True,
                )
            if rows:
                packed = np.frombuffer(b"".join([row[2] for row in rows]), dtype=row)
                yield VectorBatch(
                    [row[0] for row in rows],
                    [row[1] for row in rows],
                    packed["vector"].astype(np.float32),
                    load_metadata([row[3] for row in rows]),
                )
            if len(rows) < page_size:
                return
            after = (rows[-1][0], rows[-1][1])

    def count(self, collection: CollectionRef) -> int:
        with translating(self.using, collection):
            if self._dimensions(collection) is None:
                return 0
            return int(self._execute(f"SELECT count(*) FROM {collection.name}")[0][0])

    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        query = require_vectors(self, collection, vector)
        if limit < 1:
            return []
        with atomically(self.using, collection):
            self._require(collection)
            self._execute(
                "SELECT set_config('hnsw.ef_search', $1::text, true), "
                "set_config('hnsw.iterative_scan', 'strict_order', true)",
                str(min(1000, max(self._ef_search, limit))),
            )
            rows = self._nearest(collection, query, limit, filters or {}, exact=False)
            if len(rows) < limit:
                rows = self._nearest(collection, query, limit, filters or {}, exact=True)
        return [
            StoreHit(entity_id, chunk, self._score(distance), json.loads(document or "{}"))
            for entity_id, chunk, distance, document in rows
        ]

    def _nearest(
        self,
        collection: CollectionRef,
        query: Vectors,
        limit: int,
        filters: Mapping[str, JSONValue],
        *,
        exact: bool,
    ) -> list[Any]:
        params: list[Any] = [str(query.tolist()), limit]
        conditions = []
        if filters:
            params += dump_metadata(collection, [filters])
            conditions.append(f"metadata @> ${len(params)}::jsonb")
        for name, value in filters.items():
            if isinstance(value, dict | list):  # @> would accept more than what is equal
                params += [name, *dump_metadata(collection, [{"": value}])]
                conditions.append(
                    f"metadata -> ${len(params) - 1}::text = ${len(params)}::jsonb -> ''"
                )
        distance = f"embedding {_DISTANCE[self.metric]} $1::vector"
        return self._execute(
            f"SELECT entity_id, chunk, {distance} AS distance, metadata::text "
            f"FROM {collection.name} "
            + (f"WHERE {' AND '.join(conditions)} " if conditions else "")
            # An index never matches a sum.
            + f"ORDER BY {f'({distance}) + 0' if exact else distance} LIMIT $2::bigint",
            *params,
        )

    def _score(self, distance: float) -> float:
        if self.metric is Metric.L2:
            return 1.0 / (1.0 + distance)
        if self.metric is Metric.INNER_PRODUCT:
            return -distance
        return 0.0 if np.isnan(distance) else 1.0 - distance  # NaN: a vector without direction

    def drop_collection(self, collection: CollectionRef) -> None:
        with atomically(self.using, collection):
            self._execute(f"DROP TABLE IF EXISTS {collection.name}")

    def optimize(self, collection: CollectionRef) -> None:
        """Build the HNSW index, unless it is there or being built.

        Writers go on meanwhile, where no transaction is open.
        """
        if collection.dimensions > hnsw.MAX_DIMENSIONS:
            logger.warning(
                "%s has %d dimensions and HNSW takes at most %d: searches stay exact, "
                "and slow down as the collection grows",
                collection.name,
                collection.dimensions,
                hnsw.MAX_DIMENSIONS,
            )
            return
        with translating(self.using, collection):
            self._require(collection)
            hnsw.build(self._connection(), collection, self._index)

    def check(self) -> list[CheckMessage]:
        if importlib.util.find_spec("psycopg") is None:
            error = MissingDependencyError("psycopg", "pgvector", "PgVectorStore")
            return [Error(error.message, id="ai_migration.E111")]
        if self.using not in connections or connections[self.using].vendor != "postgresql":
            return [Error(self._no_postgresql(), id="ai_migration.E112")]
        return []

    def _require(self, collection: CollectionRef) -> None:
        """Refuse a collection that does not exist, or has other dimensions."""
        dimensions = self._dimensions(collection)
        if dimensions is None:
            raise missing(collection)
        if dimensions != collection.dimensions:
            raise other_dimensions(collection, dimensions)

    def _dimensions(self, collection: CollectionRef) -> int | None:
        rows = self._execute(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass($1::text) "
            "AND attname = 'embedding'",
            collection.name,
        )
        return int(rows[0][0]) if rows else None

    def _ensure_extension(self) -> None:
        [[found]] = self._execute("SELECT to_regtype('vector') IS NOT NULL")
        if found:
            return
        try:
            with translating(self.using, CollectionRef(0, "", 0)):
                self._execute("CREATE EXTENSION IF NOT EXISTS vector")
        except StoreError as error:
            raise StoreError(
                f"The database {self.using!r} has no pgvector, and creating the extension "
                f"failed ({error.__cause__}). Install pgvector on the server, then as a "
                f"superuser run in this database: CREATE EXTENSION vector"
            ) from error

    def _vector_oid(self) -> int:
        connection = self._connection()
        connection.ensure_connection()
        oid = _vector_oids.get(connection.connection)
        if oid is None:
            [[oid]] = self._execute("SELECT to_regtype('vector')::oid::bigint")
            _vector_oids[connection.connection] = oid or 0
        return oid or 0

    def _execute(self, sql: str, *params: Any, binary: bool = False) -> list[Any]:
        connection = self._connection()
        from ai_migration.models.sql.raw import execute_raw

        cursor = execute_raw(connection, sql, params, binary=binary)
        return cursor.fetchall() if cursor.description else []

    def _connection(self) -> BaseDatabaseWrapper:
        if self.using not in connections or connections[self.using].vendor != "postgresql":
            raise StoreError(self._no_postgresql())
        return connections[self.using]

    def _no_postgresql(self) -> str:
        return (
            f"PgVectorStore needs a PostgreSQL database, and the alias {self.using!r} is none. "
            f"Set its option 'using' to one that is, or use DatabaseStore."
        )
