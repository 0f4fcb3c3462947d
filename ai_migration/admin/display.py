"""Formatting of values: coloured words, bars, numbers without false precision, times."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai_migration.types import JobStatus, MigrationProgress

NOTHING = "–"
_MOMENT = "%Y-%m-%d %H:%M:%S"
_HOLDER = re.compile(r"(?P<host>[^/]+)(?:/\d+)?:(?P<pid>\d+)")

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


def about(count: float, is_estimate: bool) -> str:
    """Format a number that may be an estimate, which is not exact to the last figure."""
    return _("about %(count)s") % {"count": figures(count)} if is_estimate else number(count)


def cost(amount: Decimal | None, is_estimate: bool = False) -> tuple[str, str, str]:
    """Return the tile of a cost: label, amount and note."""
    if amount is None:
        return _("cost"), NOTHING, _("no price is set")
    shown = number(float(amount), 2)
    return _("cost"), _("about %(count)s") % {"count": shown} if is_estimate else shown, ""


def figures(value: float) -> str:
    """Format a measured number: no more than three figures of it mean anything."""
    if 0 < value < 9.95 and value != int(value):
        return number(value, 1) if value >= 0.05 else "<" + number(0.1, 1)
    places = 0 if value < 1000 else 2 - math.floor(math.log10(value))
    return number(round(value, places))


def percent(value: float) -> str:
    """Format a percentage: 0 and 100 are only said where they are true."""
    shown = math.floor(value)
    if 0 < value < 1 or 99 < value < 100:
        return _("%(number)s %%") % {"number": number(math.floor(value * 10) / 10, 1)}
    return _("%(number)s %%") % {"number": number(shown)}


def badge(status: str, failed: int = 0) -> SafeString:
    """A job's status as a coloured word. One that completed with failures is not simply green."""
    word = STATUS_WORDS[JobStatus(status)]
    name = status.lower()
    if status == JobStatus.COMPLETED and failed:
        word, name = gettext_lazy("completed with failures"), "partly"
    return format_html('<span class="aim-status aim-{}">{}</span>', name, word)


def meter(value: float, label: str) -> SafeString:
    """Show a percentage as a bar and in words."""
    return format_html(
        '<span class="aim-progress"><progress max="100" value="{}" aria-label="{}"></progress>'
        " <span>{}</span></span>",
        f"{value:.1f}",  # for the browser, whatever the language
        label,
        percent(value),
    )


def bar(progress: MigrationProgress) -> SafeString:
    """Show a job's progress as a bar and in percent."""
    label = _("Progress of %(job)s") % {"job": progress.job_id}
    return meter(progress.percent_complete, label)


def job_id(pk: str) -> SafeString:
    """Show the beginning of a job's id: the whole is shown on hover, and copied."""
    return format_html('<span class="aim-id" title="{}">{}</span>', pk, pk)


def labelled(label: str, value: str) -> SafeString:
    """A value with its label, which is shown on phones, where columns have no heads."""
    return format_html('<span class="aim-label">{} </span>{}', label, value)


def total(progress: MigrationProgress) -> str:
    """Show the number of entities of a job."""
    return about(progress.total, progress.total_is_estimate)


def done(progress: MigrationProgress) -> str:
    """Show how many of its entities a job is done with."""
    return _("%(done)s of %(total)s") % {
        "done": number(progress.processed),
        "total": total(progress),
    }


def per_second(rate: float) -> str:
    """Show a rate."""
    return _("%(rate)s/s") % {"rate": figures(rate)}


def rate(progress: MigrationProgress) -> str:
    """Show the entities per second."""
    if not progress.entities_per_second:
        return NOTHING
    return per_second(progress.entities_per_second)


def pace(progress: MigrationProgress) -> str:
    """Show how many entities are done, how fast, and the time left."""
    parts = [done(progress)]
    if progress.entities_per_second:
        parts.append(rate(progress))
    if progress.estimated_time_remaining is not None:
        parts.append(_("%(time)s left") % {"time": roughly(progress.estimated_time_remaining)})
    return " · ".join(parts)


