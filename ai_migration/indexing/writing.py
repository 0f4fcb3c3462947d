"""Writes a batch: vectors, ledger, entries, failures and counters, in one transaction.

Where the store is in our database all of it commits together. Any other store is written
between two writes of the ledger: the first marks the entities as untrusted, the second says what
the store has. When that one refuses (another worker wrote from a newer read, or the lease is lost)
the entities stay untrusted and are read again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from django.db import transaction
from django.db.models import F

from ai_migration.exceptions import OwnershipLostError, TransientEmbedderError
from ai_migration.indexing import queue
from ai_migration.indexing.batches import Batch
from ai_migration.indexing.outbox import entries_of
from ai_migration.indexing.outcomes import Outcome, outcome_of
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry, SearchableEntity
from ai_migration.models.leases import Lease
from ai_migration.models.sql import ledger
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.dialects.base import LedgerRow
from ai_migration.models.sql.lookups import AmongKeys
from ai_migration.types import EntryStatus, Operation, Priority, VectorBatch

logger = logging.getLogger("ai_migration")


@dataclass(frozen=True)
class Counts:
    """The counts of a batch: its entities by result, and the texts and tokens embedded. Of live
    changes also when they were made, and how many of them are searchable now."""

    indexed: int = 0
    skipped: int = 0
    removed: int = 0
    failed: int = 0
    texts: int = 0
    tokens: int = 0
    changes: tuple[tuple[datetime, int], ...] = ()

    @property
    def processed(self) -> int:
        """The number of all entities."""
        return self.indexed + self.skipped + self.removed + self.failed


def write_batch(
    batch: Batch,
    lease: Lease,
    *,
    retry_delay: float | None = None,
    delay_reason: str = "",
    released: int = 0,
) -> Counts:
    """Write the part of a batch that is ready, and finish or requeue its entries.

    Rows whose texts still wait, and rows with a retryable failure, are left for the next claim: the
    entries are requeued, and what is written stays.

    Args:
        batch: A batch, usually with all its vectors.
        lease: The worker's lease.
        retry_delay: Seconds until entries with retryable failures may be claimed again;
            None: record those failures as final.
        delay_reason: The reason for requeueing entries.
        released: Tokens that are no longer reserved on the job.

    Returns:
        The counts; no entities when the entries were requeued.

    Raises:
        OwnershipLostError: Nothing was changed.
        StoreError: The store failed; our tables are unchanged.
    """
    outcomes = [outcome_of(plan, final=retry_delay is None) for plan in batch.plans]
    retryable = any(outcome.waiting for outcome in outcomes)
    foreign = [o for o in outcomes if not _is_shared(o, lease)]
    for outcome in foreign:
        _write_vectors(outcome, _announce(batch, outcome, lease))
    try:
        with transaction.atomic(using=lease.using):
            lease.renew()
            counts = _settle_entries(batch, lease, outcomes, retryable, retry_delay, delay_reason)
            texts = sum(stop - start for each in outcomes for start, stop in each.spans)
            counts = replace(counts, texts=texts, tokens=batch.spent)
            for outcome in outcomes:
                _write_target(batch, outcome, lease, is_shared=outcome not in foreign)
            if batch.job is not None:
                _count(batch.job, lease, counts, batch.entries[0].operation, released)
            if not retryable:  # after the job's row is locked: MySQL locks it for each failure
                for outcome in outcomes:
                    _record_failures(batch, outcome, lease.using)
    except OwnershipLostError:
        for outcome in foreign:
            _read_again(batch, outcome, lease.using, [r.entity_id for r in outcome.ledger_rows])
        raise
    return counts


def _is_shared(outcome: Outcome, lease: Lease) -> bool:
    return outcome.plan.target.store.shares_transaction(lease.using)


def _settle_entries(
    batch: Batch,
    lease: Lease,
    outcomes: Sequence[Outcome],
    retryable: bool,
    retry_delay: float | None,
    delay_reason: str,
) -> Counts:
    """Complete the entries, or requeue them with their counts so far."""
    first = outcomes[0]
    unchanged = first.plan.skipped + len(first.plan.empty)
    # What an earlier claim indexed is unchanged now, unless its row changed meanwhile.
    carried = min(batch.entries[0].indexed, unchanged) if batch.job else 0
    indexed = len(first.rows) + len(first.plan.metadata_rows) + carried
    owned = queue.owned(lease, batch.entry_ids)
    if retryable:
        errors = [e for o in outcomes for e in o.plan.embed.errors.values()]
        updated = queue.requeue(
            lease,
            batch.entry_ids,
            delay=retry_delay or 0.0,
            error=errors[0].message if errors else delay_reason,
            is_attempt=any(isinstance(error, TransientEmbedderError) for error in errors),
        )
        if batch.job is not None:
            QueueEntry.objects.using(lease.using).filter(pk__in=batch.entry_ids).update(
                indexed=indexed
            )
        counts = Counts()
    else:
        known = first.plan.known
        removed = [e for e in first.plan.removed if e in known and known[e].chunk_count]
        skipped = unchanged - carried + len(first.plan.removed) - len(removed)
        counts = Counts(indexed, skipped, len(removed), len(first.failures))
        if batch.job is None:
            counts = replace(counts, changes=_changes(batch, first))
            updated, _ = owned.delete()
        else:
            updated = owned.update(
                status=EntryStatus.COMPLETED,
                completed_at=Now(),
                claimed_by=None,
                claims=0,
                error="",
                indexed=counts.indexed,
                skipped=counts.skipped,
                removed=counts.removed,
                failed=counts.failed,
            )
    if updated != len(batch.entries):
        raise OwnershipLostError(
            f"Entries {batch.entry_ids} no longer belong to worker slot {lease.slot_id}: "
            f"their result is dropped"
        )
    return counts


def _changes(batch: Batch, outcome: Outcome) -> tuple[tuple[datetime, int], ...]:
    failures = outcome.failures
    return tuple(
        (entry.created_at, sum(item not in failures for item in entry.entity_ids or ()))
        for entry in batch.entries
    )


def _announce(batch: Batch, outcome: Outcome, lease: Lease) -> set[str]:
    """Mark these entities in the ledger as untrusted until the write to a store elsewhere is
    complete: after a kill in between they are made again, whatever their rows are by then.

    Returns:
        The entities to leave alone: another worker wrote them from a newer read.
    """
    known = outcome.plan.known
    rows = []
    for row in outcome.ledger_rows:
        before = known[row.entity_id].chunk_count if row.entity_id in known else 0
        chunks = max(before, row.chunk_count)
        rows.append(LedgerRow(row.entity_id, b"", b"", chunks, row.known_version))
    with transaction.atomic(using=lease.using):
        lease.renew()
        return ledger.upsert(
            lease.using,
            outcome.plan.target.collection.pk,
            rows,
            read_started=batch.read_started,
            version=batch.read_started,
        )


def _write_target(batch: Batch, outcome: Outcome, lease: Lease, *, is_shared: bool) -> None:
    rows = outcome.ledger_rows
    if not is_shared:  # they were marked just now
        rows = [row._replace(known_version=batch.read_started) for row in rows]
    if batch.job is None:
        rows = rows + outcome.unchanged_rows
    collection = outcome.plan.target.collection
    newer = ledger.upsert(
        lease.using,
        collection.pk,
        rows,
        read_started=batch.read_started,
        version=batch.read_ended,
    )
    if is_shared:
        _write_vectors(outcome, newer)
    if newer:
        _read_again(batch, outcome, lease.using, sorted(newer), is_stale=not is_shared)


def _write_vectors(outcome: Outcome, newer: set[str]) -> None:
    """Bring the store in line, leaving alone the entities in ``newer``."""
    plan = outcome.plan
    store, ref = plan.target.store, plan.target.collection.ref
    gone = [row.entity_id for row in plan.empty if row.entity_id in plan.known]
    gone += plan.removed + plan.shrunk
    gone = [entity_id for entity_id in gone if entity_id not in newer]
    if gone:
        store.delete(ref, gone)
    batch = _vector_batch(outcome, newer)
    if len(batch):
        store.upsert(ref, batch)
    changed = [row for row in plan.metadata_rows if row.entity_id not in newer]
    if changed:
        store.update_metadata(
            ref, [row.entity_id for row in changed], [row.metadata or {} for row in changed]
        )


def _vector_batch(outcome: Outcome, newer: set[str]) -> VectorBatch:
    embed = outcome.plan.embed
    rows, spans = outcome.rows, outcome.spans
    if newer:
        kept = [i for i, row in enumerate(rows) if row.entity_id not in newer]
        rows, spans = [rows[i] for i in kept], [spans[i] for i in kept]
    vectors = embed.vectors
    if len(rows) == len(embed.texts):  # one chunk each, and all of them
        ids = [row.entity_id for row in rows]
        chunks: Sequence[int] = [0] * len(ids)
        payloads = [row.metadata for row in rows]
    else:
        pairs = [
            (row, index, index - start)
            for row, (start, stop) in zip(rows, spans, strict=True)
            for index in range(start, stop)
        ]
        ids = [row.entity_id for row, _, _ in pairs]
        chunks = [chunk for _, _, chunk in pairs]
        payloads = [row.metadata for row, _, _ in pairs]
        vectors = vectors[np.fromiter((i for _, i, _ in pairs), dtype=np.intp, count=len(pairs))]
    if not ids or payloads[0] is None:
        return VectorBatch(ids, chunks, vectors)
    return VectorBatch(ids, chunks, vectors, [payload or {} for payload in payloads])


def _read_again(
    batch: Batch, outcome: Outcome, using: str, entity_ids: list[str], *, is_stale: bool = True
) -> None:
    """Have entities read again; ``is_stale``: the store may hold an older text of them
    than the ledger says, so that they must be embedded even if the hash agrees."""
    if not entity_ids:
        return
    with transaction.atomic(using=using):
        if is_stale:
            SearchableEntity.objects.using(using).filter(
                collection=outcome.plan.target.collection,
                entity_id__in=entity_ids,
            ).update(content_hash=b"")
        # Of live changes the oldest, so that none is taken for fresher than it is.
        made = Now() if batch.job else min(entry.created_at for entry in batch.entries)
        QueueEntry.objects.using(using).bulk_create(
            entries_of(batch.entity.name, entity_ids, Priority.STANDARD, created_at=made)
        )
    logger.info("%s entities of %s are read again", len(entity_ids), batch.entity.name)


def _record_failures(batch: Batch, outcome: Outcome, using: str) -> None:
    """Record failures, and delete those that no longer apply. Only once the entries are settled:
    requeued entries are tried again as a whole."""
    touched = {entity_id for entry in batch.entries for entity_id in entry.entity_ids or ()}
    failed = {entity_id[:255]: failure for entity_id, failure in outcome.failures.items()}
    touched |= failed.keys()
    if not touched:
        return
    failures = EntityFailure.objects.using(using).filter(job=batch.job)
    if batch.job is None:
        failures = failures.filter(collection=outcome.plan.target.collection)
    listed = failures.filter(AmongKeys(F("entity_id"), sorted(touched)))
    # In place: a retry walks the failures by their keys, and must not meet them again.
    before = {row.entity_id: row for row in listed}
    failures.filter(pk__in=[row.pk for key, row in before.items() if key not in failed]).delete()
    again, new = [], []
    for entity_id, failure in failed.items():
        row = before.get(entity_id)
        if row is None:
            row = EntityFailure(
                job=batch.job, collection=outcome.plan.target.collection, entity_id=entity_id
            )
            new.append(row)
        else:
            row.attempts += 1
            row.last_failed_at = Now()
            again.append(row)
        row.error_code, row.error = failure.code, failure.message
    EntityFailure.objects.using(using).bulk_create(new)
    EntityFailure.objects.using(using).bulk_update(
        again, ["error_code", "error", "attempts", "last_failed_at"], batch_size=500
    )


def _count(
    job: MigrationJob,
    lease: Lease,
    counts: Counts,
    operation: str,
    released: int,
) -> None:
    """Add to the job's counters; a retry moves entities from failed to what they are now."""
    retried = counts.processed if operation == Operation.RETRY else 0
    changes = {
        "processed_entities": counts.processed - retried,
        "indexed_entities": counts.indexed,
        "skipped_entities": counts.skipped,
        "removed_entities": counts.removed,
        "failed_entities": counts.failed - retried,
        "embedded_texts": counts.texts,
        "embedded_tokens": counts.tokens,
        "reserved_tokens": -released,
    }
    MigrationJob.objects.using(lease.using).filter(pk=job.pk).update(
        **{name: F(name) + change for name, change in changes.items() if change},
        last_updated_at=Now(),
    )
