"""Quarantine: entries that kill their workers are split in half until the poison row is alone.

A row that makes a library crash, or the memory run out, ends its worker and leaves no error, only
an entry that ``MAX_CRASHES`` workers did not come back from. Its halves are suspects, claimed
alone, and the next crash splits them again; a single entity has to kill as many workers as the
whole before it is given up.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F

from ai_migration.conf import get_settings
from ai_migration.engine.slices.jobs import stop_job, too_many_failures
from ai_migration.entities import registry
from ai_migration.entities.filtering.filters import apply_filters, load_filters
from ai_migration.entities.rows.paging import is_found, lost_key, reading_keys
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.targets import live_collections
from ai_migration.models import Collection, EntityFailure, MigrationJob, QueueEntry
from ai_migration.models.sql.clock import Now
from ai_migration.types import EntryStatus, Operation

WORKER_DIED = "worker_died"
"""Error code of an entity that kills its workers."""
_AT_ONCE = 100


def quarantine(using: str) -> int:
    """Split or give up the entries that killed too many workers. Safe to run concurrently.

    Args:
        using: Database alias of our tables.

    Returns:
        The number of these entries.
    """
    deadly = QueueEntry.objects.using(using).filter(
        status=EntryStatus.PENDING,
        claims__gte=get_settings().MAX_CRASHES,
    )
    handled = 0
    for entry in deadly.select_related("job__collection")[:_AT_ONCE]:
        with transaction.atomic(using=using):
            if deadly.filter(pk=entry.pk).update(claims=0):  # no other process deals with it
                _isolate(entry, using)
                handled += 1
    return handled


def _isolate(entry: QueueEntry, using: str) -> None:
    error = (
        f"{entry.claims} workers in turn died while processing this: they crashed, ran out of "
        f"memory, or were killed"
    )
    job = entry.job
    try:
        if entry.operation in (
            Operation.SWEEP,
            Operation.WALK,
            Operation.FINISH,
        ):  # there is no poison row
            raise AIMigrationError(f"{entry.operation}: {error}")
        parts, entity_ids = _halved(entry)
    except AIMigrationError as problem:
        assert job is not None  # a live change can always be split
        stop_job(job.pk, problem.message, using)
        return
    if parts:
        entry.delete(using=using)
        QueueEntry.objects.using(using).bulk_create(parts)
    elif job is None:
        for collection in live_collections(entry.entity_type, using):
            _record(entry, collection, entity_ids[0], error, using)
        _close(entry, EntryStatus.FAILED, error, 1, using)
    else:
        failed = [_record(entry, job.collection, item, error, using) for item in entity_ids]
        _close(entry, EntryStatus.COMPLETED, error, len(failed), using)
        MigrationJob.objects.using(using).filter(pk=job.pk).update(
            processed_entities=F("processed_entities") + sum(failed),
            failed_entities=F("failed_entities") + sum(failed),
            last_updated_at=Now(),
        )
        if problems := too_many_failures(job.pk, using):
            stop_job(job.pk, problems, using)


def _halved(entry: QueueEntry) -> tuple[list[QueueEntry], list[str]]:
    """Return two halves of an entry; or none, and its only entity, if that still exists.

    Raises:
        AIMigrationError: The entity type's config is wrong, or a key is unusable.
    """
    if entry.entity_ids is not None:
        middle = len(entry.entity_ids) // 2
        if not middle:
            return [], entry.entity_ids
        left, right = entry.entity_ids[:middle], entry.entity_ids[middle:]
        return [
            _part(entry, len(left), entity_ids=left),
            _part(entry, len(right), entity_ids=right),
        ], []
    assert entry.job is not None
    entity = registry.get(entry.entity_type)
    rows = apply_filters(entity, entity.rows(), load_filters(entry.job.filter_config))
    rows = entity.key.in_range(rows, entry.lower, entry.upper)
    with reading_keys(entity):
        keys = list(dict.fromkeys(key for (key,) in rows.order_by("pk").values_list("pk")))
    middle = len(keys) // 2
    if not middle:
        return [], [entity.key.to_entity_id(key) for key in keys]
    cut = entity.key.to_json(keys[middle - 1])
    if not is_found(entity, rows, cut):  # the halves might be the whole and nothing
        raise lost_key(entity, cut)
    return [
        _part(entry, middle, lower=entry.lower, upper=cut),
        _part(entry, len(keys) - middle, lower=cut, upper=entry.upper),
    ], []


def _part(entry: QueueEntry, size: int, **where: Any) -> QueueEntry:
    return QueueEntry(
        job=entry.job,
        entity_type=entry.entity_type,
        operation=entry.operation,
        priority=entry.priority,
        attempts=entry.attempts,
        claims=1 if size == 1 else get_settings().MAX_CRASHES - 1,
        indexed=min(entry.indexed, size),
        created_at=entry.created_at,
        **where,
    )


def _record(
    entry: QueueEntry, collection: Collection, entity_id: str, error: str, using: str
) -> bool:
    """Record an entity as failed; return whether it was not recorded yet."""
    failures = EntityFailure.objects.using(using).filter(job=entry.job)
    if entry.job is None:
        failures = failures.filter(collection=collection)
    values = {"error_code": WORKER_DIED, "error": error, "attempts": entry.claims}
    known = failures.filter(entity_id=entity_id[:255])
    if known.update(**values, last_failed_at=Now()):
        return False
    EntityFailure.objects.using(using).create(
        job=entry.job, collection=collection, entity_id=entity_id[:255], **values
    )
    return True


def _close(entry: QueueEntry, status: EntryStatus, error: str, failed: int, using: str) -> None:
    QueueEntry.objects.using(using).filter(pk=entry.pk).update(
        status=status, completed_at=Now(), error=error, failed=failed
    )
