"""Bulk reads and writes of ``ai_vectors``. Payloads are JSON documents, vectors little-endian
float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.dialects.base import NO_CHUNK, VectorColumns
from ai_migration.models.vectors import StoredVector
from ai_migration.types import Vectors

STATEMENT_BYTES = 16 << 20
"""Vectors in one statement, at most: drivers hold a parameter several times over."""

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
    """Write vectors; an existing one is replaced with its payload.

    Args:
        using: Database alias; a transaction is open.
        collection_id: The collection.
        entity_ids: Entity of each vector, length n.
        chunks: Chunk number of each vector, length n.
        vectors: float32, shape ``(n, dimensions)``.
        documents: Payload of each vector; None: none has any.
    """
    database = dialect(using)
    rows = max(1, STATEMENT_BYTES // max(1, vectors.shape[1] * 4))
    for start in range(0, len(entity_ids), rows):
        part = slice(start, start + rows)
        batch = VectorColumns(
            entity_ids[part],
            chunks[part],
            vectors[part].astype("<f4", copy=False),
            None if documents is None else documents[part],
        )
        database.upsert_vectors(collection_id, batch)


def as_array(rows: Sequence[Row], dimensions: int) -> Vectors:
    """Return the vectors of these rows, shape ``(len(rows), dimensions)``."""
    packed = b"".join([row[2] for row in rows])
    return np.frombuffer(packed, dtype="<f4").astype(np.float32).reshape(len(rows), dimensions)


def mark(using: str, collection_id: int, dimensions: int) -> None:
    """Record that the collection exists, unless that is recorded already."""
    StoredVector.objects.using(using).get_or_create(
        collection_id=collection_id,
        entity_id="",
        chunk=NO_CHUNK,
        defaults={"vector": b"", "metadata": {"dimensions": dimensions}},
    )


def marked_dimensions(using: str, collection_id: int) -> int | None:
    """Return the recorded dimensions of the collection; None: it does not exist."""
    marks = StoredVector.objects.using(using).filter(
        collection_id=collection_id, entity_id="", chunk=NO_CHUNK
    )
    payload: Any = marks.values_list("metadata", flat=True).first()
    return payload and int(payload["dimensions"])
