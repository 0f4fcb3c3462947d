"""Looks for changes that neither a signal nor a trigger has recorded.

Where a row has the date of its last change, those changed since the last look are put in the queue:
one query on an index. The look goes back a while, for transactions that committed late; the hash of
a row absorbs what is read twice. Once a day all rows and the ledger are compared, which also finds
rows that were deleted.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from ai_migration.conf import get_settings
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.filtering.moments import instant_of
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.outbox import entries_of
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from ai_migration.jobs.start.starting import start_migration
from ai_migration.models import Collection, MigrationJob, QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.types import (
    CollectionStatus,
    EntryStatus,
    MigrationMode,
    MigrationRequest,
    Operation,
    Priority,
)

logger = logging.getLogger("ai_migration")

OVERLAP = timedelta(minutes=10)
"""How far a look goes back: longer than a transaction lasts."""
MOST_ROWS = 50_000
"""Rows in one look; the next goes on from there."""

_looked = float("-inf")


def sweep(*, at_most_every: float = 0.0) -> int:
    """Look for changes that were not recorded, in each entity type whose turn it is. Safe to call
    concurrently: one process takes each look.

    Args:
        at_most_every: Seconds between two calls of this process that ask the database.

    Returns:
        The rows that were put in the queue.
    """
    global _looked
    settings = get_settings()
    if settings.SYNC == "off" or not settings.ENABLED:
        return 0
    if time.monotonic() - _looked < at_most_every:
        return 0
    _looked = time.monotonic()
    using, found = our_database(), 0
    for collection in Collection.objects.using(using).filter(status=CollectionStatus.ACTIVE):
        try:
            entity = registry.get(collection.entity_type)
            if not entity.definition.follows("update"):
                continue
            is_dated = entity.updated_at is not None
            if is_dated and _is_due(collection, "swept_at", settings.SWEEP_SECONDS):
                found += _look(collection, entity)
            if _is_due(collection, "compared_at", seconds := settings.FULL_SWEEP_SECONDS):
                _compare(collection, entity, seconds or 0.0)
        except AIMigrationError as error:  # the others are looked at all the same
            logger.warning("%s was not swept: %s", collection.entity_type, error)
    return found


def _is_due(collection: Collection, column: str, seconds: float | None) -> bool:
    """Return whether a look is due, and take it."""
    if seconds is None:
        return False
    before = clock.after(-seconds)
    due = Q(**{f"{column}__lt": before}) | Q(**{column: None, "created_at__lt": before})
    mine = Collection.objects.using(collection._state.db).filter(due, pk=collection.pk)
    return bool(mine.update(**{column: Now()}))


def _look(collection: Collection, entity: Entity) -> int:
    """Put the rows in the queue that were changed since the last look."""
    assert entity.updated_at is not None
    assert entity.updated_at.field is not None
    using = our_database()
    path, field = entity.updated_at.path, entity.updated_at.field
    since = instant_of(collection.swept_to or collection.created_at, field, path)
    rows = entity.model._base_manager.using(entity.primary or entity.rows().db)
    changed = rows.filter(**{f"{path}__gte": since - OVERLAP}).order_by(path, "pk")
    found = list(changed.values_list("pk", path)[:MOST_ROWS])
    if not found:
        return 0
    mine = Collection.objects.using(using).filter(pk=collection.pk)
    if _waits(collection, using):  # the same rows would be listed again and again
        mine.update(swept_at=None)
        return 0
    ids = [entity.key.to_entity_id(key) for key, _ in found]
    latest = min(_moment(found[-1][1]), clock.now(using))
    with transaction.atomic(using=using):
        mine.update(swept_to=latest, swept_at=None if len(found) == MOST_ROWS else F("swept_at"))
        QueueEntry.objects.using(using).bulk_create(entries_of(entity.name, ids, Priority.STANDARD))
    return len(ids)


def _waits(collection: Collection, using: str) -> bool:
    """Return whether what an earlier look found still waits."""
    return (
        QueueEntry.objects.using(using)
        .filter(
            job=None,
            entity_type=collection.entity_type,
            operation=Operation.INDEX,
            priority=Priority.STANDARD,
            status=EntryStatus.PENDING,
        )
        .exists()
    )


def _compare(collection: Collection, entity: Entity, seconds: float) -> None:
    """Start a migration of all rows, unless there was one, or the config has changed: what that
    costs is for people to decide."""
    using = our_database()
    since = clock.now(using) - timedelta(seconds=seconds)
    jobs = MigrationJob.objects.using(using).filter(collection=collection, created_at__gt=since)
    if any(not job.filter_config and job.mode != MigrationMode.MISSING for job in jobs):
        return
    if config_change(collection, entity) not in (ConfigChange.NONE, ConfigChange.OPERATIONAL):
        return
    start_migration(
        MigrationRequest(entity.name, created_by="supervisor", note="the daily comparison")
    )


def _moment(value: Any) -> datetime:
    """Return the instant of a date, or of a date with time."""
    if not isinstance(value, datetime):
        assert isinstance(value, date)
        value = datetime.combine(value, time_of_day.min)
    if timezone.is_naive(value):
        value = timezone.make_aware(value, timezone.get_default_timezone())
    instant: datetime = value.astimezone(UTC)
    return instant
