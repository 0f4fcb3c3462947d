"""The slots of a cluster: who is asked to work, and what comes of it.

The row of a slot is the truth. A message is only a wake-up: it names a slot and the
generation the slot was in, and taking the slot is one conditional UPDATE that ends that
generation. So a message that comes twice, late or forked does nothing, and one that is lost
is sent again by the supervisor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q, Value

from ai_migration.conf import get_settings
from ai_migration.engine.slice import Slice, SliceReport
from ai_migration.engine.supervisor import holder_name
from ai_migration.exceptions import OwnershipLostError
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import Lease, our_database, take
from ai_migration.models.sql.clock import Now
from ai_migration.types import EntryStatus, JobStatus

logger = logging.getLogger("ai_migration")

LOST_AFTER = timedelta(seconds=60)
"""A message that nobody has acted upon for so long is taken for lost."""
_NAME = "cluster"


@dataclass(frozen=True)
class WakeUp:
    """What a message says: work in this slot, if it is still in this generation."""

    slot_id: int
    generation: int


Send = Callable[[WakeUp], None]
"""Delivers a message, now or when the current transaction commits."""


def has_work(using: str) -> bool:
    """Whether there is something to claim, or a job that will have some."""
    if MigrationJob.objects.using(using).filter(status=JobStatus.RUNNING).exists():
        return True
    live = QueueEntry.objects.using(using).filter(job=None, status=EntryStatus.PENDING)
    return live.filter(Q(available_at=None) | Q(available_at__lte=Now())).exists()


def wake_one(send: Send) -> bool:
    """Have somebody work in an idle slot that nobody was asked for; whether there was one."""
    using = our_database()
    slots = WorkerSlot.objects.using(using)
    names = [f"{_NAME}-{number}" for number in range(1, get_settings().WORKERS + 1)]
    known = {slot.name: slot for slot in slots.filter(name__in=names)}
    for name in names:
        slot = known.get(name) or slots.get_or_create(name=name)[0]
        if slot.lease_expires_at is None and _ask(slot.pk, slot.generation, using, send):
            return True
    return False


def wake_all(send: Send) -> int:
    """Have all idle slots worked in while there is work; how many were asked for."""
    using = our_database()
    woken = 0
    while has_work(using) and woken < get_settings().WORKERS and wake_one(send):
        woken += 1
    return woken


def work(
    wake_up: WakeUp, send: Send, *, should_stop: Callable[[], bool] = lambda: False
) -> SliceReport | None:
    """What a message asks for: one slice, and a message for the next while there is work.

    Args:
        wake_up: The message.
        send: Delivers the next.
        should_stop: Asked often; True hands the slot over within the requests in flight.

    Returns:
        What the slice did; None: the slot is held, or the message is old.
    """
    lease = take(wake_up.slot_id, wake_up.generation, holder_name())
    if lease is None:
        return None
    try:
        if has_work(lease.using):
            wake_one(send)  # a job uses all slots that are free
        return _slice(lease, should_stop)
    except OwnershipLostError as error:
        logger.warning("%s", error)
        return None
    finally:
        _hand_over(lease, send)


def _slice(lease: Lease, should_stop: Callable[[], bool]) -> SliceReport:
    """Work until the slice's time is up; while what is left has to wait, wait."""
    ends = time.monotonic() + get_settings().SLICE_SECONDS
    batches = 0
    while True:
        seconds = max(0.1, ends - time.monotonic())
        report = Slice(lease, should_stop=should_stop, seconds=seconds).run()
        batches += report.batches
        left = ends - time.monotonic()
        if left <= 0 or should_stop() or not has_work(lease.using):
            return SliceReport(batches, report.is_idle, report.wait)
        if report.is_idle or not report.batches:
            time.sleep(min(report.wait or 1.0, 1.0, left))


def _hand_over(lease: Lease, send: Send) -> None:
    """Release the slot and send the next message, both or neither."""
    if connections[lease.using].needs_rollback:
        return
    with transaction.atomic(using=lease.using):
        lease.release()
        if has_work(lease.using):
            _ask(lease.slot_id, lease.generation + 1, lease.using, send)


def _ask(slot_id: int, generation: int, using: str, send: Send) -> bool:
    """Send a message for a slot, unless it is held or one is on its way."""
    before = ExpressionWrapper(Now() - Value(LOST_AFTER), output_field=DateTimeField())
    with transaction.atomic(using=using):
        asked = (
            WorkerSlot.objects.using(using)
            .filter(
                Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now()),
                Q(woken_at=None) | Q(woken_at__lt=before),
                pk=slot_id,
                generation=generation,
            )
            .update(woken_at=Now())
        )
        if asked:
            send(WakeUp(slot_id, generation))
    return bool(asked)