def length(span: timedelta | None) -> str:
    """Show a length of time: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if span is None:
        return NOTHING
    seconds = round(span.total_seconds())
    if seconds < 60:
        return _("%(seconds)s s") % {"seconds": seconds}
    if seconds < 3600:
        shown = {"minutes": seconds // 60, "seconds": f"{seconds % 60:02}"}
        return _("%(minutes)s min %(seconds)s s") % shown
    if seconds < 86_400:
        shown = {"hours": seconds // 3600, "minutes": f"{seconds % 3600 // 60:02}"}
        return _("%(hours)s h %(minutes)s min") % shown
    days, hours = seconds // 86_400, seconds % 86_400 // 3600
    words = ngettext("%(days)s day %(hours)s h", "%(days)s days %(hours)s h", days)
    return words % {"days": days, "hours": hours}


def wait(seconds: float | None) -> str:
    """Show a short length of time with two digits: ``0.35 s``, ``7.2 s``, ``3 min 05 s``."""
    if seconds is None or seconds >= 10:
        return length(None if seconds is None else timedelta(seconds=seconds))
    decimals = 2 if seconds < 1 else 1
    return _("%(seconds)s s") % {"seconds": number(seconds, decimals)}


def roughly(span: timedelta | None) -> str:
    """Show an estimated length of time, rounded as nobody knows it exactly."""
    if span is None:
        return NOTHING
    seconds = span.total_seconds()
    if seconds < 1:
        return _("under a second")
    unit = next(size for limit, size in _ROUGH if seconds < limit)
    rounded = round(seconds / unit) * unit
    if rounded >= 3600 and rounded % 3600 == 0 and rounded < 86_400:
        return _("%(hours)s h") % {"hours": int(rounded // 3600)}
    if 60 <= rounded < 3600:
        return _("%(minutes)s min") % {"minutes": int(rounded // 60)}
    return length(timedelta(seconds=rounded))


_ROUGH = (
    (20, 1),
    (60, 5),
    (3600, 60),
    (10 * 3600, 600),
    (86_400, 3600),
    (float("inf"), 3600),
)
"""Up to how many seconds an estimate is rounded to which unit."""


def ago(at: datetime | None, now: datetime) -> str:
    """Show how long ago something was."""
    if at is None:
        return NOTHING
    seconds = (now - at).total_seconds()
    if seconds < 60:
        return _("just now")
    if seconds < 3600:
        return _("%(minutes)s min ago") % {"minutes": int(seconds // 60)}
    return _("%(time)s ago") % {"time": length(now - at)}


def process(holder: str) -> str:
    """Show the process that holds a slot: ``vm/4026531836:16856`` is a process of ``vm``."""
    match = _HOLDER.fullmatch(holder)
    if match is None:
        return holder or NOTHING
    return _("%(host)s, process %(pid)s") % match.groupdict()


def moment(at: datetime | None) -> SafeString | str:
    """A moment. The script shows it in the browser's time zone; without it, it is in Django's."""
    return NOTHING if at is None else _time(at, "all", _MOMENT)


def tick(at: datetime, span: timedelta) -> SafeString:
    """A moment of a chart's axis, as exactly as the axis is long."""
    if span <= timedelta(minutes=10):
        return _time(at, "seconds", "%H:%M:%S")
    if span <= timedelta(days=1):
        return _time(at, "minutes", "%H:%M")
    return _time(at, "days", "%m-%d %H:%M")


def _time(at: datetime, shows: str, pattern: str) -> SafeString:
    local = timezone.localtime(at)
    iso = local.isoformat(timespec="seconds")
    return format_html(
        '<time datetime="{}" data-shows="{}">{}</time>', iso, shows, f"{local:{pattern}}"
    )
