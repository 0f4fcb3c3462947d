"""The time in which a job was active: it ran, and somebody worked for it. Pauses do not count.

Rates, the time left and charts are made of this time, for every shell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import F, OuterRef, Q, Subquery

from ai_migration.models import JobEvent, MigrationJob, QueueEntry
from ai_migration.types import JobStatus

IDLE_AFTER = timedelta(minutes=1)
"""A longer time without a batch is idle time. Limits are per minute: to wait for one is work."""


class Span(NamedTuple):
    """The time between two moments."""

    start: datetime
    end: datetime


def joined(spans: Iterable[Span], *, bridge: timedelta = timedelta()) -> list[Span]:
    """Return what the spans cover, in order and without overlaps.

    Args:
        spans: In any order.
        bridge: Shorter gaps between them are covered too.
    """
    covered: list[Span] = []
    for start, end in sorted(spans):
        if covered and start - covered[-1].end <= bridge:
            covered[-1] = Span(covered[-1].start, max(covered[-1].end, end))
        else:
            covered.append(Span(start, end))
    return covered


def common(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return the time that both cover; each is in order and without overlaps."""
    found = []
    left, right = list(reversed(some)), list(reversed(others))
    while left and right:
        start = max(left[-1].start, right[-1].start)
        end = min(left[-1].end, right[-1].end)
        if start < end:
            found.append(Span(start, end))
        (left if left[-1].end < right[-1].end else right).pop()
    return found


def length(spans: Iterable[Span]) -> timedelta:
    """Return the time that spans without overlaps cover."""
    return sum((end - start for start, end in spans), timedelta())


def per_second(entities: int, spans: Sequence[Span]) -> float:
    """Return the rate at which entities were done in some time; 0 if it took none."""
    seconds = length(spans).total_seconds()
    return entities / seconds if seconds > 0 else 0.0


def worked(batches: Iterable[Span], running: Sequence[Span]) -> list[Span]:
    """Return the time that batches took, with the short waits between them while their job ran.

    Args:
        batches: From the claim to the completion of each.
        running: When the job was running.
    """
    spans = joined(batches)
    return joined([*spans, *common(joined(spans, bridge=IDLE_AFTER), running)])


def running_spans(
    jobs: Sequence[MigrationJob], now: datetime, using: str
) -> Mapping[str, list[Span]]:
    """Return when each job was RUNNING by its audit log, from its first claim on; until now if it
    still is. Two queries for any number of jobs.

    Args:
        jobs: The jobs.
        now: The present time, by the database's clock.
        using: Database alias of our tables.
    """
    started = {job.pk: job.started_at for job in jobs if job.started_at is not None}
    if not started:
        return {}
    events = JobEvent.objects.using(using).filter(job__in=started)
    is_move = Q(from_status=JobStatus.RUNNING) | Q(to_status=JobStatus.RUNNING)
    moves = events.filter(is_move).exclude(from_status=F("to_status")).order_by("job", "id")
    spans: dict[str, list[Span]] = defaultdict(list)
    since: dict[str, datetime] = {}
    for job, at, target in moves.values_list("job", "at", "to_status"):
        if target == JobStatus.RUNNING:
            since[job] = at
        elif job in since:
            spans[job].append(Span(since.pop(job), at))
    first = QueueEntry.objects.using(using).filter(job=OuterRef("pk")).order_by("id")
    claims = MigrationJob.objects.using(using).filter(pk__in=started)
    claimed = dict(claims.values_list("pk", Subquery(first.values("claimed_at")[:1])))
    for ran in jobs:
        if ran.pk not in started:
            continue
        end = ran.completed_at or now
        if ran.pk in since:
            spans[ran.pk].append(Span(since[ran.pk], end))
        if not spans[ran.pk]:  # without an audit log
            spans[ran.pk].append(Span(started[ran.pk], end))
        begun = claimed.get(ran.pk) or started[ran.pk]
        spans[ran.pk] = common(joined(spans[ran.pk]), [Span(begun, max(begun, now, end))])
    return spans
