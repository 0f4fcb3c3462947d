"""Expands one change that touches many rows: into entries of explicit ids, part by part."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from ai_migration.entities.entity import Entity
from ai_migration.exceptions import OwnershipLostError
from ai_migration.indexing import queue
from ai_migration.indexing.outbox import entries_of
from ai_migration.models import QueueEntry
from ai_migration.models.leases import Lease
from ai_migration.types import Operation, Priority

MOST_ROWS = 50_000
"""Rows in one part: only their keys are read."""


def expand(entry: QueueEntry, entity: Entity, lease: Lease) -> int:
    """Replace a claimed EXPAND entry by entries of the rows it touches, and one for the rest. They
    commit together, so that a kill neither loses a row nor walks a part twice; a part is indexed
    before the next is walked.

    Args:
        entry: The entry.
        entity: Its entity type.
        lease: The worker's lease.

    Returns:
        The number of rows in this part.

    Raises:
        OwnershipLostError: The entry or the lease was lost; nothing was changed.
        django.core.exceptions.FieldError: The model no longer has the relation.
    """
    keys = list(_touched(entry, entity)[:MOST_ROWS])
    ids = [entity.key.to_entity_id(key) for key in keys]
    made = entry.created_at
    entries = entries_of(entry.entity_type, ids, Priority.STANDARD, created_at=made)
    if len(keys) == MOST_ROWS:
        entries.append(
            QueueEntry(
                entity_type=entry.entity_type,
                operation=Operation.EXPAND,
                priority=entry.priority,
                path=entry.path,
                entity_ids=entry.entity_ids,
                lower=entity.key.to_json(keys[-1]),
                upper=entry.upper,
                created_at=made,
            )
        )
    with transaction.atomic(using=lease.using):
        lease.renew()
        if not queue.owned(lease, [entry.pk]).delete()[0]:
            raise OwnershipLostError(
                f"Entry {entry.pk} no longer belongs to worker slot {lease.slot_id}"
            )
        QueueEntry.objects.using(lease.using).bulk_create(entries)
    return len(keys)


def _touched(entry: QueueEntry, entity: Entity) -> QuerySet[Any]:
    """Return the keys of the rows a change touches, after those of the parts before. All of them,
    whatever the manager shows: the change may have hidden a row."""
    rows = entity.model._base_manager.using(entity.primary or entity.rows().db)
    if entry.path:
        rows = rows.filter(**{f"{entry.path}__in": entry.entity_ids})
    ranged = entity.key.in_range(rows, entry.lower, entry.upper)
    return ranged.order_by("pk").values_list("pk", flat=True).distinct()
