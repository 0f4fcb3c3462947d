"""The statements of ``PgVectorStore``: one table per collection, on psycopg 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_migration.models.sql.raw import (
    Int4Array,
    JsonbArray,
    TextArray,
    VectorArray,
    execute_raw,
)
from ai_migration.stores._support import dump_metadata
from ai_migration.types import CollectionRef, JSONValue, Metric, Vectors

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

STATEMENT_BYTES = 16 << 20
"""Vectors in one statement, at most: the driver holds a parameter several times over."""

_LOCK = 0x61695F76
"""Advisory lock of those who create the extension or a table."""

_DISTANCE = {Metric.COSINE: "<=>", Metric.INNER_PRODUCT: "<#>", Metric.L2: "<->"}


class PgVectorTable:
    """The table of one collection.

    Args:
        connection: Django's connection to a PostgreSQL database.
        collection: Names the table and says how long the vectors are.
    """

    def __init__(self, connection: BaseDatabaseWrapper, collection: CollectionRef) -> None:
        self.connection = connection
        self.collection = collection
        self.name = collection.name

    def dimensions(self) -> int | None:
        """The dimensions of the table's vectors; None: there is no table."""
        rows = self._execute(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass($1::text) "
            "AND attname = 'embedding'",
            self.name,
        )
        return int(rows[0][0]) if rows else None

    def lock_creation(self) -> None:
        """Until the transaction ends: CREATE … IF NOT EXISTS still fails when two create
        the same at once."""
        self._execute("SELECT pg_advisory_xact_lock($1::bigint)", _LOCK)

    def has_extension(self) -> bool:
        """Whether the type ``vector`` is there and on the search path."""
        return bool(self._execute("SELECT to_regtype('vector') IS NOT NULL")[0][0])

    def create_extension(self) -> None:
        """Create the extension; needs the right to."""
        self._execute("CREATE EXTENSION IF NOT EXISTS vector")

    def create(self) -> None:
        """Create the table. Collation "C": ids are compared byte by byte, which makes
        writing a third faster."""
        self._execute(
            f"CREATE TABLE IF NOT EXISTS {self.name} ("
            'entity_id text COLLATE "C" NOT NULL, chunk integer NOT NULL, '
            f"embedding vector({int(self.collection.dimensions)}) NOT NULL, metadata jsonb, "
            "PRIMARY KEY (entity_id, chunk))"
        )

    def drop(self) -> None:
        """Remove the table."""
        self._execute(f"DROP TABLE IF EXISTS {self.name}")

    def upsert(
        self,
        entity_ids: Sequence[str],
        chunks: Sequence[int],
        vectors: Vectors,
        documents: Sequence[str] | None,
    ) -> None:
        """Write vectors, in one statement unless they are very large."""
        source = "unnest($1::text[]), unnest($2::int[]), unnest($3::vector[]), " + (
            "NULL::jsonb" if documents is None else "unnest($4::jsonb[])"
        )
        rows = max(1, STATEMENT_BYTES // (4 * vectors.shape[1]))
        for start in range(0, len(entity_ids), rows):
            part = slice(start, start + rows)
            payloads = () if documents is None else (JsonbArray(documents[part]),)
            # Set-returning functions of the select list run in step and stream their rows;
            # in FROM they would be written to a temporary file first.
            self._execute(
                f"INSERT INTO {self.name} (entity_id, chunk, embedding, metadata) "
                f"SELECT {source} ON CONFLICT (entity_id, chunk) DO UPDATE "
                "SET embedding = excluded.embedding, metadata = excluded.metadata",
                TextArray(entity_ids[part]),
                Int4Array(chunks[part]),
                VectorArray(vectors[part]),
                *payloads,
            )

    def update_metadata(self, entity_ids: Sequence[str], documents: Sequence[str]) -> None:
        """Replace the payload of all vectors of each entity."""
        self._execute(
            f"UPDATE {self.name} AS old SET metadata = new.metadata FROM "
            "(SELECT unnest($1::text[]) AS entity_id, unnest($2::jsonb[]) AS metadata) AS new "
            "WHERE old.entity_id = new.entity_id",
            TextArray(entity_ids),
            JsonbArray(documents),
        )

    def delete(self, entity_ids: Sequence[str]) -> None:
        """Remove all vectors of these entities."""
        self._execute(
            f"DELETE FROM {self.name} WHERE entity_id = ANY($1::text[])", TextArray(entity_ids)
        )

    def count(self) -> int:
        """How many vectors there are."""
        return int(self._execute(f"SELECT count(*) FROM {self.name}")[0][0])

    def page(self, after: tuple[str, int], limit: int) -> list[tuple[str, int, bytes, str | None]]:
        """The rows that follow ``after``: entity, chunk, binary vector, payload."""
        return self._execute(
            f"SELECT entity_id, chunk, embedding, metadata::text FROM {self.name} "
            "WHERE (entity_id, chunk) > ($1::text, $2::int) "
            "ORDER BY entity_id, chunk LIMIT $3::bigint",
            *after,
            limit,
            binary=True,
        )

    def as_array(self, vectors: Sequence[bytes]) -> Vectors:
        """Binary vectors of :meth:`page`, shape ``(n, dimensions)``."""
        kind = [("header", ">i4"), ("elements", ">f4", (self.collection.dimensions,))]
        return np.frombuffer(b"".join(vectors), dtype=kind)["elements"].astype(np.float32)

    def prepare_search(self, ef_search: int) -> None:
        """Until the transaction ends: consider so many candidates, and go on looking while
        fewer are found than asked for."""
        self._execute(
            "SELECT set_config('hnsw.ef_search', $1::text, true), "
            "set_config('hnsw.iterative_scan', 'strict_order', true)",
            str(ef_search),
        )

    def nearest(
        self,
        metric: Metric,
        query: Vectors,
        limit: int,
        filters: Mapping[str, JSONValue],
        *,
        exact: bool,
    ) -> list[tuple[str, int, float, str | None]]:
        """Entity, chunk, distance and payload of the nearest vectors, nearest first."""
        params: list[Any] = [str(query.tolist()), limit]
        conditions = []
        if filters:
            params += dump_metadata(self.collection, [filters])
            conditions.append(f"metadata @> ${len(params)}::jsonb")
        for name, value in filters.items():
            if isinstance(value, dict | list):  # @> accepts more than what is equal
                params += [name, *dump_metadata(self.collection, [{"": value}])]
                conditions.append(
                    f"metadata -> ${len(params) - 1}::text = ${len(params)}::jsonb -> ''"
                )
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        distance = f"embedding {_DISTANCE[metric]} $1::vector"
        order = f"({distance}) + 0" if exact else distance  # an index never matches a sum
        return self._execute(
            f"SELECT entity_id, chunk, {distance}, metadata::text FROM {self.name} "
            f"{where}ORDER BY {order} LIMIT $2::bigint",
            *params,
        )

    def _execute(self, sql: str, *params: Any, binary: bool = False) -> list[Any]:
        cursor = execute_raw(self.connection, sql, params, binary=binary)
        return cursor.fetchall() if cursor.description else []
