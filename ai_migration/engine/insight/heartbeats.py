"""Signs of life, by the database's clock: of workers, of the supervisor, of a cluster.

The supervisor and the canary have rows among the worker slots, which are never leased. The canary
is a task that only reports back: if it does, the cluster takes tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.expressions import Combinable

from ai_migration.engine.holders import holder_name
from ai_migration.models import WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now

SUPERVISOR = "supervisor"
CANARY = "canary"
WORKER_NAME = r"-[0-9]+$"
"""The end of a worker's name; others are heartbeats and locks."""
LATE = timedelta(minutes=3)
"""Whatever happens every minute is late after this time."""
LOST_AFTER = timedelta(minutes=1)
"""A canary may be lost after this time, and another one is sent."""


_IS_AWAY = Q(woken_at__isnull=False) & (Q(last_seen_at=None) | Q(last_seen_at__lt=F("woken_at")))


def ago(field: str) -> Combinable:
    """Return the time since a moment; negative if it is yet to come."""
    return ExpressionWrapper(Now() - F(field), output_field=DurationField())


def worker_slots(using: str) -> QuerySet[WorkerSlot]:
    """Return the rows of workers."""
    return WorkerSlot.objects.using(using).filter(name__regex=WORKER_NAME)


def beat(name: str) -> None:
    """Record a sign of life.

    Args:
        name: ``SUPERVISOR`` or ``CANARY``.
    """
    slots = WorkerSlot.objects.using(our_database())
    if not slots.filter(name=name).update(holder=holder_name(), last_seen_at=Now()):
        slots.get_or_create(name=name)
        slots.filter(name=name).update(holder=holder_name(), last_seen_at=Now())


def send_canary(send: Callable[[int], None]) -> bool:
    """Send the canary out, unless it is on its way.

    Args:
        send: Asks the cluster to run ``ai_migration.tasks.canary`` with this argument.

    Returns:
        Whether it was sent.
    """
    using = our_database()
    slots = WorkerSlot.objects.using(using)
    slots.get_or_create(name=CANARY)
    may_go = ~_IS_AWAY | Q(away__gt=LOST_AFTER)
    with transaction.atomic(using=using):
        is_sent = (
            slots.annotate(away=ago("woken_at")).filter(may_go, name=CANARY).update(woken_at=Now())
        )
        if is_sent:
            send(clock.now_microseconds(using))
    return bool(is_sent)


def welcome_canary(sent: int) -> None:
    """Record that the canary came back.

    Args:
        sent: Its argument. If two were away, the row is about the first to come back.
    """
    using = our_database()
    away = timedelta(microseconds=max(0, clock.now_microseconds(using) - sent))
    left = clock.after(-away.total_seconds())
    WorkerSlot.objects.using(using).filter(_IS_AWAY, name=CANARY).update(woken_at=left)
    beat(CANARY)


def is_worker_alive() -> bool:
    """Return whether a worker of this host (or container) holds a slot by a valid lease."""
    here = holder_name().rpartition(":")[0]
    slots = worker_slots(our_database())
    return slots.filter(holder__startswith=f"{here}:", lease_expires_at__gt=Now()).exists()


def is_cluster_alive() -> bool:
    """Return whether the canary came back recently: some host of the cluster takes tasks."""
    slots = WorkerSlot.objects.using(our_database()).annotate(seen=ago("last_seen_at"))
    return slots.filter(name=CANARY, seen__lt=LATE).exists()
