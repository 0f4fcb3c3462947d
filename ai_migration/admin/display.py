"""Formatting of values: coloured words, bars, numbers with separators, durations."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai_migration.jobs.report.progress import duration
from ai_migration.types import JobStatus, MigrationProgress

NOTHING = "–"
_MOMENT = "%Y-%m-%d %H:%M:%S"

STATUS_WORDS = {
    JobStatus.PENDING: gettext_lazy("waiting"),
    JobStatus.RUNNING: gettext_lazy("running"),
    JobStatus.PAUSED: gettext_lazy("paused"),
    JobStatus.COMPLETED: gettext_lazy("completed"),
    JobStatus.FAILED: gettext_lazy("failed"),
    JobStatus.CANCELLED: gettext_lazy("cancelled"),
}


def number(value: float, digits: int = 0) -> str:
    """Format a number with the separators of the viewer's language."""
    return formats.number_format(round(value, digits), digits, force_grouping=True)


def badge(status: str) -> SafeString:
    """A job's status as a coloured word."""
    word = STATUS_WORDS[JobStatus(status)]
    return format_html('<span class="aim-status aim-{}">{}</span>', status.lower(), word)


def bar(progress: MigrationProgress) -> SafeString:
    """Show a job's progress as a bar and in percent."""
    percent = progress.percent_complete
    return format_html(
        '<span class="aim-progress"><progress max="100" value="{}" aria-label="{}"></progress>'
        " <span>{} %</span></span>",
        f"{percent:.1f}",  # for the browser, whatever the language
        _("Progress of %(job)s") % {"job": progress.job_id},
        number(percent, 1),
    )


def total(progress: MigrationProgress) -> str:
    """Show the number of entities of a job."""
    if progress.total_is_estimate:
        return _("about %(count)s") % {"count": number(progress.total)}
    return number(progress.total)


def rate(progress: MigrationProgress) -> str:
    """Show the entities per second."""
    if not progress.entities_per_second:
        return NOTHING
    return _("%(rate)s/s") % {"rate": number(progress.entities_per_second, 1)}


def pace(progress: MigrationProgress) -> str:
    """Show how many entities are done, how fast, and the time left."""
    parts = [f"{number(progress.processed)} / {total(progress)}"]
    if progress.entities_per_second:
        parts.append(rate(progress))
    if progress.estimated_time_remaining is not None:
        parts.append(_("%(time)s left") % {"time": length(progress.estimated_time_remaining)})
    return " · ".join(parts)


def length(span: timedelta | None) -> str:
    """A length of time."""
    return NOTHING if span is None else duration(span)


def moment(at: datetime | None) -> str:
    """A moment. The script shows it in the browser's time zone; without it, it is in Django's."""
    if at is None:
        return NOTHING
    local = timezone.localtime(at)
    return format_html(
        '<time datetime="{}">{}</time>', local.isoformat(timespec="seconds"), f"{local:{_MOMENT}}"
    )
