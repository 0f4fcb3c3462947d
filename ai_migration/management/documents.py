"""Jobs and hits as lines of text."""

from __future__ import annotations

import textwrap
from datetime import datetime

from django.utils.timezone import is_aware, localtime

from ai_migration.jobs.report.progress import duration, percent
from ai_migration.management.views import summary
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus, MigrationProgress, SearchHit


def describe_progress(progress: MigrationProgress) -> str:
    """Return a job as text, one line for each fact."""
    lines = [
        summary(progress),
        f"  type       {progress.entity_type}",
        f"  done       {progress.percent_complete:g} %",
    ]
    if progress.entities_per_second:
        lines[-1] += f" at {progress.entities_per_second:,.0f}/s"
    if progress.estimated_time_remaining is not None:
        lines.append(f"  time left  {duration(progress.estimated_time_remaining)}")
    if progress.index_build is not None:
        lines.append(f"  index      is being built: {progress.index_build}")
    if progress.tokens:
        cost = "" if progress.cost is None else f", {progress.cost} at the configured price"
        lines.append(f"  tokens     {progress.tokens:,}{cost}")
    if progress.throttle_reason and progress.throttled_until is None:
        lines.append(f"  paused     {progress.throttle_reason}")
    if progress.throttled_until is not None:
        until = local(progress.throttled_until)
        lines.append(f"  throttled  until {until:%H:%M:%S}: {progress.throttle_reason}")
    if progress.error_message:
        lines.append(f"  error      {progress.error_message}")
    return "\n".join(lines)


def local(moment: datetime) -> datetime:
    """Return a time in the time zone of the settings."""
    return localtime(moment) if is_aware(moment) else moment


def percent_of(job: MigrationJob) -> float:
    """Return a job's progress in percent, as text."""
    total = max(job.total_entities, job.processed_entities)
    return percent(job.processed_entities, total, JobStatus(job.status))


def describe_hit(hit: SearchHit) -> str:
    """Return a hit as one line or two."""
    first_line, _, rest = hit.text.partition("\n")
    lines = [f"{hit.score:6.3f}  {hit.id}  {textwrap.shorten(first_line, 200, placeholder='…')}"]
    if rest.strip():
        lines.append(f"        {textwrap.shorten(rest, 160, placeholder='…')}")
    return "\n".join(lines)
