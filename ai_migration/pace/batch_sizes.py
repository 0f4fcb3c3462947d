"""Batch sizes that take about ``TARGET_BATCH_SECONDS``, as in GitLab's batched background
migrations: longer batches lose more when a worker is killed, shorter ones need more statements a
row."""

from __future__ import annotations

from ai_migration.conf import get_settings
from ai_migration.embedders import Embedder, embedders
from ai_migration.exceptions import SettingsError
from ai_migration.models import MigrationJob
from ai_migration.types import EntryStatus, Operation

SMALLEST = 10
LARGEST = 5_000
"""Rows of the largest batch: beyond, a write gains nothing."""
GROWTH = 1.5
"""The factor by which a batch grows at most in one step."""
MUCH_TOO_LONG = 5.0
"""Factor of the target: a batch that takes longer is followed by one with a tenth of the rows."""
_RECENT = 8
_NEARLY = 0.8
"""Batches within this share of the size or of the target count as equal."""


def first_batch_size(embedder: Embedder) -> int:
    """Return the rows of the first batches of a job without a requested batch size.

    Args:
        embedder: The embedder.
    """
    return _bounded(get_settings().DEFAULT_BATCH_SIZE, embedder)


def adapt_batch_size(job: MigrationJob) -> None:
    """Change the size of a job's batches by how long the last ones of this size took.

    Args:
        job: The job, locked; it is not saved.
    """
    target = get_settings().TARGET_BATCH_SECONDS
    if target is None or not job.adapts_batch_size:
        return
    seconds = _recent_seconds(job)
    if not seconds:
        return
    average = sum(seconds) / len(seconds)
    if max(seconds) > MUCH_TOO_LONG * target:
        wanted = job.batch_size / 10
    elif _NEARLY * target <= average <= target / _NEARLY:
        return
    else:
        wanted = job.batch_size * min(GROWTH, target / max(average, 0.001))
    try:
        job.batch_size = _bounded(wanted, embedders[job.collection.embedder])
    except SettingsError:  # reported when its rows are read
        return


def _recent_seconds(job: MigrationJob) -> list[float]:
    """Return the times from claim to completion of the last batches of the present size; those of
    other sizes have been considered already."""
    done = job.entries.filter(status=EntryStatus.COMPLETED, operation=Operation.INDEX)
    recent = done.order_by("-id").only(
        "claimed_at", "completed_at", "indexed", "skipped", "removed", "failed"
    )
    return [
        (entry.completed_at - entry.claimed_at).total_seconds()
        for entry in recent[:_RECENT]
        if entry.completed_at and entry.claimed_at
        if _NEARLY * job.batch_size <= entry.rows <= job.batch_size / _NEARLY
    ]


def _bounded(rows: float, embedder: Embedder) -> int:
    """Return a size within the bounds, with enough rows that half of a job's window keeps one
    worker's requests full."""
    texts = embedder.max_batch_size * (embedder.concurrency + 1)
    smallest = max(SMALLEST, 2 * texts // get_settings().QUEUE_WINDOW)
    return max(min(smallest, LARGEST), min(LARGEST, round(rows)))
