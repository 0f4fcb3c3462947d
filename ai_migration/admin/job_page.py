"""The contents of a job's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ai_migration.admin import display
from ai_migration.admin.charts import BARS, Chart, throughput
from ai_migration.admin.controls import actions_for
from ai_migration.jobs.service import migration_service
from ai_migration.jobs.steer.states import Action
from ai_migration.models import EntityFailure, JobEvent, MigrationJob, QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.types import OPEN_STATUSES, EntryStatus, MigrationProgress

HISTORY = 1_000
"""The number of newest completed entries that the chart shows."""
FAILURES = 500
"""The number of newest failures that are grouped."""
EVENTS = 50
"""The number of newest lines of the audit trail."""
GROUPS = 50
"""The number of most frequent errors that are shown: if each has a message of its own, with the
entity's id for instance, there are as many groups as failures."""
SAMPLES = 5


@dataclass(frozen=True)
class FailureGroup:
    """Failures with the same error.

    Attributes:
        code: Code of the error.
        error: Its message.
        count: Number of failures.
        samples: Some of the entities.
        like: Primary key of one of them.
    """

    code: str
    error: str
    count: int
    samples: Sequence[str]
    like: int


@dataclass(frozen=True)
class Panel:
    """The part of a job's page that changes while the job runs.

    Attributes:
        job: The job.
        progress: Its progress.
        actions: The actions that its state allows.
        chart: Its throughput; None before there is any.
        failures: Grouped by error, the most frequent first.
        failures_are_all: Whether these are all of its failures.
        events: Its audit trail, newest first.
    """

    job: MigrationJob
    progress: MigrationProgress
    actions: Sequence[Action]
    chart: Chart | None
    failures: Sequence[FailureGroup]
    failures_are_all: bool
    events: Sequence[JobEvent]

    @property
    def is_open(self) -> bool:
        """Return whether it still changes by itself."""
        return self.job.status in OPEN_STATUSES

    @property
    def may_retry(self) -> bool:
        """Return whether some of its failures can be retried."""
        return Action.RETRY in self.actions

    @property
    def badge(self) -> SafeString:
        return display.badge(self.job.status)

    @property
    def bar(self) -> SafeString:
        return display.bar(self.progress)

    @property
    def trail(self) -> list[tuple[str, JobEvent]]:
        """The events, each with its time as text."""
        return [(display.moment(event.at), event) for event in self.events]

    @property
    def said(self) -> str:
        """The text for screen readers, which changes only every ten percent."""
        return _("%(status)s, %(percent)s percent") % {
            "status": display.STATUS_WORDS[self.progress.status],
            "percent": int(self.progress.percent_complete // 10 * 10),
        }

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """The tiles: label and number."""
        now = self.progress
        return [
            (_("processed"), f"{display.number(now.processed)} / {display.total(now)}"),
            (_("indexed"), display.number(now.indexed)),
            (_("skipped"), display.number(now.skipped)),
            (_("removed"), display.number(now.removed)),
            (_("failed"), display.number(now.failed)),
            (_("rate"), display.rate(now)),
            (_("time left"), display.length(now.estimated_time_remaining)),
            (_("tokens"), display.number(now.tokens)),
            *([(_("building the index"), str(now.index_build))] if now.index_build else []),
            *([(_("cost"), display.number(float(now.cost), 2))] if now.cost is not None else []),
        ]


def panel_of(job: MigrationJob) -> Panel:
    """Return the changing part of a job's page: a dozen small queries at any size.

    Args:
        job: The job, freshly read, with its collection.
    """
    using = our_database()
    failed = EntityFailure.objects.using(using).filter(job=job).order_by("-pk")
    newest = list(failed[:FAILURES])
    groups = group(newest)
    events = JobEvent.objects.using(using).filter(job=job).order_by("-pk")
    return Panel(
        job=job,
        progress=migration_service.get_progress_of([job])[0],
        actions=actions_for(job),
        chart=_history(job, using),
        failures=groups[:GROUPS],
        failures_are_all=len(newest) < FAILURES and len(groups) <= GROUPS,
        events=list(events[:EVENTS]),
    )


def group(failures: Sequence[EntityFailure]) -> list[FailureGroup]:
    """Group failures by their error, the most frequent first."""
    by_error: dict[tuple[str, str], list[EntityFailure]] = {}
    for failure in failures:
        by_error.setdefault((failure.error_code, failure.error), []).append(failure)
    groups = [
        FailureGroup(code, error, len(same), [f.entity_id for f in same[:SAMPLES]], same[0].pk)
        for (code, error), same in by_error.items()
    ]
    return sorted(groups, key=lambda each: -each.count)


def facts_of(job: MigrationJob) -> list[tuple[str, str | Promise]]:
    """Return the facts that do not change while a job runs."""
    collection = job.collection
    limit = display.NOTHING if job.rate_limit is None else display.number(job.rate_limit)
    budget = job.spent if job.max_tokens or job.max_cost else display.NOTHING
    return [
        (_("job"), job.pk),
        (_("entity type"), job.entity_type),
        (_("mode"), job.get_mode_display()),
        (_("rebuild"), _("yes") if job.rebuild else _("no")),
        (_("filters"), _filters(job)),
        (_("collection"), str(collection)),
        (_("embedder"), f"{collection.embedder}: {collection.model_id}"),
        (_("store"), collection.store),
        (_("batch size"), display.number(job.batch_size)),
        (_("requests a minute"), limit),
        (_("budget"), budget),
        (_("started by"), job.created_by or display.NOTHING),
        (_("created"), display.moment(job.created_at)),
        (_("started"), display.moment(job.started_at)),
        (_("ended"), display.moment(job.completed_at)),
    ]


def _filters(job: MigrationJob) -> str:
    parts = []
    for name, value in job.filter_config.items():
        if name == "entity_ids":
            parts.append(_("%(count)s entities") % {"count": display.number(len(value))})
        elif name == "lookups":
            parts += [f"{lookup}={wanted}" for lookup, wanted in value.items()]
        else:
            parts.append(f"{name}={value}")
    return ", ".join(parts) or display.NOTHING


def _history(job: MigrationJob, using: str) -> Chart | None:
    done = QueueEntry.objects.using(using).filter(job=job, status=EntryStatus.COMPLETED)
    columns = ("claimed_at", "completed_at", "indexed", "skipped", "removed", "failed")
    newest = list(done.order_by("-id").values_list(*columns)[:HISTORY])
    batches = [(began, ended, sum(rows)) for began, ended, *rows in newest if began and ended]
    if not batches:
        return None
    points: list[tuple[datetime, int]] = [(ended, rows) for _, ended, rows in batches]
    start, end = (
        min(began for began, _, _ in batches),
        max(ended for _, ended, _ in batches),
    )
    return throughput(points, start, end, bars=min(BARS, max(10, len(batches) // 3)))
