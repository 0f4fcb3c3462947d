"""Opportunistic recovery: a command or a page that looks at jobs does the supervisor's work.

A cluster's scheduler can hang, and a host without one has no supervisor at all: without this, users
who look at jobs would wait in vain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from ai_migration.dispatch import get_dispatcher
from ai_migration.engine.slots import wake_all
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.models import WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now

logger = logging.getLogger("ai_migration")

EVERY = timedelta(seconds=10)
"""The shortest time between two recoveries, over all processes and hosts."""
RECOVERY = "opportunistic-recovery"
"""Name of the row that keeps the time of the last recovery."""


def recover_opportunistically() -> None:
    """Run the supervisor's tick and wake idle slots, unless that was done a moment ago.

    For commands and pages that look at jobs: reads one row when there is nothing to do, never
    fails, and runs after the caller's transaction, if there is one.
    """
    with _forgiving():
        transaction.on_commit(_recover, using=our_database())


recover_in_passing = recover_opportunistically
"""Its former name."""


def _recover() -> None:
    with _forgiving():
        if _is_due():
            tick()
            dispatcher = get_dispatcher()
            if dispatcher.supports_messages:
                wake_all(dispatcher.send)


@contextmanager
def _forgiving() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the caller wanted something else
        logger.info("Opportunistic recovery failed: %s", error)


def _is_due() -> bool:
    """Return whether a recovery is due; if so, claim it for this process."""
    slots = WorkerSlot.objects.using(our_database()).filter(name=RECOVERY)
    due = Q(last_seen_at=None) | Q(last_seen_at__lt=clock.after(-EVERY.total_seconds()))
    if not slots.exists():
        slots.get_or_create(name=RECOVERY)
    return slots.filter(due).exists() and bool(slots.filter(due).update(last_seen_at=Now()))
