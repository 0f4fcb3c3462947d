"""Find the entities in motion: a change of theirs waits in the queue, or is being written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from ai_migration.entities.entity import Entity
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.indexing.outbox import Change
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.queue import OPEN_ENTRIES
from ai_migration.types import OPEN_STATUSES, JobKind, Operation

_AT_ONCE = 500
"""Keys in one statement, and entries of one page."""


def in_motion(
    entity: Entity,
    reader: EntityReader,
    collection_id: int,
    entity_ids: Collection[str],
    using: str,
) -> set[str]:
    """Return those of these entities that will be brought in line without a repair: by an open
    migration of the collection, or by an entry of the queue. Of a change that touches many rows
    over a relation, all may be.

    Args:
        entity: The entity type.
        reader: Its reader.
        collection_id: The collection.
        entity_ids: The entities.
        using: Database alias of our tables.
    """
    if not entity_ids:
        return set()
    migrations = MigrationJob.objects.using(using).filter(
        collection=collection_id, kind=JobKind.MIGRATION, status__in=OPEN_STATUSES
    )
    if migrations.exists():
        return {*entity_ids}
    waiting = QueueEntry.objects.using(using).filter(
        Q(job=None)
        | Q(
            job__collection=collection_id,
            job__status__in=OPEN_STATUSES,
            entity_ids__isnull=False,
        ),
        entity_type=entity.name,
        status__in=OPEN_ENTRIES,
    )
    if waiting.exclude(path="").exists():
        return {*entity_ids}
    left = {*entity_ids}
    left -= _alone(waiting, entity, left)
    for operation, listed, lower, upper in _several(waiting):
        if not left:
            break
        if operation == Operation.EXPAND:
            rows = entity.rows(fresh=True)
            gone = left - reader.present(rows, [*left])
            left -= gone | reader.present(entity.key.in_range(rows, lower, upper), [*left])
        else:
            left -= {*listed}
    return {*entity_ids} - left


def _alone(waiting: QuerySet[QueueEntry], entity: Entity, entity_ids: set[str]) -> set[str]:
    """Return those with an entry of their own, which has a coalescing key."""
    keys = {Change(entity.name, each).coalescing_key: each for each in entity_ids}
    found: set[str] = set()
    for part in parts([*keys], _AT_ONCE):
        entries = waiting.filter(coalescing_key__in=part)
        found |= {
            keys[key] for key in entries.values_list("coalescing_key", flat=True) if key in keys
        }
    return found


def _several(waiting: QuerySet[QueueEntry]) -> Iterator[Any]:
    """Yield operation, ids and bounds of the entries for several entities."""
    last = 0
    while True:
        page = list(
            waiting.filter(coalescing_key=None, pk__gt=last)
            .order_by("pk")
            .values_list("pk", "operation", "entity_ids", "lower", "upper")[:_AT_ONCE]
        )
        for _, *entry in page:
            yield entry
        if len(page) < _AT_ONCE:
            return
        last = page[-1][0]


def parts(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield a sequence in parts."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
