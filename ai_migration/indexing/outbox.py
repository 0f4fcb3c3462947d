"""The outbox: live changes are written to the queue in the transaction that makes them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from django.db import DatabaseError, connections, router, transaction
from django.db.models import Model
from django.db.models.signals import post_migrate

from ai_migration.dispatch import wake
from ai_migration.models import QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.dialects.base import QueuedChange
from ai_migration.models.sql.outages import ErrorKind, kind_of
from ai_migration.models.sql.tenants import schema_of
from ai_migration.redaction import redacted
from ai_migration.types import JSONValue, Operation, Priority

logger = logging.getLogger("ai_migration")

IDS_PER_ENTRY = 1000
_LONGEST_KEY = 255
_ROWS_PER_STATEMENT = 1000
_LOOK_AGAIN = 60.0
"""Seconds until tables that were missing are looked for again."""

_ENDS = {ErrorKind.CONFLICT, ErrorKind.IDLE, ErrorKind.STOPPED, ErrorKind.LOST}

Key = tuple[str, str | None]
"""A database alias and the schema its connection is in."""
_ready: set[Key] = set()
_missing: dict[Key, float] = {}


@dataclass(frozen=True)
class Change:
    """A change of one row.

    Attributes:
        entity_type: The entity type to which it matters.
        key: The row, as an entity id.
        path: The relation over which entities read that row; empty: it is the entity itself.
    """

    entity_type: str
    key: str
    path: str = ""

    @property
    def coalescing_key(self) -> str:
        """The key by which the queue knows the same change; a long one is hashed."""
        key = f"{self.path}={self.key}" if self.path else self.key
        if len(key) <= _LONGEST_KEY:
            return key
        return "#" + blake2b(key.encode(), digest_size=16).hexdigest()


def record(changes: Iterable[Change], model: type[Model], using: str | None = None) -> None:
    """Put changes of single rows in the queue: in the transaction that is open on the database of
    the rows where our tables are there too, else when it commits. What waits already is not
    written again. Nothing is written for an entity type without an index: its first backfill reads
    the rows.

    Args:
        changes: The changes; one statement for all of them.
        model: The model that was changed.
        using: Database alias it was changed in; default: where routers send its writes.

    Raises:
        django.db.Error: The queue cannot be written, and the database has ended the transaction.
    """
    put([_single(change) for change in changes], using or router.db_for_write(model))


def record_many(
    entity_type: str, entity_ids: Sequence[str], model: type[Model], using: str | None = None
) -> None:
    """Put changes of many entities in the queue, a thousand to an entry; see :func:`record`."""
    rows = []
    for start in range(0, len(entity_ids), IDS_PER_ENTRY):
        part = json.dumps(entity_ids[start : start + IDS_PER_ENTRY], ensure_ascii=False)
        rows.append(QueuedChange(entity_type, Operation.INDEX, Priority.HIGH, "", None, part))
    if len(entity_ids) == 1:
        rows = [_single(Change(entity_type, entity_ids[0]))]
    put(rows, using or router.db_for_write(model))


def record_range(
    entity_type: str,
    lower: JSONValue,
    upper: JSONValue,
    model: type[Model],
    using: str | None = None,
) -> None:
    """Put all entities of a range of keys in the queue, as one entry that a worker walks.

    Args:
        entity_type: The entity type.
        lower: The key before the first, as a cursor; None: there is none.
        upper: The last key.
        model: The model that was changed.
        using: See :func:`record`.
    """
    row = QueuedChange(
        *(entity_type, Operation.EXPAND, Priority.STANDARD, "", None, "[]"),
        lower=None if lower is None else json.dumps(lower),
        upper=json.dumps(upper),
    )
    put([row], using or router.db_for_write(model))


def put(rows: Sequence[QueuedChange], source: str) -> None:
    """Write entries in the transaction of a database, or when it commits.

    Args:
        rows: The entries.
        source: Alias of the database that is changed.
    """
    if not rows:
        return
    ours = our_database()
    if source == ours:
        _write(rows, ours)
    else:
        transaction.on_commit(lambda: _write(rows, ours), using=source, robust=True)


def written_with(model: type[Model], configured: str | None) -> str:
    """Return the alias of the database whose transaction changes rows of a model now. The config
    may name that one, or a replica, in which rows are never changed: it is not queried."""
    if configured and connections[configured].in_atomic_block:
        return configured
    return router.db_for_write(model)


def entries_of(
    entity_type: str,
    entity_ids: Sequence[str],
    priority: Priority,
    *,
    operation: Operation = Operation.INDEX,
    created_at: datetime | Now | None = None,
) -> list[QueueEntry]:
    """Return entries of explicit entities, :data:`IDS_PER_ENTRY` to each; they are not saved.

    Args:
        entity_type: The entity type.
        entity_ids: The entities.
        priority: Lower goes first.
        operation: INDEX or DELETE.
        created_at: When the change was made; default: now, by the database's clock.
    """
    return [
        QueueEntry(
            entity_type=entity_type,
            operation=operation,
            priority=priority,
            entity_ids=entity_ids[start : start + IDS_PER_ENTRY],
            created_at=created_at or Now(),
        )
        for start in range(0, len(entity_ids), IDS_PER_ENTRY)
    ]


def on_commit_once(function: Callable[[], None], using: str) -> None:
    """Call a function when the transaction commits: once, however often this is called in it."""
    connection = connections[using]
    if not any(waiting[1] is function for waiting in connection.run_on_commit):
        transaction.on_commit(function, using=using, robust=True)


def _single(change: Change) -> QueuedChange:
    is_entity = not change.path
    return QueuedChange(
        change.entity_type,
        Operation.INDEX if is_entity else Operation.EXPAND,
        Priority.HIGH if is_entity else Priority.STANDARD,
        change.path,
        change.coalescing_key,
        json.dumps([change.key], ensure_ascii=False),
    )


def _write(rows: Sequence[QueuedChange], using: str) -> None:
    if not is_ready(using):
        return
    connection = connections[using]
    try:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            dialect(using).put_changes(rows[start : start + _ROWS_PER_STATEMENT])
    except DatabaseError as error:
        types = ", ".join(sorted({row.entity_type for row in rows}))
        logger.error(
            "Live changes of %s could not be put in the queue: %s. Until the next sweep or "
            "migration the index does not have them.",
            types,
            redacted(str(error))[:300],
        )
        if connection.in_atomic_block and _is_over(using, error):
            raise
        return
    on_commit_once(wake, using)


def _is_over(using: str, error: DatabaseError) -> bool:
    """Return whether the failed statement has ended the caller's transaction too."""
    return dialect(using).errors_end_transactions or kind_of(error) in _ENDS


def is_ready(using: str) -> bool:
    """Return whether our tables are as this version needs them. It is asked once a process; as long
    as they are not, it warns once, and looks again each minute."""
    key = (using, schema_of(using))
    if key in _ready:
        return True
    looked = _missing.get(key)
    if looked is not None and time.monotonic() - looked < _LOOK_AGAIN:
        return False
    wanted = {field.column for field in QueueEntry._meta.concrete_fields}
    if wanted <= dialect(using).column_names(QueueEntry._meta.db_table):
        _ready.add(key)
        _missing.pop(key, None)
        return True
    if looked is None:
        logger.warning(
            "Live changes are not recorded: the tables of ai_migration are missing or old in "
            "database %r. Run: manage.py migrate ai_migration",
            using,
        )
    _missing[key] = time.monotonic()
    return False


def forget_tables(**_: object) -> None:
    """Look at the tables again."""
    _ready.clear()
    _missing.clear()


post_migrate.connect(forget_tables, dispatch_uid="ai_migration.outbox")
