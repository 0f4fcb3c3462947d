"""The queue: put work in, claim it by priority, requeue it."""

from __future__ import annotations

from collections.abc import Collection as AbstractCollection
from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet

import ai_migration.entities.registry as registry
from ai_migration.conf import get_settings
from ai_migration.dispatch import wake
from ai_migration.exceptions import InvalidRequestError
from ai_migration.indexing.outbox import entries_of, on_commit_once, written_with
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.leases import Lease, our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.redaction import redacted
from ai_migration.types import EntryStatus, JobStatus, Operation, Priority

_SMALLER = 8
"""How much smaller a group of suspects is after each death."""


def enqueue(
    entity_type: str,
    ids: Iterable[object],
    operation: Operation | str = Operation.INDEX,
    priority: Priority | int = Priority.HIGH,
) -> int:
    """Ask for explicit entities to be brought in line with their source rows.

    The entries are written in the caller's transaction: they exist exactly if its changes
    do. (Where the rows are in another database than our tables: as soon as that transaction
    is committed.) **Have one open**, by ``transaction.atomic()`` around the change and this
    call or by ``ATOMIC_REQUESTS``: in autocommit they are two commits, and a process that is
    killed between them leaves a change that is never indexed. Rows are read when the
    entry is processed, never from here.

    Args:
        entity_type: The entity type's name.
        ids: Primary keys, or entity ids as strings; duplicates count once.
        operation: INDEX looks at each row and indexes or removes it; DELETE removes.
        priority: Lower goes first.

    Returns:
        The number of entities put in the queue.

    Raises:
        UnknownEntityTypeError: No such entity type.
        InvalidRequestError: An id is not a primary key of the model, or the operation or the
            priority is unknown.
    """
    entity = registry.get(entity_type)
    try:
        operation, priority = Operation(operation), Priority(priority)
    except ValueError as error:
        raise InvalidRequestError(f"{error}: see Operation and Priority", field="operation") from (
            error
        )
    if operation not in {Operation.INDEX, Operation.DELETE}:
        raise InvalidRequestError(
            f"Operation {operation} is the engine's own; use INDEX or DELETE", field="operation"
        )
    if isinstance(ids, (str, bytes)):
        raise InvalidRequestError("ids must be a list of ids, not one string", field="entity_ids")
    entity_ids = list(dict.fromkeys(entity.key.parse(item) for item in ids))
    if not entity_ids:
        return 0
    using = our_database()
    entries = entries_of(entity.name, entity_ids, priority, operation=operation)

    def write() -> None:
        QueueEntry.objects.using(using).bulk_create(entries)
        on_commit_once(wake, using)

    source = written_with(entity.model, entity.definition.using)
    if source == using:
        write()
    else:
        transaction.on_commit(write, using=source)
    return len(entity_ids)


def claim(
    lease: Lease,
    limit: int,
    *,
    live_rows: int = 0,
    only_live: bool = False,
    only_jobs: AbstractCollection[str] | None = None,
    except_jobs: AbstractCollection[str] = (),
    in_hand: bool = False,
) -> list[QueueEntry]:
    """Take the next entries: by priority, then in the order they came.

    Entries of a job that is not RUNNING, or that is throttled, stay where they are; live ones
    do not wait with it. A suspect, which a worker did not come back from, is claimed alone: if it
    kills this one too, no other entry becomes a suspect. Of live changes a dead worker may have had
    hundreds: they are claimed in groups that become smaller with each death, and alone before they
    are given up.

    Args:
        lease: The worker's lease.
        limit: Number of entries, at most.
        live_rows: If these are all live changes, more of them are claimed, until they have so many
            rows; those that would exceed it are left.
        only_live: Claim no entries of jobs.
        only_jobs: Claim only entries of these jobs, and live changes of the entity types they
            index.
        except_jobs: Claim nothing of these.
        in_hand: Whether the worker has entries already: take no suspect.

    Returns:
        The entries, with ``claims`` as they were before.

    Raises:
        OwnershipLostError: The lease was lost.
    """
    running = MigrationJob.objects.using(lease.using).filter(status=JobStatus.RUNNING)
    if except_jobs:
        running = running.exclude(pk__in=except_jobs)
    ready = Q(throttled_until=None) | Q(throttled_until__lte=Now())
    wanted = _due(lease.using)
    with transaction.atomic(using=lease.using):
        lease.renew()
        if only_jobs is not None:
            is_ready = ExpressionWrapper(ready, BooleanField())
            jobs = running.filter(pk__in=only_jobs).values_list("pk", "entity_type", is_ready)
            live = Q(job=None, entity_type__in={entity_type for _, entity_type, _ in jobs})
            wanted = wanted.filter(Q(job__in=[pk for pk, _, is_ready in jobs if is_ready]) | live)
        elif not only_live:
            wanted = wanted.filter(
                Q(job=None) | Q(job__in=list(running.filter(ready).values_list("pk")))
            )
        if only_live:
            wanted = wanted.filter(job=None)
        wanted = wanted.order_by("priority", "id").select_for_update(skip_locked=True)
        entries = list(wanted[:limit])
        if entries and entries[0].claims and in_hand:
            entries = []
        elif entries:
            entries = _together(entries, wanted, limit, live_rows)
        QueueEntry.objects.using(lease.using).filter(pk__in=[entry.pk for entry in entries]).update(
            status=EntryStatus.CLAIMED,
            claimed_by=lease.slot_id,
            fence=lease.token,
            claimed_at=Now(),
            claims=F("claims") + 1,
            coalescing_key=None,  # no writer looks at it, and locks it, any more
        )
    return entries


