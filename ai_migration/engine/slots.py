"""The slots of a cluster: messages that ask for work, and the work itself.

The row of a slot is the truth. A message is only a wake-up: it names a slot and the
token the slot had, and taking the slot is one conditional UPDATE that gives it a new
one. So a message that comes twice, late or forked does nothing, and one that is lost
is sent again by the supervisor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q

from ai_migration.conf import get_settings
from ai_migration.dispatch import WakeUp
from ai_migration.engine.holders import holder_name
from ai_migration.engine.readiness import require_ready
from ai_migration.engine.slices.slice import Slice, SliceReport
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.exceptions import OwnershipLostError
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import Lease, lock, our_database, take
from ai_migration.models.queue import OPEN_ENTRIES
from ai_migration.models.sql import clock
from ai_migration.models.sql.apart import own_sessions
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.outages import UNAVAILABLE
from ai_migration.types import EntryStatus, JobStatus

logger = logging.getLogger("ai_migration")

LOST_AFTER = timedelta(seconds=30)
"""A message without effect for this long is taken for lost."""
PATIENCE = 20.0
"""Seconds a worker waits for a lost database before it lets its lease run out."""
_LOOK_EVERY = 0.5
_NAME = "cluster"
_MUTEX = "slots"


Send = Callable[[WakeUp], None]
"""Delivers a message, now or when the current transaction commits."""


def has_work(using: str, *, within: float = 0.0) -> bool:
    """Return whether there is something to claim, or a job to feed.

    Args:
        using: Database alias of our tables.
        within: Seconds; what can be claimed by then counts, too.
    """
    soon = clock.after(within)
    running = MigrationJob.objects.using(using).filter(
        Q(throttled_until=None) | Q(throttled_until__lte=soon), status=JobStatus.RUNNING
    )
    entries = QueueEntry.objects.using(using)
    due = entries.filter(
        Q(available_at=None) | Q(available_at__lte=soon),
        Q(job=None) | Q(job__in=list(running.values_list("pk", flat=True))),
        status=EntryStatus.PENDING,
        claims__lt=get_settings().MAX_CRASHES,
    )
    if due.exists():
        return True
    claimed_or_not = entries.filter(job=OuterRef("pk"), status__in=OPEN_ENTRIES)
    return running.filter(~Exists(claimed_or_not)).exists()


def wake_one(send: Send) -> bool:
    """Send a message for one idle slot that has none; return whether there was such a slot."""
    using = our_database()
    slots = WorkerSlot.objects.using(using)
    names = _names()
    known = {slot.name: slot for slot in slots.filter(name__in=names)}
    for name in names:
        slot = known.get(name) or slots.get_or_create(name=name)[0]
        if slot.lease_expires_at is None and _ask(slot.pk, slot.token, using, send):
            return True
    return False


def wake_all(send: Send) -> int:
    """Send messages for all idle slots, if there is work; return how many."""
    using = our_database()
    woken = 0
    while (
        has_work(using, within=get_settings().SLICE_SECONDS)
        and woken < get_settings().WORKERS
        and wake_one(send)
    ):
        woken += 1
    return woken


def work(
    wake_up: WakeUp, send: Send, *, should_stop: Callable[[], bool] = lambda: False
) -> SliceReport | None:
    """Run the slice that a message asks for, and send the next message while there is work.

    Args:
        wake_up: The message.
        send: Delivers the next.
        should_stop: Called often; True hands the slot over after the requests in flight.

    Returns:
        The slice's report; None if the slot is held, or the message is old.

    Raises:
        TenantError: As :func:`~ai_migration.engine.worker.run_worker`.
        SettingsError: As well.
    """
    with own_sessions():
        require_ready()
        lease = take(wake_up.slot_id, wake_up.token, holder_name())
        return None if lease is None else _work(lease, send, should_stop)


def _work(lease: Lease, send: Send, should_stop: Callable[[], bool]) -> SliceReport | None:
    report = None
    try:
        tick()  # recovers dead workers of this host before the supervisor's minute
        report = _slice(lease, send, should_stop)
    except OwnershipLostError as error:
        logger.warning("%s", error)
    finally:
        _hand_over(lease, send, is_idle=report is not None and report.is_idle)
    return report


def _slice(lease: Lease, send: Send, should_stop: Callable[[], bool]) -> SliceReport:
    """Work until the time is up, or nothing is left to claim."""
    ends = time.monotonic() + get_settings().SLICE_SECONDS
    batches = 0
    while True:
        if has_work(lease.using):
            wake_one(send)  # a job uses all free slots
        seconds = max(0.1, ends - time.monotonic())
        report = Slice(lease, should_stop=should_stop, seconds=seconds).run()
        batches += report.batches
        if not report.is_idle or not _keep_watch(lease, ends, should_stop):
            return SliceReport(batches, report.is_idle, report.wait)


def _keep_watch(lease: Lease, ends: float, should_stop: Callable[[], bool]) -> bool:
    """Wait for something to claim, unless another worker is awake; return whether there is.
    Messages cannot be delayed, and the supervisor's minute is long."""
    while (left := ends - time.monotonic()) > 0 and not should_stop():
        if _others_awake(lease) or not has_work(lease.using, within=left):
            return False
        time.sleep(min(_LOOK_EVERY, left))
        lease.renew()
        if has_work(lease.using):
            return True
    return False


def _hand_over(lease: Lease, send: Send, *, is_idle: bool) -> None:
    """Release the slot and send the next message, both or neither. Wait while the database is down:
    then the claimed entries need not wait for the lease to run out."""
    if connections[lease.using].needs_rollback:
        return
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            with transaction.atomic(using=lease.using):
                lock(_MUTEX, lease.using)  # of two workers that leave, the second sees it
                lease.release()
                if not (is_idle and _others_awake(lease)) and has_work(
                    lease.using, within=get_settings().SLICE_SECONDS
                ):
                    _ask(lease.slot_id, lease.token + 1, lease.using, send)
            return
        except UNAVAILABLE:
            connections.close_all()
            if time.monotonic() > ends:
                raise
            time.sleep(_LOOK_EVERY)


def _others_awake(lease: Lease) -> bool:
    """Return whether another slot is held, or a message for one is on its way."""
    awake = Q(lease_expires_at__gt=Now()) | Q(
        woken_at__gte=clock.after(-LOST_AFTER.total_seconds())
    )
    slots = WorkerSlot.objects.using(lease.using).filter(awake, name__in=_names())
    return slots.exclude(pk=lease.slot_id).exists()


def _names() -> list[str]:
    return [f"{_NAME}-{number}" for number in range(1, get_settings().WORKERS + 1)]


def _ask(slot_id: int, token: int, using: str, send: Send) -> bool:
    """Send a message for a slot, unless it is held or a message is on its way."""
    with transaction.atomic(using=using):
        asked = (
            WorkerSlot.objects.using(using)
            .filter(
                Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now()),
                Q(woken_at=None) | Q(woken_at__lt=clock.after(-LOST_AFTER.total_seconds())),
                pk=slot_id,
                name__in=_names(),  # WORKERS may be fewer by now
                token=token,
            )
            .update(woken_at=Now())
        )
        if asked:
            send(WakeUp(slot_id, token))
    return bool(asked)
