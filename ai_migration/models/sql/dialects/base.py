"""The operations this package needs of a database, as far as all databases do them alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.db.models import QuerySet

from ai_migration.types import Vectors

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


QUEUE, COLLECTIONS = "ai_indexing_queue", "ai_collections"
NO_CHUNK = 2**31 - 1
"""Chunk number of the row that says that a collection exists, empty or not."""

KNOWN = (
    "SELECT entity_id, content_hash, metadata_hash, chunk_count, version, checksum "
    "FROM ai_searchable_entities WHERE collection_id = {} AND entity_id "
)
BETWEEN = KNOWN + "{} {} AND entity_id <= {} AND chunk_count > 0"
INSERT_ENTITIES = """
INSERT INTO ai_searchable_entities
    (collection_id, entity_id, content_hash, metadata_hash, chunk_count, version, checksum)
{}
ON CONFLICT (collection_id, entity_id) DO NOTHING
"""
# MySQL uses no index range for a comparison of pairs: the first condition gives it one.
VECTORS_AFTER = (
    "FROM ai_vectors WHERE collection_id = {} AND entity_id >= {} "
    "AND (entity_id, chunk) > ({}, {}) "
    f"AND chunk <> {NO_CHUNK} ORDER BY entity_id, chunk LIMIT {{}}"
)

VECTORS_OF = (
    f"FROM ai_vectors WHERE collection_id = {{}} AND chunk <> {NO_CHUNK} AND entity_id {{}}"
)

# One statement decides: nothing is written for an entity type that was never indexed, or for a
# change that waits already. An entry that waits is locked until the caller's transaction ends, so
# that no worker takes it before it can read what the caller wrote; one that is locked by another
# is not waited for, and gets a second one beside it.
PUT_CHANGES = """
INSERT INTO {queue} (entity_type, operation, priority, path, coalescing_key, entity_ids,
    {lower}, {upper}, created_at, status, attempts, claims, fence, error, indexed, skipped, removed,
    failed)
SELECT c.entity_type, c.operation, c.priority, c.path, c.coalescing_key, {entity_ids},
    {lower_value}, {upper_value}, {now}, 'PENDING', 0, 0, 0, '', 0, 0, 0, 0
FROM {changes}
WHERE EXISTS (
    SELECT 1 FROM {collections} AS k
    WHERE k.entity_type = c.entity_type AND k.status IN ('ACTIVE', 'BUILDING')
) AND NOT EXISTS ({waiting})
"""
OF_CHANGE = {
    "entity_type": "c.entity_type",
    "operation": "c.operation",
    "key": "c.coalescing_key",
}
# Only the key is to be looked up in an index: without statistics the planner takes that of the
# states for as good, and it has the whole queue.
WAITING = """
SELECT {what} FROM {queue} AS q {join}
WHERE q.entity_type = {entity_type} AND q.coalescing_key = {key}
    AND CASE WHEN q.operation = {operation} AND q.status = 'PENDING' AND q.claims = 0
        AND q.available_at IS NULL AND q.job_id IS NULL THEN 1 ELSE 0 END = 1
