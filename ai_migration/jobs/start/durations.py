"""An estimate of the time a migration takes, and the ground it stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter

from ai_migration.embedders.base import Embedder
from ai_migration.jobs.activity import per_second, running_spans
from ai_migration.models import MigrationJob
from ai_migration.models.sql import clock
from ai_migration.types import Duration, DurationBasis, JobKind, JobStatus

SAMPLE_TEXTS = 32
"""Texts that are embedded to see how fast an embedder of this machine is."""
ENOUGH_TEXTS = 100
"""A job that embedded fewer says little about the pace of another."""


@dataclass(frozen=True)
class Measured:
    """The results of a dry run that a duration depends on.

    Attributes:
        rows: Rows that match.
        seconds_to_read: The time it takes to read them and make their texts.
        texts: Texts to embed.
        at_limit: The time the rate limit demands; None: there is no limit.
    """

    rows: int
    seconds_to_read: float
    texts: int
    at_limit: timedelta | None


def estimate(
    measured: Measured, entity_type: str, embedder: Embedder, sample: Sequence[str], using: str
) -> Duration | None:
    """Return how long a migration takes; None where there is nothing to judge it by.

    The pace of the last job with these vectors says most: it had these workers. Without one, an
    embedder of this machine is timed on a sample. A provider is not asked, as that costs money.

    Args:
        measured: The results of the dry run.
        entity_type: Its entity type.
        embedder: Its embedder.
        sample: Some of the texts.
        using: Database alias of our tables.
    """
    if not measured.texts:
        reading = timedelta(seconds=measured.seconds_to_read)
        return Duration(reading, DurationBasis.NOTHING)
    pace, basis = texts_per_second(entity_type, embedder, using), DurationBasis.EARLIER_JOB
    if not pace and not embedder.is_remote and sample:
        pace, basis = _timed(embedder, sample), DurationBasis.SAMPLE
    if not pace:
        at_limit = measured.at_limit
        return None if at_limit is None else Duration(at_limit, DurationBasis.LIMIT)
    return slowest(measured, pace, basis)


def slowest(measured: Measured, pace: float, basis: DurationBasis) -> Duration:
    """Return the time of whatever takes longest: to read, to embed, or to keep to the limit. They
    go on side by side.

    Args:
        measured: The results of the dry run.
        pace: Texts that are embedded in a second.
        basis: The ground the pace stands on.
    """
    seconds = max(measured.texts / pace, measured.seconds_to_read)
    time_needed = timedelta(seconds=seconds)
    if measured.at_limit is not None and measured.at_limit > time_needed:
        return Duration(measured.at_limit, DurationBasis.LIMIT)
    return Duration(time_needed, basis)


def texts_per_second(entity_type: str, embedder: Embedder, using: str) -> float:
    """Return the pace of the last job that embedded enough with this embedder, preferably of this
    entity type; 0 without one."""
    jobs = MigrationJob.objects.using(using).filter(
        collection__fingerprint=embedder.fingerprint,
        kind=JobKind.MIGRATION,
        status=JobStatus.COMPLETED,
        embedded_texts__gte=ENOUGH_TEXTS,
    )
    newest = jobs.order_by("-id")
    job = newest.filter(entity_type=entity_type).first() or newest.first()
    if job is None:
        return 0.0
    spans = running_spans([job], clock.now(using), using).get(job.pk, [])
    return per_second(job.embedded_texts, spans)


def _timed(embedder: Embedder, sample: Sequence[str]) -> float:
    """Return the texts that an embedder embeds in a second; 0 if it refuses the sample."""
    texts = list(sample[: embedder.max_batch_size])
    try:
        embedder.embed(texts[:1])  # a model that is loaded on first use is not slow
        began = perf_counter()
        embedder.embed(texts)
        return len(texts) / max(perf_counter() - began, 1e-6)
    except Exception:  # a backend may raise anything; the migration will say what is wrong
        return 0.0
