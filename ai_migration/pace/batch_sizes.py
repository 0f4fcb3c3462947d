"""Batches that take about as long as ``TARGET_BATCH_SECONDS``, as GitLab's batched background
migrations size theirs: longer ones cost more when a worker is killed, shorter ones more
statements a row."""

from __future__ import annotations

from ai_migration.conf import get_settings
from ai_migration.embedders import Embedder, embedders
from ai_migration.exceptions import SettingsError
from ai_migration.models import MigrationJob
from ai_migration.types import EntryStatus, Operation

SMALLEST = 10
LARGEST = 5_000
"""Rows: beyond, a write gains nothing."""
GROWTH = 1.5
"""By what a batch grows at most in a step."""
MUCH_TOO_LONG = 5.0
"""Times the target: then the next one has a tenth of the rows."""
_RECENT = 8
_NEARLY = 0.8
"""Batches of this share of the size, and what takes this share of the target, are as good."""


def first_batch_size(embedder: Embedder) -> int:
    """Rows in the first batches of a job whose size nobody asked for.

    Args:
        embedder: Who embeds.
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
    except SettingsError:  # said when its rows are read
        return


def _recent_seconds(job: MigrationJob) -> list[float]:
    """From claim to completion of the last batches that are as large as they are now: what
    is known of another size was acted on."""
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
    """Within the bounds, and so many that half of a job's window keeps one worker's requests
    full."""
    texts = embedder.max_batch_size * (embedder.concurrency + 1)
    smallest = max(SMALLEST, 2 * texts // get_settings().QUEUE_WINDOW)
    return max(min(smallest, LARGEST), min(LARGEST, round(rows)))