"""


class QueuedChange(NamedTuple):
    """A queue entry to write. The ids and the bounds are JSON; changes of an operation with the
    same coalescing key are one entry until it is claimed, and None is never the same."""

    entity_type: str
    operation: str
    priority: int
    path: str
    coalescing_key: str | None
    entity_ids: str
    lower: str | None = None
    upper: str | None = None


class VectorColumns(NamedTuple):
    """Vectors to write, each column of length n.

    Attributes:
        vectors: Little-endian float32, shape ``(n, dimensions)``.
        documents: Their payloads; None: none has any.
    """

    entity_ids: Sequence[str]
    chunks: Sequence[int]
    vectors: Vectors
    documents: Sequence[str] | None

    def rows(self) -> Iterator[tuple[str, int, bytes, str | None]]:
        """Return the vectors row by row."""
        packed, width = self.vectors.tobytes(), self.vectors.shape[1] * 4
        documents = repeat(None) if self.documents is None else self.documents
        keys = zip(self.entity_ids, self.chunks, documents, strict=False)
        for i, (entity_id, chunk, document) in enumerate(keys):
            yield entity_id, int(chunk), packed[i * width : (i + 1) * width], document


class LedgerRow(NamedTuple):
    """The ledger row to write for one entity. ``known_version`` is the version it had when it was
    looked up; 0: there was no row. ``checksum`` is that of its vectors; None: it stays."""

    entity_id: str
    content_hash: bytes
    metadata_hash: bytes
    chunk_count: int
    known_version: int = 0
    checksum: int | None = None


class Dialect:
    """The operations on one database. The class of a vendor overrides what it does differently.

    Args:
        connection: Django's connection to it.
    """

    has_server: ClassVar[bool] = True
    """True if it runs in processes of its own."""

    is_typed: ClassVar[bool] = False
    """True if a column holds only values of its type, each in one representation."""

    keeps_zones: ClassVar[bool] = False
    """True if a datetime column holds an instant, not the digits of one."""

    errors_end_transactions: ClassVar[bool] = False
    """True if nothing more can be done in a transaction after a statement that failed in it."""

    among: ClassVar[str] = ""
    """SQL that follows a column to find its values in a parameter, a JSON array of ids."""

    can_estimate: ClassVar[bool] = False
    """True if :meth:`estimated` gives estimates."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    # Settings, read without a query

    def refused_driver(self) -> str | None:
        """Return the driver in use if this package cannot work with it, else None."""
        return None

    def lacks_for_writers(self) -> list[str]:
        """Return what the settings lack for several processes that write."""
        return []

    # Time, counts, plans, sessions

    def now_microseconds(self) -> int:
        """Return the microseconds since 1970 by its clock, which advances within a transaction."""
        raise NotImplementedError

    def estimated(self, rows: QuerySet[Any]) -> int:
        """Return the number of rows the planner expects of a queryset; 0: unknown."""
        return 0

    def in_index_order(self) -> AbstractContextManager[None]:
        """Make queries within the block read an index in its order. Call it inside a
        transaction."""
        return nullcontext()

    def idle_timeout(self, seconds: float) -> AbstractContextManager[None]:
        """Set the idle transaction timeout of this session within the block.

        A process that is frozen in the middle of a transaction would keep its locks, and the worker
        that takes over would wait for them. Some databases have no such timeout, or no locks that
        outlive a statement.
        """
        return nullcontext()

    def set_idle_timeout(self, seconds: float) -> None:
        """Set the idle transaction timeout of the open transaction, where the database can."""

    # Standbys

    def is_standby(self) -> bool:
        """Return whether it only replicates another database."""
        return False

    def table_identity(self, table: str) -> object:
        """Return what identifies a table when it is seen through another alias, such as a
        standby's; None: there is no such table, or it cannot be identified."""
        return None

    def position(self) -> str:
        """Return the position up to which a primary has written its log: what is committed by now
        is before it. Empty: unknown."""
        return ""

    def shows(self, position: str) -> bool:
        """Return whether a standby, or a former one, has replayed everything before a position."""
        return True

    def column_names(self, table: str) -> set[str]:
        """Return the names of a table's columns, by one query; none if there is no such table."""
        raise NotImplementedError

    # Transactions

    def horizon(self) -> int | None:
        """Return a number that is greater than those of all transactions that have written by now;
        None: a transaction that writes sees what others committed before."""
        return None

    def is_past(self, horizon: int) -> bool:
        """Return whether all transactions before a horizon have ended, this one aside."""
        return True

    # The queue

    def put_changes(self, changes: Sequence[QueuedChange]) -> int:
        """Write entries of live changes, in one statement. None is written for an entity type
        without an index, nor, except on MariaDB, where an entry with the same key waits that no
        other transaction has locked. It waits for no other transaction.

        Returns:
            The number of entries written.
        """
        raise NotImplementedError

    # The ledger: rows are (entity id, content hash, metadata hash, chunks, version, checksum)

    def known_entities(self, collection_id: int, entity_ids: Sequence[str]) -> list[Any]:
        """Return the rows of these entities; unknown ones are absent."""
        return self._fetch(
            KNOWN.format("%s") + self.among, (collection_id, json.dumps(list(entity_ids)))
        )

    def entities_between(self, collection_id: int, lower: str | None, upper: str) -> list[Any]:
        """Return the rows of the entities with vectors whose id is above ``lower``, which may be
        None, and at most ``upper``."""
        return self._fetch(
            BETWEEN.format("%s", ">=" if lower is None else ">", "%s", "%s"),
            (collection_id, lower or "", upper),
        )

    def insert_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        """Write rows, except those that exist. Return how many were written."""
        raise NotImplementedError

    def update_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        """Change the rows that still have their known version. Return how many were changed."""
        return self._executemany(
            "UPDATE ai_searchable_entities SET content_hash = %s, metadata_hash = %s, "
            "chunk_count = %s, version = %s, checksum = coalesce(%s, checksum) "
            "WHERE collection_id = %s AND entity_id = %s AND version = %s",
            [
                (
                    *row[1:4],
                    version,
                    row.checksum,
                    collection_id,
                    row.entity_id,
                    row.known_version,
                )
                for row in rows
            ],
        )

    # Vectors: rows are (entity id, chunk, packed vector, payload)

    def upsert_vectors(self, collection_id: int, batch: VectorColumns) -> None:
        """Write vectors; an existing one is replaced with its payload."""
        raise NotImplementedError

    def update_payloads(
        self, collection_id: int, entity_ids: Sequence[str], documents: Sequence[str]
    ) -> None:
        """Replace the payload of all vectors of each entity."""
        self._executemany(
            "UPDATE ai_vectors SET metadata = %s WHERE collection_id = %s AND entity_id = %s "
            f"AND chunk <> {NO_CHUNK}",
            [
                (document, collection_id, entity_id)
                for entity_id, document in zip(entity_ids, documents, strict=True)
            ],
        )

    def delete_vectors(self, collection_id: int, entity_ids: Sequence[str]) -> None:
        """Remove all vectors of these entities."""
        self._executemany(
            "DELETE FROM ai_vectors WHERE collection_id = %s AND entity_id = %s "
            f"AND chunk <> {NO_CHUNK}",
            [(collection_id, entity_id) for entity_id in entity_ids],
        )

    def vectors_after(self, collection_id: int, after: tuple[str, int], limit: int) -> list[Any]:
        """Return the rows that follow an entity and chunk, in their order."""
        vector = self.connection.ops.quote_name("vector")
        return self._fetch(
            f"SELECT entity_id, chunk, {vector}, metadata " + VECTORS_AFTER.format(*["%s"] * 5),
            (collection_id, after[0], *after, limit),
        )

    def vector_keys_after(
        self, collection_id: int, after: tuple[str, int], limit: int
    ) -> list[tuple[str, int]]:
        """Return entity and chunk of the rows that follow an entity and chunk, in their order."""
        return self._fetch(
            "SELECT entity_id, chunk " + VECTORS_AFTER.format(*["%s"] * 5),
            (collection_id, after[0], *after, limit),
        )

    def vectors_of(self, collection_id: int, entity_ids: Sequence[str]) -> list[Any]:
        """Return the rows of these entities, in any order."""
        vector = self.connection.ops.quote_name("vector")
        return self._fetch(
            f"SELECT entity_id, chunk, {vector}, metadata " + VECTORS_OF.format("%s", self.among),
            (collection_id, json.dumps(list(entity_ids))),
        )

    # How statements are run

    def _fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _value(self, sql: str, *parameters: Any) -> Any:
        rows = self._fetch(sql, parameters)
        return rows[0][0] if rows else None

    def _executemany(self, sql: str, parameters: Sequence[tuple[Any, ...]]) -> int:
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, parameters)
            return int(cursor.rowcount)
