"""PostgreSQL: a batch is binary arrays in one statement, on psycopg 3.

A session is not always ours to keep: a pooler such as PgBouncer gives it to another program
with the end of a transaction. What is set on it therefore ends with the transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from ai_migration.models.sql.arrays import (
    ByteaArray,
    Int4Array,
    Int8Array,
    JsonbArray,
    OptionalInt8Array,
    TextArray,
)
from ai_migration.models.sql.dialects.base import (
    BETWEEN,
    COLLECTIONS,
    INSERT_ENTITIES,
    KNOWN,
    NO_CHUNK,
    OF_CHANGE,
    PUT_CHANGES,
    QUEUE,
    VECTORS_AFTER,
    VECTORS_OF,
    WAITING,
    Dialect,
    LedgerRow,
    QueuedChange,
    VectorColumns,
)

if TYPE_CHECKING:
    import psycopg

# With a snapshot of its own for the whole transaction, a lock can fail.
_LOCKED = """
    AND current_setting('transaction_isolation') = 'read committed'
    FOR UPDATE OF q SKIP LOCKED
"""
_VALUES = {
    "lower": "lower",
    "upper": "upper",
    "entity_ids": "c.entity_ids::jsonb",
    "lower_value": "c.lower::jsonb",
    "upper_value": "c.upper::jsonb",
    "now": "clock_timestamp()",
}


def put_changes_sql(
    changes: str,
    *,
    before: str = "",
    only: Mapping[str, str] | None = None,
    queue: str = QUEUE,
    collections: str = COLLECTIONS,
) -> str:
    """Return the statement that puts changes in the queue.

    Args:
        changes: Their source, a query with the columns of :class:`QueuedChange`.
        before: Other queries that it reads, each ``name AS (query),``.
        only: Entity type, operation and key, if only one of them has a coalescing key: then that is
            looked up whatever the planner expects of the others.
        queue: The queue's table.
        collections: The table of collections.
    """
    waiting = WAITING.format(
        queue=queue,
        what="q.entity_type, q.operation, q.coalescing_key",
        join="" if only else ", c",
        **(only or OF_CHANGE),
    )
    waiting += _LOCKED
    put = PUT_CHANGES.format(
        queue=queue,
        collections=collections,
        changes="c",
        waiting="SELECT 1 FROM waiting AS w WHERE w.entity_type = c.entity_type"
        " AND w.operation = c.operation AND w.coalescing_key = c.coalescing_key",
        **_VALUES,
    )
    return f"WITH {before} c AS ({changes}), waiting AS ({waiting}) {put}"


_PUT_CHANGES = put_changes_sql(
    "SELECT * FROM jsonb_to_recordset(%s::jsonb) AS c(entity_type text, operation text,"
    " priority int, path text, coalescing_key text, entity_ids text, lower text, upper text)"
)
# One change is the usual case of a save. Without a table to join, the statement is planned and run
# in half the time.
_PUT_CHANGE = re.sub(
    r"\bc\.(\w+)",
    r"%(\1)s",
    "WITH waiting AS ("
    + WAITING.format(queue=QUEUE, what="1", join="", **OF_CHANGE)
    + _LOCKED
    + ")"
    + PUT_CHANGES.format(
        queue=QUEUE,
        collections=COLLECTIONS,
        changes="(SELECT 1) AS one",
        waiting="SELECT 1 FROM waiting",
        **_VALUES,
    ),
)


class PostgreSQL(Dialect):
    """PostgreSQL 14 or later."""

    is_typed = True
    keeps_zones = True
    errors_end_transactions = True
    can_estimate = True

    def refused_driver(self) -> str | None:
        from django.db.backends.postgresql.psycopg_any import is_psycopg3

        return None if is_psycopg3 else "psycopg2"

    def now_microseconds(self) -> int:
        return int(self._value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))

    def estimated(self, rows: QuerySet[Any]) -> int:
        plan = rows.order_by().values("pk").explain(format="json")
        try:
            return int(json.loads(plan.replace("'", '"'))[0]["Plan"]["Plan Rows"])
        except (ValueError, KeyError, IndexError, TypeError):
            return 0

    @contextmanager
    def in_index_order(self) -> Iterator[None]:
        """Turn sorting off. PostgreSQL plans by statistics, which a table gets only minutes after a
        backfill has begun to fill it. Until then it expects seven rows and sorts the rest of the
        table for each page, so the cost of a page grows with the table."""
        with self.connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_sort = off")
            yield
            cursor.execute("SET LOCAL enable_sort TO DEFAULT")

    @contextmanager
    def idle_timeout(self, seconds: float) -> Iterator[None]:
        with self.connection.execute_wrapper(_LimitFirst(seconds)):
            yield

    def set_idle_timeout(self, seconds: float) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(_limit(seconds))

    # https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL

    def is_standby(self) -> bool:
        return bool(self._value("SELECT pg_is_in_recovery()"))

    def table_identity(self, table: str) -> object:
        """Return the oid and name of the database, and the oid of the table."""
        [(database, name, number)] = self._fetch(
            "SELECT oid::bigint, datname, to_regclass(%s)::oid::bigint FROM pg_database"
            " WHERE datname = current_database()",
            [self.connection.ops.quote_name(table)],
        )
        return number and (database, name, number)

    def position(self) -> str:
        return str(self._value("SELECT pg_current_wal_lsn()"))

    def shows(self, position: str) -> bool:
        return bool(
            self._value(
                "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn",
                position,
            )
        )

    def column_names(self, table: str) -> set[str]:
        rows = self._fetch(
            "SELECT attname FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [self.connection.ops.quote_name(table)],
        )
        return {name for (name,) in rows}

    # https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT

    def horizon(self) -> int | None:
        return int(self._value("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))

    def is_past(self, horizon: int) -> bool:
        return bool(
            self._value(
                "SELECT NOT EXISTS (SELECT FROM pg_snapshot_xip(pg_current_snapshot()) AS x "
                "WHERE x < %s::text::xid8 AND x IS DISTINCT FROM pg_current_xact_id_if_assigned())",
                str(horizon),
            )
        )

    def put_changes(self, changes: Sequence[QueuedChange]) -> int:
        with self.connection.cursor() as cursor:
            if len(changes) == 1:
                cursor.execute(_PUT_CHANGE, changes[0]._asdict())
            else:
                cursor.execute(_PUT_CHANGES, [json.dumps([each._asdict() for each in changes])])
            return int(cursor.rowcount)

    def known_entities(self, collection_id: int, entity_ids: Sequence[str]) -> list[Any]:
        sql = KNOWN.format("$1") + "= ANY($2::text[])"
        return self._execute(sql, collection_id, TextArray(entity_ids), binary=True).fetchall()

    def entities_between(self, collection_id: int, lower: str | None, upper: str) -> list[Any]:
        sql = BETWEEN.format("$1::bigint", ">=" if lower is None else ">", "$2::text", "$3::text")
        return self._execute(sql, collection_id, lower or "", upper, binary=True).fetchall()

    def insert_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        source = (
            "SELECT $1::bigint, unnest($3::text[]), unnest($4::bytea[]), unnest($5::bytea[]), "
            "unnest($6::int[]), $2::bigint, unnest($7::bigint[])"
        )
        sql = INSERT_ENTITIES.format(source)
        return self._execute(sql, collection_id, version, *_arrays(rows)).rowcount

    def update_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        return self._execute(
            """
            UPDATE ai_searchable_entities AS l SET content_hash = t.content_hash,
                metadata_hash = t.metadata_hash, chunk_count = t.chunk_count, version = $2::bigint,
                checksum = coalesce(t.checksum, l.checksum)
            FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::int[], $7::bigint[],
                    $8::bigint[])
                AS t(entity_id, content_hash, metadata_hash, chunk_count, checksum, known_version)
            WHERE l.collection_id = $1::bigint AND l.entity_id = t.entity_id
                AND l.version = t.known_version
            """,
            collection_id,
            version,
            *_arrays(rows),
            Int8Array([row.known_version for row in rows]),
        ).rowcount

    def upsert_vectors(self, collection_id: int, batch: VectorColumns) -> None:
        documents = batch.documents
        # Set-returning functions of the select list run in step and stream their rows; in
        # FROM they would be written to a temporary file first.
        self._execute(
            "INSERT INTO ai_vectors (collection_id, entity_id, chunk, vector, metadata) "
            "SELECT $1::bigint, unnest($2::text[]), unnest($3::int[]), unnest($4::bytea[]), "
            f"{'NULL::jsonb' if documents is None else 'unnest($5::jsonb[])'} "
            "ON CONFLICT (collection_id, entity_id, chunk) DO UPDATE "
            "SET vector = excluded.vector, metadata = excluded.metadata",
            collection_id,
            TextArray(batch.entity_ids),
            Int4Array(batch.chunks),
            ByteaArray(batch.vectors),
            *(() if documents is None else (JsonbArray(documents),)),
        )

    def update_payloads(
        self, collection_id: int, entity_ids: Sequence[str], documents: Sequence[str]
    ) -> None:
        self._execute(
            "UPDATE ai_vectors SET metadata = new.metadata FROM "
            "(SELECT unnest($2::text[]) AS entity_id, unnest($3::jsonb[]) AS metadata) AS new "
            "WHERE collection_id = $1::bigint AND ai_vectors.entity_id = new.entity_id "
            f"AND chunk <> {NO_CHUNK}",
            collection_id,
            TextArray(entity_ids),
            JsonbArray(documents),
        )

    def delete_vectors(self, collection_id: int, entity_ids: Sequence[str]) -> None:
        self._execute(
            "DELETE FROM ai_vectors WHERE collection_id = $1::bigint "
            f"AND entity_id = ANY($2::text[]) AND chunk <> {NO_CHUNK}",
            collection_id,
            TextArray(entity_ids),
        )

    def vectors_after(self, collection_id: int, after: tuple[str, int], limit: int) -> list[Any]:
        # Binary: the vectors would come as hexadecimal text otherwise.
        return self._execute(
            "SELECT entity_id, chunk, vector, metadata::text "
            + VECTORS_AFTER.format("$1::bigint", "$2::text", "$3::text", "$4::int", "$5::bigint"),
            collection_id,
            after[0],
            *after,
            limit,
            binary=True,
        ).fetchall()

    def vector_keys_after(
        self, collection_id: int, after: tuple[str, int], limit: int
    ) -> list[tuple[str, int]]:
        return self._execute(
            "SELECT entity_id, chunk "
            + VECTORS_AFTER.format("$1::bigint", "$2::text", "$3::text", "$4::int", "$5::bigint"),
            collection_id,
            after[0],
            *after,
            limit,
        ).fetchall()

    def vectors_of(self, collection_id: int, entity_ids: Sequence[str]) -> list[Any]:
        return self._execute(
            "SELECT entity_id, chunk, vector, metadata::text "
            + VECTORS_OF.format("$1::bigint", "= ANY($2::text[])"),
            collection_id,
            TextArray(entity_ids),
            binary=True,
        ).fetchall()

    def _execute(
        self, sql: str, *parameters: Any, binary: bool = False
    ) -> psycopg.RawCursor[tuple[Any, ...]]:
        from ai_migration.models.sql.raw import execute_raw  # needs psycopg 3

        return execute_raw(self.connection, sql, parameters, binary=binary)


def _arrays(rows: Sequence[LedgerRow]) -> tuple[Any, ...]:
    return (
        TextArray([row.entity_id for row in rows]),
        ByteaArray([row.content_hash for row in rows]),
        ByteaArray([row.metadata_hash for row in rows]),
        Int4Array([row.chunk_count for row in rows]),
        OptionalInt8Array([row.checksum for row in rows]),
    )


class _LimitFirst:
    """Execute wrapper that sets the limit at the start of each transaction of a connection."""

    def __init__(self, seconds: float) -> None:
        self._statement = _limit(seconds)

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        from psycopg.pq import TransactionStatus

        connection = context["connection"]
        session = connection.connection
        if connection.in_atomic_block and session.info.transaction_status == TransactionStatus.IDLE:
            with connection.wrap_database_errors:
                session.execute(self._statement)
        return execute(sql, params, many, context)


def _limit(seconds: float) -> str:
    return f"SET LOCAL idle_in_transaction_session_timeout = {max(1, round(seconds * 1000))}"
