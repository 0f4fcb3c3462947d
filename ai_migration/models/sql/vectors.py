"""Bulk reads and writes of ``ai_vectors``.

PostgreSQL takes a batch as binary arrays in one statement; any other database as
``executemany``. Payloads are JSON documents, vectors little-endian float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db import connections
from django.db.models.constants import OnConflict

from ai_migration.models.vectors import StoredVector
from ai_migration.types import Vectors

STATEMENT_BYTES = 16 << 20
"""Vectors in one statement, at most: drivers hold a parameter several times over."""

NO_CHUNK = 2**31 - 1
"""Chunk number of the row that says that a collection exists, empty or not."""

Row = tuple[str, int, bytes, Any]
"""Entity id, chunk, vector, payload."""


def upsert(
    using: str,
    collection_id: int,
    entity_ids: Sequence[str],
    chunks: Sequence[int],
    vectors: Vectors,
    documents: Sequence[str] | None,
) -> None:
    """Write vectors; one that is there is replaced with its payload.

    Args:
        using: Database alias; a transaction is open.
        collection_id: The collection.
        entity_ids: Entity of each vector, length n.
        chunks: Chunk number of each vector, length n.
        vectors: float32, shape ``(n, dimensions)``.
        documents: Payload of each vector; None: none has any.
    """
    write = _upsert_postgresql if _is_postgresql(using) else _upsert_portable
    rows = max(1, STATEMENT_BYTES // max(1, vectors.shape[1] * 4))
    for start in range(0, len(entity_ids), rows):
        part = slice(start, start + rows)
        write(
            using,
            collection_id,
            entity_ids[part],
            chunks[part],
            vectors[part].astype("<f4", copy=False),
            None if documents is None else documents[part],
        )


def _upsert_postgresql(
    using: str,
    collection_id: int,
    entity_ids: Sequence[str],
    chunks: Sequence[int],
    vectors: Vectors,
    documents: Sequence[str] | None,
) -> None:
    from ai_migration.models.sql.raw import (
        ByteaArray,
        Int4Array,
        JsonbArray,
        TextArray,
        execute_raw,
    )

    params: list[Any] = [
        collection_id,
        TextArray(entity_ids),
        Int4Array(chunks),
        ByteaArray(vectors),
    ]
    if documents is not None:
        params.append(JsonbArray(documents))
    # Set-returning functions of the select list run in step and stream their rows; in
    # FROM they would be written to a temporary file first.
    execute_raw(
        connections[using],
        "INSERT INTO ai_vectors (collection_id, entity_id, chunk, vector, metadata) "
        "SELECT $1::bigint, unnest($2::text[]), unnest($3::int[]), unnest($4::bytea[]), "
        f"{'NULL::jsonb' if documents is None else 'unnest($5::jsonb[])'} "
        "ON CONFLICT (collection_id, entity_id, chunk) DO UPDATE "
        "SET vector = excluded.vector, metadata = excluded.metadata",
        params,
    )


def _upsert_portable(
    using: str,
    collection_id: int,
    entity_ids: Sequence[str],
    chunks: Sequence[int],
    vectors: Vectors,
    documents: Sequence[str] | None,
) -> None:
    ops = connections[using].ops
    columns = ["collection_id", "entity_id", "chunk", "vector", "metadata"]
    replace = ops.on_conflict_suffix_sql(columns, OnConflict.UPDATE, columns[3:], columns[:3])
    names = ", ".join(map(ops.quote_name, columns))
    packed, width = vectors.tobytes(), vectors.shape[1] * 4
    rows = [
        (collection_id, entity_id, int(chunk), packed[start : start + width], document)
        for entity_id, chunk, start, document in zip(
            entity_ids,
            chunks,
            range(0, len(packed), width),
            [None] * len(entity_ids) if documents is None else documents,
            strict=True,
        )
    ]
    with connections[using].cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO ai_vectors ({names}) VALUES (%s, %s, %s, %s, %s) {replace}", rows
        )


def update_metadata(
    using: str, collection_id: int, entity_ids: Sequence[str], documents: Sequence[str]
) -> None:
    """Replace the payload of all vectors of each entity."""
    if not entity_ids:
        return
    if _is_postgresql(using):
        from ai_migration.models.sql.raw import JsonbArray, TextArray, execute_raw

        execute_raw(
            connections[using],
            "UPDATE ai_vectors SET metadata = new.metadata FROM "
            "(SELECT unnest($2::text[]) AS entity_id, unnest($3::jsonb[]) AS metadata) AS new "
            "WHERE collection_id = $1::bigint AND ai_vectors.entity_id = new.entity_id "
            f"AND chunk <> {NO_CHUNK}",
            (collection_id, TextArray(entity_ids), JsonbArray(documents)),
        )
        return
    with connections[using].cursor() as cursor:
        cursor.executemany(
            "UPDATE ai_vectors SET metadata = %s WHERE collection_id = %s AND entity_id = %s "
            f"AND chunk <> {NO_CHUNK}",
            [
                (document, collection_id, entity_id)
                for entity_id, document in zip(entity_ids, documents, strict=True)
            ],
        )


def delete(using: str, collection_id: int, entity_ids: Sequence[str]) -> None:
    """Remove all vectors of these entities."""
    if not entity_ids:
        return
    if _is_postgresql(using):
        from ai_migration.models.sql.raw import TextArray, execute_raw

        execute_raw(
            connections[using],
            "DELETE FROM ai_vectors WHERE collection_id = $1::bigint "
            f"AND entity_id = ANY($2::text[]) AND chunk <> {NO_CHUNK}",
            (collection_id, TextArray(entity_ids)),
        )
        return
    with connections[using].cursor() as cursor:
        cursor.executemany(
            "DELETE FROM ai_vectors WHERE collection_id = %s AND entity_id = %s "
            f"AND chunk <> {NO_CHUNK}",
            [(collection_id, entity_id) for entity_id in entity_ids],
        )


def page(using: str, collection_id: int, after: tuple[str, int], limit: int) -> list[Row]:
    """The rows that follow ``after`` in the order of (entity, chunk)."""
    where = (
        "FROM ai_vectors WHERE collection_id = {} AND (entity_id, chunk) > ({}, {}) "
        f"AND chunk <> {NO_CHUNK} ORDER BY entity_id, chunk LIMIT {{}}"
    )
    params = (collection_id, *after, limit)
    if _is_postgresql(using):
        from ai_migration.models.sql.raw import execute_raw

        # Binary: the vectors would come as hexadecimal text otherwise.
        sql = "SELECT entity_id, chunk, vector, metadata::text " + where.format(
            "$1::bigint", "$2::text", "$3::int", "$4::bigint"
        )
        rows: list[Any] = execute_raw(connections[using], sql, params, binary=True).fetchall()
        return rows
    name = connections[using].ops.quote_name("vector")
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT entity_id, chunk, {name}, metadata " + where.format(*["%s"] * 4), params
        )
        return list(cursor.fetchall())


def as_array(rows: Sequence[Row], dimensions: int) -> Vectors:
    """The vectors of these rows, shape ``(len(rows), dimensions)``."""
    packed = b"".join([row[2] for row in rows])
    return np.frombuffer(packed, dtype="<f4").astype(np.float32).reshape(len(rows), dimensions)


def mark(using: str, collection_id: int, dimensions: int) -> None:
    """Note that the collection exists, unless that is noted."""
    StoredVector.objects.using(using).get_or_create(
        collection_id=collection_id,
        entity_id="",
        chunk=NO_CHUNK,
        defaults={"vector": b"", "metadata": {"dimensions": dimensions}},
    )


def marked_dimensions(using: str, collection_id: int) -> int | None:
    """The dimensions the collection was noted with; None: it does not exist."""
    marks = StoredVector.objects.using(using).filter(
        collection_id=collection_id, entity_id="", chunk=NO_CHUNK
    )
    payload: Any = marks.values_list("metadata", flat=True).first()
    return payload and int(payload["dimensions"])


def _is_postgresql(using: str) -> bool:
    return connections[using].vendor == "postgresql"