def _together(
    entries: list[QueueEntry], wanted: QuerySet[QueueEntry], limit: int, live_rows: int
) -> list[QueueEntry]:
    """Return the entries that may be claimed at once, with more live ones if only live ones came
    first."""
    first = entries[0]
    if first.claims:
        is_last_chance = first.claims + 1 >= get_settings().MAX_CRASHES
        live_rows //= _SMALLER**first.claims
        if first.job_id or is_last_chance or live_rows <= 1:
            return [first]
    if len(entries) == limit and all(entry.job_id is None for entry in entries):
        more = live_rows - sum(map(_rows, entries))
        if more > 0:
            known = [entry.pk for entry in entries]
            entries += wanted.filter(job=None).exclude(pk__in=known)[:more]
    taken, rows = [first], _rows(first)
    for entry in entries[1:]:
        is_alike = entry.claims == first.claims and not (first.claims and entry.job_id)
        if not is_alike:
            break
        if entry.job_id is None and live_rows:
            rows += _rows(entry)
            if rows > live_rows:
                break
        taken.append(entry)
    return taken


def _rows(entry: QueueEntry) -> int:
    return max(1, len(entry.entity_ids or ()))


def suspects_wait(using: str) -> bool:
    """Return whether there is a suspect, which only a worker without entries claims."""
    return _due(using).filter(claims__gt=0).exists()


def live_is_due(using: str, entity_types: AbstractCollection[str] | None = None) -> bool:
    """Return whether a live change can be claimed now, by one look at an index.

    Args:
        using: Database alias of our tables.
        entity_types: Look for changes of these only; default: of all.
    """
    live = _due(using).filter(job=None)
    if entity_types is not None:
        live = live.filter(entity_type__in=entity_types)
    return live.exists()


def _due(using: str) -> QuerySet[QueueEntry]:
    return QueueEntry.objects.using(using).filter(
        Q(available_at=None) | Q(available_at__lte=Now()),
        status=EntryStatus.PENDING,
        claims__lt=get_settings().MAX_CRASHES,
    )


def owned(lease: Lease, entry_ids: Sequence[int]) -> QuerySet[QueueEntry]:
    """Return those of the entries that this lease still owns: every write filters on it."""
    return QueueEntry.objects.using(lease.using).filter(
        pk__in=entry_ids,
        status=EntryStatus.CLAIMED,
        claimed_by=lease.slot_id,
        fence=lease.token,
    )


def requeue(
    lease: Lease,
    entry_ids: Sequence[int],
    *,
    delay: float = 0.0,
    error: str = "",
    is_attempt: bool = False,
) -> int:
    """Requeue claimed entries. Their worker is alive, so this does not count as a crash.

    Args:
        lease: The worker's lease.
        entry_ids: Primary keys of the entries.
        delay: Seconds before they can be claimed again.
        error: The reason.
        is_attempt: Whether this was a failed attempt; being throttled or stopped does not count.
    """
    return owned(lease, entry_ids).update(
        status=EntryStatus.PENDING,
        claimed_by=None,
        available_at=clock.after(delay) if delay else None,
        attempts=F("attempts") + int(is_attempt),
        claims=0,
        error=redacted(error)[:1000],
    )
