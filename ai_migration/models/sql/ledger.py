"""The ledger's bulk reads and writes.

PostgreSQL takes a batch as binary arrays in one statement; SQLite as ``executemany``; MySQL
and MariaDB as a JSON document. All three obey the same rule: a row whose version is newer
than the reads of the writer stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import connections

from ai_migration.models.ledger import SearchableEntity
from ai_migration.models.sql import json_rows
from ai_migration.models.sql.json_rows import execute_rows

_CHUNK = 500
"""Parameters in one statement: below the smallest limit of any database."""

_entity_id = itemgetter(0)

_INSERT = """
INSERT INTO ai_searchable_entities
    (collection_id, entity_id, content_hash, metadata_hash, chunk_count, version)
{source}
ON CONFLICT (collection_id, entity_id) DO NOTHING
"""


_LISTED = {
    "sqlite": "SELECT value FROM json_each(%s)",
    "mysql": f"SELECT id FROM JSON_TABLE(%s, '$[*]' COLUMNS (id {json_rows.ENTITY_ID} PATH '$')) "
    "AS t",
}
_COLUMNS = {
    "entity_id": json_rows.ENTITY_ID,
    "content_hash": "varchar(32)",
    "metadata_hash": "varchar(32)",
    "chunk_count": "bigint",
    "known_version": "bigint",
}


class KnownEntity(NamedTuple):
    """What the ledger has of one entity. ``content_hash`` is empty for a tombstone, and
    where the vectors must be made again whatever the text is."""

    entity_id: str
    content_hash: bytes
    metadata_hash: bytes
    chunk_count: int
    version: int


_known = partial(tuple.__new__, KnownEntity)
"""``KnownEntity._make``, without a call in Python for each of them."""


class LedgerRow(NamedTuple):
    """What the ledger is to know of one entity. ``known_version`` is the version it had when
    it was looked up; 0: it had none."""

    entity_id: str
    content_hash: bytes
    metadata_hash: bytes
    chunk_count: int
    known_version: int = 0


def lookup(using: str, collection_id: int, entity_ids: Sequence[str]) -> dict[str, KnownEntity]:
    """What the ledger has of these entities, by entity id; unknown ones are absent."""
    if not entity_ids:
        return {}
    connection = connections[using]
    columns = "entity_id, content_hash, metadata_hash, chunk_count, version"
    if connection.vendor == "postgresql":
        from ai_migration.models.sql.raw import TextArray, execute_raw

        cursor = execute_raw(
            connection,
            f"SELECT {columns} FROM ai_searchable_entities "
            "WHERE collection_id = $1 AND entity_id = ANY($2::text[])",
            (collection_id, TextArray(entity_ids)),
            binary=True,
        )
        return {row[0]: _known(row) for row in cursor.fetchall()}
    with connection.cursor() as listed:
        listed.execute(
            f"SELECT {columns} FROM ai_searchable_entities WHERE collection_id = %s "
            f"AND entity_id IN ({_LISTED[connection.vendor]})",
            (collection_id, json.dumps(entity_ids)),
        )
        return {row[0]: _known(row) for row in listed.fetchall()}


def upsert(
    using: str, collection_id: int, rows: Sequence[LedgerRow], *, read_started: int, version: int
) -> set[str]:
    """Write what was indexed, except where somebody else wrote meanwhile.

    Call it inside a transaction, before the vectors are written: it locks the entities.
    A row is written if it still has the version it was looked up with (else what was
    planned, such as which chunks to remove, may be wrong) and that version is not newer
    than the read the row comes from.

    Args:
        using: Database alias of our tables.
        collection_id: The collection.
        rows: At most one an entity; written in the order of their ids.
        read_started: When the read these rows come from began, microseconds.
        version: When it ended.

    Returns:
        The entities that were *not* written: they have to be read again.
    """
    if not rows:
        return set()
    ordered = sorted(rows, key=_entity_id)
    stale = {row.entity_id for row in rows if row.known_version > read_started}
    if stale:
        ordered = [row for row in ordered if row.entity_id not in stale]
    absent = [row for row in ordered if row.known_version == 0]
    present = [row for row in ordered if row.known_version]
    insert, update = _WRITERS[connections[using].vendor]
    written = insert(using, collection_id, absent, version) if absent else 0
    written += update(using, collection_id, present, version) if present else 0
    if written < len(ordered):
        stale |= _others(using, collection_id, [row.entity_id for row in ordered], version)
    return stale


def _insert_postgresql(
    using: str, collection_id: int, rows: Sequence[LedgerRow], version: int
) -> int:
    from ai_migration.models.sql.raw import execute_raw

    source = (
        "SELECT $1::bigint, unnest($3::text[]), unnest($4::bytea[]), unnest($5::bytea[]), "
        "unnest($6::int[]), $2::bigint"
    )
    parameters = (collection_id, version, *_arrays(rows))
    return execute_raw(connections[using], _INSERT.format(source=source), parameters).rowcount


def _update_postgresql(
    using: str, collection_id: int, rows: Sequence[LedgerRow], version: int
) -> int:
    from ai_migration.models.sql.raw import Int8Array, execute_raw

    sql = """
        UPDATE ai_searchable_entities AS l SET content_hash = t.content_hash,
            metadata_hash = t.metadata_hash, chunk_count = t.chunk_count, version = $2::bigint
        FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::int[], $7::bigint[])
            AS t(entity_id, content_hash, metadata_hash, chunk_count, known_version)
        WHERE l.collection_id = $1::bigint AND l.entity_id = t.entity_id
            AND l.version = t.known_version
    """
    known = Int8Array([row.known_version for row in rows])
    parameters = (collection_id, version, *_arrays(rows), known)
    return execute_raw(connections[using], sql, parameters).rowcount


def _arrays(rows: Sequence[LedgerRow]) -> tuple[Any, ...]:
    from ai_migration.models.sql.raw import ByteaArray, Int4Array, TextArray

    return (
        TextArray([row.entity_id for row in rows]),
        ByteaArray([row.content_hash for row in rows]),
        ByteaArray([row.metadata_hash for row in rows]),
        Int4Array([row.chunk_count for row in rows]),
    )


def _insert_sqlite(using: str, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
    sql = _INSERT.format(source="VALUES (%s, %s, %s, %s, %s, %s)")
    return _executemany(using, sql, [(collection_id, *row[:4], version) for row in rows])


def _update_sqlite(using: str, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
    sql = (
        "UPDATE ai_searchable_entities SET content_hash = %s, metadata_hash = %s, "
        "chunk_count = %s, version = %s "
        "WHERE collection_id = %s AND entity_id = %s AND version = %s"
    )
    return _executemany(
        using,
        sql,
        [(*row[1:4], version, collection_id, row.entity_id, row.known_version) for row in rows],
    )


def _executemany(using: str, sql: str, parameters: Sequence[tuple[Any, ...]]) -> int:
    with connections[using].cursor() as cursor:
        cursor.executemany(sql, parameters)
        return int(cursor.rowcount)


def _insert_mysql(using: str, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
    sql = (
        "INSERT IGNORE INTO ai_searchable_entities "
        "(collection_id, entity_id, content_hash, metadata_hash, chunk_count, version) "
        "SELECT %(collection)s, entity_id, UNHEX(content_hash), UNHEX(metadata_hash), "
        "chunk_count, %(version)s FROM {rows}"
    )
    return execute_rows(
        using, sql, _COLUMNS, map(_hexed, rows), collection=collection_id, version=version
    )


def _update_mysql(using: str, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
    sql = (
        "UPDATE ai_searchable_entities AS l JOIN {rows} "
        "ON l.entity_id = t.entity_id AND l.version = t.known_version "
        "SET l.content_hash = UNHEX(t.content_hash), l.metadata_hash = UNHEX(t.metadata_hash), "
        "l.chunk_count = t.chunk_count, l.version = %(version)s "
        "WHERE l.collection_id = %(collection)s"
    )
    return execute_rows(
        using, sql, _COLUMNS, map(_hexed, rows), collection=collection_id, version=version
    )


def _hexed(row: LedgerRow) -> tuple[Any, ...]:
    return (row.entity_id, row.content_hash.hex(), row.metadata_hash.hex(), *row[3:])


_WRITERS = {
    "postgresql": (_insert_postgresql, _update_postgresql),
    "sqlite": (_insert_sqlite, _update_sqlite),
    "mysql": (_insert_mysql, _update_mysql),
}


def _others(using: str, collection_id: int, entity_ids: Sequence[str], version: int) -> set[str]:
    rows = SearchableEntity.objects.using(using).filter(collection_id=collection_id)
    found: set[str] = set()
    for start in range(0, len(entity_ids), _CHUNK):
        found |= set(
            rows.filter(entity_id__in=entity_ids[start : start + _CHUNK])
            .exclude(version=version)
            .values_list("entity_id", flat=True)
        )
    return found
