"""The limit on what a full run may remove by itself: half of a large index.

A manager that hides rows outside a request, a new filter on it, a table emptied by mistake: to a
run, each looks as if the rows were gone.
"""

from __future__ import annotations

from ai_migration.entities.entity import Entity
from ai_migration.exceptions import RemovalsRefusedError
from ai_migration.jobs.feed.collections import active_collection
from ai_migration.models import MigrationJob, SearchableEntity
from ai_migration.models.sql.counting import bounded_count
from ai_migration.words import counted

LARGE = 100
"""An index of more entities than this is not emptied without permission."""


def refusal(entity: Entity, using: str) -> str:
    """Return why the index of an entity type may not follow its rows: it would lose more than half.
    Counts decide, so that it is known before anything is removed.

    Args:
        entity: The entity type.
        using: Database alias of our tables.

    Returns:
        A sentence with the number it would lose; empty: it may.
    """
    serving = active_collection(entity.name, using)
    if serving is None:
        return ""
    ledger = SearchableEntity.objects.using(using)
    indexed = ledger.filter(collection=serving, chunk_count__gt=0).count()
    if indexed <= LARGE:
        return ""
    half = indexed // 2
    rows, _ = bounded_count(entity.rows(), half, everywhere=True)
    if indexed - rows <= half:
        return ""
    return (
        f"{indexed - rows:,} of the {indexed:,} entities in the index of {entity.name!r} would be "
        f"removed: {entity.model._meta.label} shows {counted(rows, 'row')}."
    )


def require_few_removals(job: MigrationJob, entity: Entity) -> None:
    """Stop a full run that would remove more than half of the index that answers searches, by its
    sweep or by the collection it builds to replace it.

    Args:
        job: The job, after its phase source.
        entity: Its entity type.

    Raises:
        RemovalsRefusedError: Says how many, and how to allow it.
    """
    if job.allow_removals or job.filter_config:
        return
    assert job._state.db is not None
    if words := refusal(entity, job._state.db):
        raise RemovalsRefusedError(
            f"{words} Nothing was removed. If the rows are there, look at its queryset, manager "
            f"and database. If they are to go: manage.py migrate_ai_entities --resume {job.pk} "
            f"--allow-removals"
        )
