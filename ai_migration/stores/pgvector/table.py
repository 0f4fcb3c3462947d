"""The statements of ``PgVectorStore``: one table per collection, on psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ai_migration.models.sql.arrays import Int4Array, JsonbArray, TextArray, VectorArray
from ai_migration.models.sql.raw import execute_raw
from ai_migration.stores._support import dump_metadata, load_metadata, values_of
from ai_migration.stores.pgvector.building import Server
from ai_migration.stores.pgvector.precision import PRECISIONS, Precision
from ai_migration.types import (
    CollectionRef,
    JSONValue,
    Metric,
    VectorBatch,
    VectorKey,
    Vectors,
)

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

STATEMENT_BYTES = 16 << 20
"""Vectors in one statement, at most: the driver holds several copies of a parameter."""

FEW_VALUES = 100
"""Values of one filter that the index of the payloads is asked for one by one, at most."""

_LOCK = 0x61695F76
"""Advisory lock for creating the extension or a table."""

_DISTANCE = {Metric.COSINE: "<=>", Metric.INNER_PRODUCT: "<#>", Metric.L2: "<->"}


class Column(NamedTuple):
    """The column of a table's vectors; ``extension`` is the schema its type is in, quoted."""

    precision: Precision
    dimensions: int
    extension: str


