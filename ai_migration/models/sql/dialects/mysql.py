"""MySQL and MariaDB: a batch is a JSON document, which the server reads as a table."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from ai_migration.models.sql.dialects.base import (
    COLLECTIONS,
    NO_CHUNK,
    OF_CHANGE,
    PUT_CHANGES,
    QUEUE,
    WAITING,
    Dialect,
    LedgerRow,
    QueuedChange,
    VectorColumns,
)
from ai_migration.models.sql.json_rows import ENTITY_ID, TEXT, execute_rows

_LEDGER = {
    "entity_id": ENTITY_ID,
    "content_hash": "varchar(32)",
    "metadata_hash": "varchar(32)",
    "chunk_count": "bigint",
    "known_version": "bigint",
    "checksum": "bigint",
}
_VECTORS = {"entity_id": ENTITY_ID, "chunk": "bigint", "packed": TEXT, "document": TEXT}

_CHANGES = {
    "entity_type": f"{ENTITY_ID} COLLATE {{by_byte}}",
    "operation": f"{ENTITY_ID} COLLATE {{by_byte}}",
    "priority": "bigint",
    "path": ENTITY_ID,
    "coalescing_key": f"{ENTITY_ID} COLLATE {{by_byte}}",
    "entity_ids": TEXT,
    "lower": TEXT,
    "upper": TEXT,
}


def put_changes_sql(changes: str, *, coalesces: bool) -> str:
    """Return the statement that puts changes in the queue.

    Args:
        changes: Their source, a table with the columns of :class:`QueuedChange`.
        coalesces: Whether it looks for entries that wait. MariaDB's SKIP LOCKED waits now and then,
            for a moment: two transactions that do are a deadlock, and one of them is rolled back.
    """
    waiting = WAITING.format(queue=QUEUE, what="1", join="", **OF_CHANGE) + "FOR UPDATE SKIP LOCKED"
    return PUT_CHANGES.format(
        queue=QUEUE,
        collections=COLLECTIONS,
        lower="`lower`",
        upper="`upper`",
        entity_ids="c.entity_ids",
        lower_value="c.`lower`",
        upper_value="c.`upper`",
        now="UTC_TIMESTAMP(6)",
        changes=f"({changes}) AS c",
        waiting=waiting if coalesces else "SELECT 1 FROM DUAL WHERE FALSE",
    )


_PUT_CHANGES = put_changes_sql("SELECT * FROM {rows}", coalesces=True)
_PUT_ALL_CHANGES = put_changes_sql("SELECT * FROM {rows}", coalesces=False)


def by_byte(connection: BaseDatabaseWrapper) -> str:
    """Return the collation in which texts are equal only if all their bytes are."""
    return "utf8mb4_nopad_bin" if is_mariadb(connection) else "utf8mb4_0900_bin"


def is_mariadb(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the server is MariaDB."""
    return bool(getattr(connection, "mysql_is_mariadb", False))


