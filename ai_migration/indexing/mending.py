"""Repair what a verify finds, in the transaction that counts it.

The ledger is told what it must not trust any more, and entries of the job bring these entities in
line: only what has to be is embedded. All of it under the ledger's version: an entity that was
written meanwhile stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_migration.conf import get_settings
from ai_migration.indexing.comparing import Comparison
from ai_migration.indexing.differences import Compared, Difference
from ai_migration.indexing.motion import parts
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.sql import clock, ledger
from ai_migration.models.sql.dialects.base import LedgerRow
from ai_migration.types import Operation, Priority

_ANEW = (
    Difference.LEDGER_WITHOUT_VECTOR,
    Difference.WRONG_DIMENSIONS,
    Difference.WRONG_CHUNKS,
    Difference.WRONG_VECTORS,
)
"""Differences of entities whose vectors are made again, whatever their text."""
_NO_HASH = b"\0"
"""The hash of no payload: it is written again, and nothing is embedded."""


def mend(compared: Compared, comparison: Comparison, job: MigrationJob, started: int) -> int:
    """Repair what was found; see the module.

    Args:
        compared: What was found.
        comparison: Where it was found.
        job: The verify.
        started: When the comparison began, microseconds by our database's clock.

    Returns:
        The number of entities that were put in the queue.
    """
    anew = compared.ids_of(_ANEW)
    stale = compared.ids_of([Difference.STALE])
    rows = [
        LedgerRow(row.entity_id, b"", row.metadata_hash, row.chunk_count, row.version)
        for row in map(compared.known.__getitem__, anew)
    ]
    rows += [
        LedgerRow(row.entity_id, row.content_hash, _NO_HASH, row.chunk_count, row.version)
        for row in map(compared.known.get, stale)
        if row is not None  # else the ledger differs from the row already
    ]
    newer = _distrust(rows, comparison, started)
    _remove(compared, comparison, started)
    missing = compared.ids_of([Difference.MISSING])
    wanted = [each for each in [*missing, *stale, *anew] if each not in newer]
    orphans = compared.ids_of([Difference.ORPHANED])
    grace = get_settings().ORPHAN_GRACE_SECONDS
    _put(job, wanted, comparison)
    _put(job, orphans, comparison, available_at=clock.after(grace) if grace else None)
    return len(wanted) + len(orphans)


def _distrust(rows: Sequence[LedgerRow], comparison: Comparison, started: int) -> set[str]:
    """Write ledger rows; return the entities that were written by another worker meanwhile."""
    collection = comparison.collection.pk
    return ledger.upsert(comparison.using, collection, rows, read_started=started, version=started)


def _remove(compared: Compared, comparison: Comparison, started: int) -> None:
    """Remove the vectors that the ledger does not know. A tombstone locks the entity until they are
    gone: a worker that writes it meanwhile has to read it again."""
    strays = compared.ids_of([Difference.VECTOR_WITHOUT_LEDGER])
    if not strays:
        return
    known = compared.known
    tombs = [
        LedgerRow(each, b"", b"", 0, known[each].version if each in known else 0) for each in strays
    ]
    newer = _distrust(tombs, comparison, started)
    comparison.store.delete(
        comparison.collection.ref, [each for each in strays if each not in newer]
    )


def _put(
    job: MigrationJob, entity_ids: Sequence[str], comparison: Comparison, **values: Any
) -> None:
    """Put entities in the queue, as entries of the job."""
    settings = get_settings()
    size = comparison.entity.definition.batch_size or settings.DEFAULT_BATCH_SIZE
    QueueEntry.objects.using(comparison.using).bulk_create(
        QueueEntry(
            job=job,
            entity_type=job.entity_type,
            operation=Operation.INDEX,
            priority=Priority.LOW,
            entity_ids=part,
            **values,
        )
        for part in parts(entity_ids, size)
    )
