"""Metrics of the engine, counted in our tables: a row for each minute and worker slot."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import Error, IntegrityError, transaction
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncHour

from ai_migration.engine.insight.freshness import Freshness
from ai_migration.models import EngineMetrics
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock

logger = logging.getLogger("ai_migration")

KEEP_FOR = timedelta(days=7)
"""The time for which metrics are kept."""


@dataclass(frozen=True)
class Tally:
    """Counts of the engine's work.

    Attributes:
        slices: Slices that had something to do.
        claims: Entries that were claimed.
        batches: Batches that were written.
        batch_seconds: From read to written, added up over the batches; time that several batches of
            a slot were open at once counts once.
        entities: Entities that were indexed, skipped, removed or recorded as failed.
        texts: Texts that were embedded.
        recoveries: Entries of dead workers that were requeued.
        leases_lost: Results dropped because another worker owned the work by then.
        freshness: The waits of the live changes that became searchable.
    """

    slices: int = 0
    claims: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    entities: int = 0
    texts: int = 0
    recoveries: int = 0
    leases_lost: int = 0
    freshness: Freshness = field(default_factory=Freshness)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def numbers(self) -> dict[str, float]:
        """The counts that are not zero, except the freshness."""
        found = {name: getattr(self, name) for name in _NUMBERS}
        return {name: number for name, number in found.items() if number}


_NUMBERS = [each.name for each in fields(Tally) if each.name != "freshness"]


@dataclass(frozen=True)
class EngineMinute:
    """The work of all slots in one minute.

    Attributes:
        at: Start of the minute.
        tally: The counts.
    """

    at: datetime
    tally: Tally


class Done(NamedTuple):
    """Entities that were done in some time.

    Attributes:
        at: Start of the minute or hour.
        entities: Their number.
        seconds: The part of the time in which somebody worked.
    """

    at: datetime
    entities: int
    seconds: float


def add_to_minute(slot_id: int, tally: Tally, using: str) -> None:
    """Add to the counts of a slot and this minute. Empty counts are not written, and errors are
    only logged: the work is done all the same.

    Args:
        slot_id: The slot.
        tally: The counts.
        using: Database alias of our tables.
    """
    counted = tally.numbers
    if not counted and not tally.freshness:
        return
    try:
        with transaction.atomic(using=using):
            minute = clock.now(using).replace(second=0, microsecond=0)
            rows = EngineMetrics.objects.using(using).filter(minute=minute, slot=slot_id)
            more = {name: F(name) + number for name, number in counted.items()}
            if not rows.update(**more):
                try:
                    with transaction.atomic(using=using):
                        rows.create(minute=minute, slot_id=slot_id, **counted)
                except IntegrityError:  # another process was faster
                    rows.update(**more)
            if tally.freshness:
                kept = rows.select_for_update().values_list("freshness", flat=True).get()
                rows.update(freshness=(Freshness.from_json(kept) + tally.freshness).to_json())
    except Error as error:
        logger.info("Metrics of slot %s were not written: %s", slot_id, error)


def engine_minutes(last: timedelta = timedelta(hours=3)) -> list[EngineMinute]:
    """Return the engine's recent work, oldest first; idle minutes are absent.

    Args:
        last: How far to look back, :data:`KEEP_FOR` at most.
    """
    using = our_database()
    sums = {f"sum_{name}": Sum(name) for name in _NUMBERS}
    since = clock.now(using) - last
    waits = _freshness_by_minute(since, using)
    rows = (
        EngineMetrics.objects.using(using)
        .filter(minute__gt=since)
        .values("minute")
        .annotate(**sums)
        .order_by("minute")
        .values_list("minute", *sums)
    )
    return [
        EngineMinute(at, replace(Tally(*numbers), freshness=waits.get(at, Freshness())))
        for at, *numbers in rows
    ]


def freshness(last: timedelta = timedelta(hours=1)) -> Freshness:
    """Return the waits of the live changes that became searchable recently.

    Args:
        last: How far to look back, :data:`KEEP_FOR` at most.
    """
    using = our_database()
    return sum(_freshness_by_minute(clock.now(using) - last, using).values(), Freshness())


def _freshness_by_minute(since: datetime, using: str) -> dict[datetime, Freshness]:
    rows = EngineMetrics.objects.using(using).filter(minute__gt=since, freshness__isnull=False)
    found: defaultdict[datetime, Freshness] = defaultdict(Freshness)
    for minute, document in rows.values_list("minute", "freshness"):
        found[minute] += Freshness.from_json(document)
    return found


def entities_done(since: datetime, *, hourly: bool = False) -> list[Done]:
    """Return what was done, oldest first, without times in which nothing was.

    Args:
        since: The start; :data:`KEEP_FOR` ago at most.
        hourly: Add it up by the hour instead of the minute.
    """
    rows = EngineMetrics.objects.using(our_database()).filter(minute__gte=since, entities__gt=0)
    at = TruncHour("minute", tzinfo=UTC) if hourly else F("minute")
    sums = (
        rows.values(at=at)
        .annotate(
            sum_entities=Sum("entities"),
            seconds=Sum("batch_seconds"),
            minutes=Count("minute", distinct=True),
            slots=Count("slot", distinct=True),
        )
        .order_by("at")
    )
    columns = ("at", "sum_entities", "seconds", "minutes", "slots")
    return [
        Done(at, entities, busy_seconds(seconds, minutes, slots))
        for at, entities, seconds, minutes, slots in sums.values_list(*columns)
    ]


def busy_seconds(seconds: float, minutes: int, slots: int) -> float:
    """Return the seconds in which somebody worked. Slots may have worked one after the other or at
    once: they are taken for one after the other while that fits in the time, so that no rate is
    said to be higher than it was.

    Args:
        seconds: The seconds of all slots.
        minutes: The minutes in which one of them wrote something.
        slots: The slots that did.
    """
    if not seconds:  # not measured
        return 60.0 * minutes
    return max(min(seconds, 60.0 * minutes), seconds / slots)


def drop_old_metrics(using: str) -> None:
    """Delete metrics older than :data:`KEEP_FOR`."""
    EngineMetrics.objects.using(using).filter(minute__lt=clock.now(using) - KEEP_FOR).delete()
