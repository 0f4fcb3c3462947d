"""Leases on worker slots: each a single conditional UPDATE, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections, router, transaction
from django.db.models import (
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
)
from django.db.models.expressions import Combinable

from ai_migration.conf import get_settings
from ai_migration.exceptions import OwnershipLostError
from ai_migration.models.queue import QueueEntry
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.workers import WorkerSlot
from ai_migration.types import EntryStatus


def our_database() -> str:
    """Return the alias of the database our tables are written in."""
    return router.db_for_write(QueueEntry)


@dataclass(frozen=True)
class Lease:
    """The right to work in one slot, under one token.

    Attributes:
        slot_id: The slot.
        token: The fencing token: every write of the holder filters on it.
        using: Database alias of our tables.
    """

    slot_id: int
    token: int
    using: str

    def renew(self) -> None:
        """Extend the lease. This is the first statement of every transaction of a worker.

        Raises:
            OwnershipLostError: The lease ran out and the slot was taken.
        """
        updated = _slots(self).update(lease_expires_at=_expiry(), last_seen_at=Now())
        if not updated:
            raise OwnershipLostError(
                f"Worker slot {self.slot_id} is no longer held under token "
                f"{self.token}: its lease ran out. Unwritten results are dropped; "
                f"the new owner does the work again."
            )

    def release(self) -> None:
        """Release the slot; entries that are still claimed are requeued. The worker is alive, so
        this does not count as a crash."""
        if _slots(self).update(lease_expires_at=None, holder="", token=F("token") + 1):
            QueueEntry.objects.using(self.using).filter(
                status=EntryStatus.CLAIMED, claimed_by=self.slot_id, fence=self.token
            ).update(status=EntryStatus.PENDING, claimed_by=None, available_at=None, claims=0)
        requeue_abandoned(self.using)


def acquire(name: str, holder: str) -> Lease | None:
    """Take a slot if no worker holds it.

    Args:
        name: The slot's name; the slot is created if it does not exist.
        holder: The process that takes it, ``host:pid``.

    Returns:
        The lease, or None while another worker's is running.
    """
    slot, _ = WorkerSlot.objects.using(our_database()).get_or_create(name=name)
    return take(slot.pk, slot.token, holder)


def take(slot_id: int, token: int, holder: str) -> Lease | None:
    """Take a slot whose token is known. A second call with the same token gets nothing.

    Args:
        slot_id: The slot.
        token: Its token, as last read.
        holder: The process that takes it, ``host:pid``.

    Returns:
        The lease, or None: it is held, or was taken since.
    """
    using = our_database()
    taken = (
        WorkerSlot.objects.using(using)
        .filter(
            Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now()),
            pk=slot_id,
            token=token,
        )
        .update(
            token=F("token") + 1,
            lease_expires_at=_expiry(),
            holder=holder,
            last_seen_at=Now(),
            woken_at=None,
        )
    )
    return Lease(slot_id, token + 1, using) if taken else None


def lock(name: str, using: str) -> None:
    """Take a mutex until the transaction ends, or has been idle for half a lease: on PostgreSQL no
    process waits longer for a frozen one. Call it first in the transaction."""
    dialect(using).set_idle_timeout(get_settings().LEASE_SECONDS / 2)
    slots = WorkerSlot.objects.using(using)
    if not slots.filter(name=name).update(last_seen_at=Now()):
        slots.get_or_create(name=name)
        slots.filter(name=name).update(last_seen_at=Now())


def expire(using: str, holders: set[str] | None = None) -> int:
    """End the leases that ran out, and requeue the entries they had claimed.

    Args:
        using: Database alias of our tables.
        holders: Holders known to be dead: their leases end at once.

    Returns:
        The number of requeued entries.
    """
    over = Q(lease_expires_at__lt=Now())
    if holders:
        over |= Q(lease_expires_at__isnull=False, holder__in=holders)
    slots = WorkerSlot.objects.using(using).filter(over)
    with transaction.atomic(using=using):
        if connections[using].features.has_select_for_update:
            # A worker that froze within a transaction has its slot locked: skip it.
            free = slots.select_for_update(skip_locked=True).values_list("pk", flat=True)
            slots = slots.filter(pk__in=list(free))
        slots.update(token=F("token") + 1, lease_expires_at=None, holder="")
    return requeue_abandoned(using)


def requeue_abandoned(using: str) -> int:
    """Requeue entries whose claim has no lease. Their ``claims`` stay: their worker died, and they
    may have killed it."""
    held = WorkerSlot.objects.filter(
        pk=OuterRef("claimed_by"), token=OuterRef("fence"), lease_expires_at__isnull=False
    )
    return (
        QueueEntry.objects.using(using)
        .filter(status=EntryStatus.CLAIMED)
        .exclude(Exists(held))
        .update(status=EntryStatus.PENDING, claimed_by=None, available_at=None)
    )


def _slots(lease: Lease) -> QuerySet[WorkerSlot]:
    return WorkerSlot.objects.using(lease.using).filter(pk=lease.slot_id, token=lease.token)


def _expiry() -> Combinable:
    return clock.after(get_settings().LEASE_SECONDS)
