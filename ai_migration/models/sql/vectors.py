"""Bulk reads and writes of ``ai_vectors``.

PostgreSQL takes a batch as binary arrays in one statement, MySQL and MariaDB as a JSON
document, SQLite as ``executemany``. Payloads are JSON documents, vectors little-endian float32.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from django.db import connections

from ai_migration.models.sql.json_rows import ENTITY_ID, TEXT, execute_rows
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
    write = {"postgresql": _upsert_postgresql, "mysql": _upsert_mysql}.get(
        connections[using].vendor, _upsert_sqlite
    )
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


def _upsert_mysql(
    using: str,
    collection_id: int,
    entity_ids: Sequence[str],
    chunks: Sequence[int],
    vectors: Vectors,
    documents: Sequence[str] | None,
) -> None:
    execute_rows(
        using,
        "INSERT INTO ai_vectors (collection_id, entity_id, chunk, `vector`, metadata) "
        "SELECT %(collection)s, t.entity_id, t.chunk, FROM_BASE64(t.packed), t.document "
        "FROM {rows} ON DUPLICATE KEY UPDATE "
        "`vector` = FROM_BASE64(t.packed), metadata = t.document",
        {"entity_id": ENTITY_ID, "chunk": "bigint", "packed": TEXT, "document": TEXT},
        (
            (entity_id, chunk, b64encode(packed).decode(), document)
            for entity_id, chunk, packed, document in _rows(entity_ids, chunks, vectors, documents)
        ),
        collection=collection_id,
    )


def _upsert_sqlite(
    using: str,
    collection_id: int,
    entity_ids: Sequence[str],
    chunks: Sequence[int],
    vectors: Vectors,
    documents: Sequence[str] | None,
) -> None:
    with connections[using].cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ai_vectors (collection_id, entity_id, chunk, vector, metadata) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (collection_id, entity_id, chunk) "
            "DO UPDATE SET vector = excluded.vector, metadata = excluded.metadata",
            [(collection_id, *row) for row in _rows(entity_ids, chunks, vectors, documents)],
        )


def _rows(
    entity_ids: Sequence[str],
    chunks: Sequence[int],
    vectors: Vectors,
    documents: Sequence[str] | None,
) -> Iterator[tuple[str, int, bytes, str | None]]:
    packed, width = vectors.tobytes(), vectors.shape[1] * 4
    texts = repeat(None) if documents is None else documents
    for i, (entity_id, chunk, document) in enumerate(zip(entity_ids, chunks, texts, strict=False)):
        yield entity_id, int(chunk), packed[i * width : (i + 1) * width], document


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
    if connections[using].vendor == "mysql":
        execute_rows(
            using,
            "UPDATE ai_vectors AS v JOIN {rows} ON v.entity_id = t.entity_id "
            "SET v.metadata = t.document WHERE v.collection_id = %(collection)s "
            f"AND v.chunk <> {NO_CHUNK}",
            {"entity_id": ENTITY_ID, "document": TEXT},
            zip(entity_ids, documents, strict=True),
            collection=collection_id,
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
    if connections[using].vendor == "mysql":
        execute_rows(
            using,
            "DELETE v FROM ai_vectors AS v JOIN {rows} ON v.entity_id = t.entity_id "
            f"WHERE v.collection_id = %(collection)s AND v.chunk <> {NO_CHUNK}",
            {"entity_id": ENTITY_ID},
            ([entity_id] for entity_id in entity_ids),
            collection=collection_id,
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
    # MySQL takes no comparison of pairs for a range of an index: the first part says it again.
    where = (
        "FROM ai_vectors WHERE collection_id = {} AND entity_id >= {} "
        "AND (entity_id, chunk) > ({}, {}) "
        f"AND chunk <> {NO_CHUNK} ORDER BY entity_id, chunk LIMIT {{}}"
    )
    params = (collection_id, after[0], *after, limit)
    if _is_postgresql(using):
        from ai_migration.models.sql.raw import execute_raw

        # Binary: the vectors would come as hexadecimal text otherwise.
        sql = "SELECT entity_id, chunk, vector, metadata::text " + where.format(
            "$1::bigint", "$2::text", "$3::text", "$4::int", "$5::bigint"
        )
        rows: list[Any] = execute_raw(connections[using], sql, params, binary=True).fetchall()
        return rows
    name = connections[using].ops.quote_name("vector")
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT entity_id, chunk, {name}, metadata " + where.format(*["%s"] * 5), params
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