class MySQL(Dialect):
    """MySQL 8 or MariaDB 10.6."""

    among = f"IN (SELECT id FROM JSON_TABLE(%s, '$[*]' COLUMNS (id {ENTITY_ID} PATH '$')) AS ids)"

    def now_microseconds(self) -> int:
        return int(self._value("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"))

    @contextmanager
    def idle_timeout(self, seconds: float) -> Iterator[None]:
        """Set MariaDB's timeout, which belongs to the session, and restore the old one
        afterwards."""
        if not getattr(self.connection, "mysql_is_mariadb", False):
            yield
            return
        name = "SESSION idle_transaction_timeout"
        before = self._value("SELECT @@SESSION.idle_transaction_timeout")
        self._set(name, max(1, round(seconds)))
        try:
            yield
        finally:
            with suppress(Error):  # it may have been lost meanwhile
                self._set(name, int(before))

    def is_standby(self) -> bool:
        """Return whether it is read-only. Not every role may read its position, so none is
        given."""
        return self._value("SELECT @@global.read_only") not in (0, "0", "OFF")

    def column_names(self, table: str) -> set[str]:
        rows = self._fetch(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            [table],
        )
        return {name for (name,) in rows}

    def put_changes(self, changes: Sequence[QueuedChange]) -> int:
        # Locks on gaps could wait for each other.
        is_safe = getattr(self.connection, "isolation_level", None) == "read committed"
        is_safe = is_safe and not is_mariadb(self.connection)
        statement = _PUT_CHANGES if is_safe else _PUT_ALL_CHANGES
        # The server remembers what a subquery gave, for values that their collation has for equal.
        collation = by_byte(self.connection)
        columns = {name: kind.format(by_byte=collation) for name, kind in _CHANGES.items()}
        return execute_rows(self.connection, statement, columns, changes)

    def insert_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        return execute_rows(
            self.connection,
            "INSERT IGNORE INTO ai_searchable_entities "
            "(collection_id, entity_id, content_hash, metadata_hash, chunk_count, version, "
            "checksum) SELECT %(collection)s, entity_id, UNHEX(content_hash), "
            "UNHEX(metadata_hash), chunk_count, %(version)s, checksum FROM {rows}",
            _LEDGER,
            map(_hexed, rows),
            collection=collection_id,
            version=version,
        )

    def update_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        return execute_rows(
            self.connection,
            "UPDATE ai_searchable_entities AS l JOIN {rows} "
            "ON l.entity_id = t.entity_id AND l.version = t.known_version "
            "SET l.content_hash = UNHEX(t.content_hash), "
            "l.metadata_hash = UNHEX(t.metadata_hash), "
            "l.chunk_count = t.chunk_count, l.version = %(version)s, "
            "l.checksum = coalesce(t.checksum, l.checksum) "
            "WHERE l.collection_id = %(collection)s",
            _LEDGER,
            map(_hexed, rows),
            collection=collection_id,
            version=version,
        )

    def upsert_vectors(self, collection_id: int, batch: VectorColumns) -> None:
        execute_rows(
            self.connection,
            "INSERT INTO ai_vectors (collection_id, entity_id, chunk, `vector`, metadata) "
            "SELECT %(collection)s, t.entity_id, t.chunk, FROM_BASE64(t.packed), t.document "
            "FROM {rows} ON DUPLICATE KEY UPDATE "
            "`vector` = FROM_BASE64(t.packed), metadata = t.document",
            _VECTORS,
            (
                (entity_id, chunk, b64encode(packed).decode(), document)
                for entity_id, chunk, packed, document in batch.rows()
            ),
            collection=collection_id,
        )

    def update_payloads(
        self, collection_id: int, entity_ids: Sequence[str], documents: Sequence[str]
    ) -> None:
        execute_rows(
            self.connection,
            "UPDATE ai_vectors AS v JOIN {rows} ON v.entity_id = t.entity_id "
            "SET v.metadata = t.document WHERE v.collection_id = %(collection)s "
            f"AND v.chunk <> {NO_CHUNK}",
            {"entity_id": ENTITY_ID, "document": TEXT},
            zip(entity_ids, documents, strict=True),
            collection=collection_id,
        )

    def delete_vectors(self, collection_id: int, entity_ids: Sequence[str]) -> None:
        execute_rows(
            self.connection,
            "DELETE v FROM ai_vectors AS v JOIN {rows} ON v.entity_id = t.entity_id "
            f"WHERE v.collection_id = %(collection)s AND v.chunk <> {NO_CHUNK}",
            {"entity_id": ENTITY_ID},
            ([entity_id] for entity_id in entity_ids),
            collection=collection_id,
        )

    def _set(self, name: str, value: int) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SET {name} = {value}")


def _hexed(row: LedgerRow) -> tuple[Any, ...]:
    return (row.entity_id, row.content_hash.hex(), row.metadata_hash.hex(), *row[3:])