class PgVectorTable:
    """The table of one collection.

    Args:
        connection: Django's connection to a PostgreSQL database.
        collection: Names the table and says how long the vectors are.
        extension: The schema pgvector's types and operators are in, quoted, which need not be
            on the search path; empty: not known yet.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, collection: CollectionRef, extension: str = ""
    ) -> None:
        self.connection = connection
        self.collection = collection
        self.extension = extension
        self.name = collection.name

    def column(self) -> Column | None:
        """Return the column of the table's vectors; None: there is no table."""
        rows = self.execute(
            "SELECT typname, atttypmod, quote_ident(nspname) FROM pg_attribute "
            "JOIN pg_type ON pg_type.oid = atttypid "
            "JOIN pg_namespace ON pg_namespace.oid = typnamespace "
            "WHERE attrelid = to_regclass($1::text) AND attname = 'embedding'",
            self.name,
        )
        if not rows:
            return None
        [[kind, dimensions, self.extension]] = rows
        [precision] = [each for each in PRECISIONS.values() if each.type == kind]
        return Column(precision, int(dimensions), self.extension)

    def lock_creation(self) -> None:
        """Take a lock until the transaction ends: CREATE … IF NOT EXISTS fails if two processes
        create the same at once."""
        self.execute("SELECT pg_advisory_xact_lock($1::bigint)", _LOCK)

    def find_extension(self) -> bool:
        """Return whether the extension exists, in any schema."""
        rows = self.execute(
            "SELECT quote_ident(nspname) FROM pg_extension "
            "JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'vector'"
        )
        self.extension = rows[0][0] if rows else ""
        return bool(rows)

    def create_extension(self) -> None:
        """Create the extension, which needs the right to do so; in ``public`` if possible, as the
        first schema of the search path may be a tenant's, and be dropped with the tenant."""
        rows = self.execute(
            "SELECT 1 FROM pg_namespace WHERE nspname = 'public' "
            "AND has_schema_privilege(oid, 'CREATE')"
        )
        where = " SCHEMA public" if rows else ""
        self.execute(f"CREATE EXTENSION IF NOT EXISTS vector{where}")
        self.find_extension()

    def type_of(self, precision: Precision) -> str:
        """Return the name of the type of a precision, with its schema."""
        return f"{self.extension}.{precision.type}"

    def create(self, precision: Precision) -> None:
        """Create the table. Collation "C": ids are compared byte by byte, which makes
        writing a third faster."""
        dimensions = int(self.collection.dimensions)
        self.execute(
            f"CREATE TABLE IF NOT EXISTS {self.name} ("
            'entity_id text COLLATE "C" NOT NULL, chunk integer NOT NULL, '
            f"embedding {self.type_of(precision)}({dimensions}) NOT NULL, metadata jsonb, "
            "PRIMARY KEY (entity_id, chunk))"
        )

    def is_own_session(self) -> bool:
        """Return whether settings of the session stay with this connection. A pooler in between
        makes up the number of the process that serves a client, because it changes."""
        [[served_by]] = self.execute("SELECT pg_backend_pid()")
        return bool(served_by == self.connection.connection.info.backend_pid)

    def extension_version(self) -> tuple[int, ...]:
        """Return the version of pgvector: ``(0, 8, 2)``; empty: it is not there."""
        rows = self.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        return tuple(map(int, re.findall(r"\d+", rows[0][0]))) if rows else ()

    def server(self) -> Server:
        """Return the server's settings for building an index."""
        [row] = self.execute(
            "SELECT pg_size_bytes(current_setting('maintenance_work_mem')), "
            "current_setting('max_parallel_maintenance_workers')::int, "
            "current_setting('max_parallel_workers')::int, "
            "inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()"
        )
        return Server(*row)

    def drop(self) -> None:
        """Remove the table."""
        self.execute(f"DROP TABLE IF EXISTS {self.name}")

    def upsert(
        self,
        entity_ids: Sequence[str],
        chunks: Sequence[int],
        vectors: Vectors,
        documents: Sequence[str] | None,
        precision: Precision,
    ) -> None:
        """Write vectors, in one statement unless they are very large.

        Args:
            precision: The precision of the parameters: the table's, or a higher one.
        """
        source = (
            f"unnest($1::text[]), unnest($2::int[]), unnest($3::{self.type_of(precision)}[]), "
            + ("NULL::jsonb" if documents is None else "unnest($4::jsonb[])")
        )
        rows = max(1, STATEMENT_BYTES // (precision.element.itemsize * vectors.shape[1]))
        for start in range(0, len(entity_ids), rows):
            part = slice(start, start + rows)
            payloads = () if documents is None else (JsonbArray(documents[part]),)
            # Set-returning functions of the select list run in step and stream their rows;
            # in FROM they would be written to a temporary file first.
            self.execute(
                f"INSERT INTO {self.name} (entity_id, chunk, embedding, metadata) "
                f"SELECT {source} ON CONFLICT (entity_id, chunk) DO UPDATE "
                "SET embedding = excluded.embedding, metadata = excluded.metadata",
                TextArray(entity_ids[part]),
                Int4Array(chunks[part]),
                VectorArray(vectors[part], precision.element),
                *payloads,
            )

    def update_metadata(self, entity_ids: Sequence[str], documents: Sequence[str]) -> None:
        """Replace the payload of all vectors of each entity."""
        self.execute(
            f"UPDATE {self.name} AS old SET metadata = new.metadata FROM "
            "(SELECT unnest($1::text[]) AS entity_id, unnest($2::jsonb[]) AS metadata) AS new "
            "WHERE old.entity_id = new.entity_id",
            TextArray(entity_ids),
            JsonbArray(documents),
        )

    def delete(self, entity_ids: Sequence[str]) -> None:
        """Remove all vectors of these entities."""
        self.execute(
            f"DELETE FROM {self.name} WHERE entity_id = ANY($1::text[])", TextArray(entity_ids)
        )

    def count(self) -> int:
        """Return the number of vectors."""
        return int(self.execute(f"SELECT count(*) FROM {self.name}")[0][0])

    def has_more_than(self, vectors: int) -> bool:
        """Return whether there are more vectors than that, without counting all."""
        found = f"SELECT FROM {self.name} LIMIT $1::bigint"
        [[count]] = self.execute(f"SELECT count(*) FROM ({found}) AS found", vectors + 1)
        return bool(count > vectors)

    def has_metadata(self) -> bool:
        """Return whether any vector has a payload."""
        found = f"SELECT EXISTS (SELECT 1 FROM {self.name} WHERE metadata IS NOT NULL)"
        return bool(self.execute(found)[0][0])

    def page(self, after: tuple[str, int], limit: int) -> list[tuple[str, int, bytes, str | None]]:
        """Return the rows that follow ``after``: entity, chunk, binary vector, payload."""
        return self.execute(
            f"SELECT entity_id, chunk, embedding, metadata::text FROM {self.name} "
            "WHERE (entity_id, chunk) > ($1::text, $2::int) "
            "ORDER BY entity_id, chunk LIMIT $3::bigint",
            *after,
            limit,
            binary=True,
        )

    def vectors_of(self, entity_ids: Sequence[str]) -> list[tuple[str, int, bytes, str | None]]:
        """Return the rows of these entities, as :meth:`page` does."""
        return self.execute(
            f"SELECT entity_id, chunk, embedding, metadata::text FROM {self.name} "
            "WHERE entity_id = ANY($1::text[])",
            TextArray(entity_ids),
            binary=True,
        )

    def keys(self, after: tuple[str, int], limit: int) -> list[VectorKey]:
        """Return entity and chunk of the rows that follow ``after``."""
        return self.execute(
            f"SELECT entity_id, chunk FROM {self.name} "
            "WHERE (entity_id, chunk) > ($1::text, $2::int) "
            "ORDER BY entity_id, chunk LIMIT $3::bigint",
            *after,
            limit,
        )

    def as_batch(
        self, rows: Sequence[tuple[str, int, bytes, str | None]], precision: Precision
    ) -> VectorBatch:
        """Return the rows of :meth:`page` as a batch."""
        return VectorBatch(
            [row[0] for row in rows],
            [row[1] for row in rows],
            self.as_array([row[2] for row in rows], precision),
            load_metadata([row[3] for row in rows]),
        )

    def as_array(self, vectors: Sequence[bytes], precision: Precision) -> Vectors:
        """Return the binary vectors of :meth:`page` as an array, shape ``(n, dimensions)``."""
        kind = [("header", ">i4"), ("elements", precision.element, (self.collection.dimensions,))]
        return np.frombuffer(b"".join(vectors), dtype=kind)["elements"].astype(np.float32)

    def matching(self, filters: Mapping[str, JSONValue], at_most: int) -> int:
        """Count the vectors that match the filters, up to ``at_most``."""
        where, params = self._where(filters)
        found = f"SELECT FROM {self.name} {where} LIMIT ${len(params) + 1}::bigint"
        return int(self.execute(f"SELECT count(*) FROM ({found}) AS found", *params, at_most)[0][0])

    def nearest(
        self,
        metric: Metric,
        query: Vectors,
        limit: int,
        filters: Mapping[str, JSONValue],
        precision: Precision,
        *,
        candidates: int | None,
    ) -> list[tuple[str, int, float, str | None]]:
        """Return entity, chunk, distance and payload of the nearest vectors, nearest first.

        Args:
            candidates: The matches to take from the index, of which the nearest are returned; None:
                every vector that matches is compared.
        """
        where, params = self._where(filters)
        operator = f"OPERATOR({self.extension}.{_DISTANCE[metric]})"
        distance = f"embedding {operator} ${len(params) + 1}::{self.type_of(precision)}"
        if candidates is None:
            distance = f"({distance}) + 0"  # an index never matches a sum
        # The sum in the end makes it sort: the planner takes an index to be in order, and a scan in
        # relaxed order is only nearly so.
        return self.execute(
            "SELECT entity_id, chunk, distance, metadata::text FROM ("
            f"SELECT entity_id, chunk, {distance} AS distance, metadata FROM {self.name} {where} "
            f"ORDER BY distance LIMIT ${len(params) + 2}::bigint) AS candidates "
            f"ORDER BY distance + 0 LIMIT ${len(params) + 3}::bigint",
            *params,
            str(query.tolist()),
            candidates or limit,
            limit,
        )

    def _where(self, filters: Mapping[str, JSONValue]) -> tuple[str, list[Any]]:
        """Return the filters as a clause, with its parameters, which are the first of a
        statement."""
        params: list[Any] = []
        conditions = [
            self._condition(name, values, params) for name, values in values_of(filters).items()
        ]
        return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), params

    def _condition(self, name: str, values: Sequence[JSONValue], params: list[Any]) -> str:
        """Return the condition that a field has one of these values, and add its parameters. The
        index of the payloads serves ``@>``; it accepts more than what is equal, if not a scalar."""

        def contains(value: JSONValue) -> str:
            params.extend(dump_metadata(self.collection, [{name: value}]))
            return f"metadata @> ${len(params)}::jsonb"

        is_scalar = not any(isinstance(value, dict | list) for value in values)
        conditions = []
        if len(values) == 1 or (is_scalar and 0 < len(values) <= FEW_VALUES):
            conditions.append(f"({' OR '.join(map(contains, values))})")
        if not (conditions and is_scalar):
            params += [name, *dump_metadata(self.collection, [{"": values}])]
            conditions.append(
                f"metadata -> ${len(params) - 1}::text IN "
                f"(SELECT jsonb_array_elements(${len(params)}::jsonb -> ''))"
            )
        return " AND ".join(conditions)

    def execute(self, sql: str, *params: Any, binary: bool = False) -> list[Any]:
        """Run one statement, and return its rows; see
        :func:`~ai_migration.models.sql.raw.execute_raw`."""
        cursor = execute_raw(self.connection, sql, params, binary=binary)
        return cursor.fetchall() if cursor.description else []
