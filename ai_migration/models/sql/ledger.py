"""The ledger's bulk reads and writes.

PostgreSQL takes a batch as binary arrays in one statement; SQLite as ``executemany``;
any other database through the ORM. All three obey the same rule: a row whose version is
newer than the reads of the writer stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import connections, transaction

from ai_migration.models.ledger import SearchableEntity

_CHUNK = 500
"""Parameters in one portable statement: below the smallest limit of any database."""

_UPSERT = """
INSERT INTO ai_searchable_entities
    (collection_id, entity_id, content_hash, metadata_hash, chunk_count, version)
{source}
ON CONFLICT (collection_id, entity_id) DO UPDATE SET
    content_hash = excluded.content_hash, metadata_hash = excluded.metadata_hash,
    chunk_count = excluded.chunk_count, version = excluded.version
WHERE ai_searchable_entities.version <= {read_started}
"""


class KnownEntity(NamedTuple):
    """What the ledger has of one entity. ``content_hash`` is empty for a tombstone, and
    where the vectors must be made again whatever the text is."""

    entity_id: str
    content_hash: bytes
    metadata_hash: bytes
    chunk_count: int
    version: int


class LedgerRow(NamedTuple):
    """What the ledger is to know of one entity."""

    entity_id: str
    content_hash: bytes
    metadata_hash: bytes
    chunk_count: int


def lookup(using: str, collection_id: int, entity_ids: Sequence[str]) -> dict[str, KnownEntity]:
    """What the ledger has of these entities, by entity id; unknown ones are absent."""
    if not entity_ids:
        return {}
    connection = connections[using]
    columns = "entity_id, content_hash, metadata_hash, chunk_count, version"
    known = KnownEntity._make
    if connection.vendor == "postgresql":
        from ai_migration.models.sql.raw import TextArray, execute_raw

        cursor = execute_raw(
            connection,
            f"SELECT {columns} FROM ai_searchable_entities "
            "WHERE collection_id = $1 AND entity_id = ANY($2::text[])",
            (collection_id, TextArray(entity_ids)),
            binary=True,
        )
        return {row[0]: known(row) for row in cursor.fetchall()}
    if connection.vendor == "sqlite":
        with connection.cursor() as listed:
            listed.execute(
                f"SELECT {columns} FROM ai_searchable_entities WHERE collection_id = %s "
                "AND entity_id IN (SELECT value FROM json_each(%s))",
                (collection_id, json.dumps(entity_ids)),
            )
            return {row[0]: known(row) for row in listed.fetchall()}
    return {row.entity_id: row for row in _portable_lookup(using, collection_id, entity_ids)}


def _portable_lookup(
    using: str, collection_id: int, entity_ids: Sequence[str]
) -> Iterator[KnownEntity]:
    """The twin for every other database."""
    rows = SearchableEntity.objects.using(using).filter(collection_id=collection_id)
    for start in range(0, len(entity_ids), _CHUNK):
        found = rows.filter(entity_id__in=entity_ids[start : start + _CHUNK]).values_list(
            "entity_id", "content_hash", "metadata_hash", "chunk_count", "version"
        )
        for entity_id, content, metadata, chunks, version in found:
            yield KnownEntity(entity_id, bytes(content), bytes(metadata), chunks, version)


def upsert(
    using: str, collection_id: int, rows: Sequence[LedgerRow], *, read_started: int, version: int
) -> set[str]:
    """Write what was indexed, except where somebody wrote from a newer read.

    Call it inside a transaction, before the vectors are written: it locks the entities.

    Args:
        using: Database alias of our tables.
        collection_id: The collection.
        rows: At most one an entity; written in the order of their ids, so that two
            writers never wait for each other in a circle.
        read_started: When the read these rows come from began, microseconds.
        version: When it ended.

    Returns:
        The entities that were *not* written: the ledger has a newer read of them.
    """
    if not rows:
        return set()
    ordered = sorted(rows, key=lambda row: row.entity_id)
    vendor = connections[using].vendor
    if vendor == "postgresql":
        written = _upsert_postgresql(using, collection_id, ordered, read_started, version)
    elif vendor == "sqlite":
        written = _upsert_sqlite(using, collection_id, ordered, read_started, version)
    else:
        return _upsert_portable(using, collection_id, ordered, read_started, version)
    if written == len(ordered):
        return set()
    return _newer(using, collection_id, [row.entity_id for row in ordered], version)


def _upsert_postgresql(
    using: str, collection_id: int, rows: Sequence[LedgerRow], read_started: int, version: int
) -> int:
    from ai_migration.models.sql.raw import ByteaArray, Int4Array, TextArray, execute_raw

    source = (
        "SELECT $1::bigint, unnest($3::text[]), unnest($4::bytea[]), unnest($5::bytea[]), "
        "unnest($6::int[]), $2::bigint"
    )
    cursor = execute_raw(
        connections[using],
        _UPSERT.format(source=source, read_started="$7::bigint"),
        (
            collection_id,
            version,
            TextArray([row.entity_id for row in rows]),
            ByteaArray([row.content_hash for row in rows]),
            ByteaArray([row.metadata_hash for row in rows]),
            Int4Array([row.chunk_count for row in rows]),
            read_started,
        ),
    )
    return cursor.rowcount


def _upsert_sqlite(
    using: str, collection_id: int, rows: Sequence[LedgerRow], read_started: int, version: int
) -> int:
    sql = _UPSERT.format(source="VALUES (%s, %s, %s, %s, %s, %s)", read_started="%s")
    with connections[using].cursor() as cursor:
        cursor.executemany(
            sql,
            [
                (
                    collection_id,
                    row.entity_id,
                    row.content_hash,
                    row.metadata_hash,
                    row.chunk_count,
                    version,
                    read_started,
                )
                for row in rows
            ],
        )
        return int(cursor.rowcount)


def _upsert_portable(
    using: str, collection_id: int, rows: Sequence[LedgerRow], read_started: int, version: int
) -> set[str]:
    """The twin for every other database: lock, compare, write."""
    manager = SearchableEntity.objects.using(using)
    newer: set[str] = set()
    with transaction.atomic(using=using):
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            newer |= set(
                manager.select_for_update()
                .filter(
                    collection_id=collection_id,
                    entity_id__in=[row.entity_id for row in part],
                    version__gt=read_started,
                )
                .values_list("entity_id", flat=True)
            )
            fields = ["content_hash", "metadata_hash", "chunk_count", "version"]
            features = connections[using].features
            manager.bulk_create(
                [
                    SearchableEntity(
                        collection_id=collection_id,
                        entity_id=row.entity_id,
                        content_hash=row.content_hash,
                        metadata_hash=row.metadata_hash,
                        chunk_count=row.chunk_count,
                        version=version,
                    )
                    for row in part
                    if row.entity_id not in newer
                ],
                update_conflicts=True,
                update_fields=fields,
                unique_fields=(
                    ["collection", "entity_id"]
                    if features.supports_update_conflicts_with_target
                    else None
                ),
            )
    return newer


def _newer(using: str, collection_id: int, entity_ids: Sequence[str], version: int) -> set[str]:
    rows = SearchableEntity.objects.using(using).filter(collection_id=collection_id)
    newer: set[str] = set()
    for start in range(0, len(entity_ids), _CHUNK):
        newer |= set(
            rows.filter(entity_id__in=entity_ids[start : start + _CHUNK])
            .exclude(version=version)
            .values_list("entity_id", flat=True)
        )
    return newer
