"""The contents of a job's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai_migration.admin import display
from ai_migration.admin.charts import BARS, Chart, of_batches
from ai_migration.admin.controls import actions_for
from ai_migration.admin.rows import NamedRow, named_rows
from ai_migration.entities.keys import in_order
from ai_migration.indexing.differences import Difference
from ai_migration.jobs.activity import Span, running_spans
from ai_migration.jobs.findings import Findings, findings_of
from ai_migration.jobs.service import migration_service
from ai_migration.jobs.steer.states import ENGINE, STATES, Action
from ai_migration.models import EntityFailure, JobEvent, MigrationJob, QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.types import OPEN_STATUSES, EntryStatus, JobKind, JobStatus, MigrationProgress

HISTORY = 1_000
"""The number of newest completed entries that the chart shows."""
FAILURES = 500
"""The number of newest failures that are grouped."""
EVENTS = 50
"""The number of newest lines of the audit log."""
GROUPS = 50
"""The number of most frequent errors that are shown: if each has a message of its own, with the
entity's id for instance, there are as many groups as failures."""
SAMPLES = 5

_MOVED = {
    JobStatus.PENDING: gettext_lazy("Resumed by %(actor)s"),
    JobStatus.RUNNING: gettext_lazy("Resumed by %(actor)s"),
    JobStatus.PAUSED: gettext_lazy("Paused by %(actor)s"),
    JobStatus.COMPLETED: gettext_lazy("Completed by %(actor)s"),
    JobStatus.FAILED: gettext_lazy("Stopped by %(actor)s"),
    JobStatus.CANCELLED: gettext_lazy("Cancelled by %(actor)s"),
}


@dataclass(frozen=True)
class FailureGroup:
    """Failures with the same error.

    Attributes:
        code: Code of the error.
        error: Its message.
        count: Number of failures.
        samples: Some of the entities, by their rows.
        like: Primary key of one of them.
    """

    code: str
    error: str
    count: int
    samples: Sequence[NamedRow]
    like: int


@dataclass(frozen=True)
class DifferenceRow:
    """The differences of one kind.

    Attributes:
        kind: The kind.
        count: Their number.
        samples: Some of the entities.
    """

    kind: Difference
    count: int
    samples: Sequence[str]

    @property
    def has_more(self) -> bool:
        """Return whether there are more entities than are shown."""
        return self.count > len(self.samples)


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
        events: Its audit log, newest first.
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
    def findings(self) -> Findings | None:
        """What a verify has found so far."""
        return findings_of(self.job) if self.job.kind == JobKind.VERIFY else None

    @property
    def compared(self) -> str:
        """What a verify has compared so far, in words."""
        found = self.findings
        assert found is not None
        words = _(
            "Compared: %(rows)s source rows, %(entities)s entities in the ledger, %(vectors)s "
            "vectors. No differences: %(pending)s changes under way, %(failed)s listed as failed."
        )
        return words % {
            "rows": display.number(found.source_rows),
            "entities": display.number(found.ledger_rows),
            "vectors": display.number(found.vectors),
            "pending": display.number(found.pending),
            "failed": display.number(found.failed),
        }

    @property
    def difference_rows(self) -> list[DifferenceRow]:
        """The differences that a verify has found, one kind each."""
        found = self.findings
        assert found is not None
        return [
            DifferenceRow(kind, count, found.samples.get(kind, [])[:SAMPLES])
            for kind, count in found.by_kind.items()
            if count
        ]

    @property
    def may_retry(self) -> bool:
        """Return whether some of its failures can be retried."""
        return Action.RETRY in self.actions

    @property
    def badge(self) -> SafeString:
        return display.badge(self.job.status, self.job.failed_entities)

    @property
    def done(self) -> str:
        """How many entities it is done with."""
        return _("%(done)s entities") % {"done": display.done(self.progress)}

    @property
    def moved_by(self) -> str:
        """Who moved it to its present state, and why, if a person did."""
        move = next((each for each in self.events if each.from_status != each.to_status), None)
        if move is None or not move.from_status or move.actor in ("", ENGINE):
            return ""
        words = _MOVED[JobStatus(move.to_status)] % {"actor": move.actor}
        is_told = move.reason not in STATES[JobStatus(move.from_status)].edges.values()
        return f"{words}: {reason_of(move)}" if is_told else words

    @property
    def bar(self) -> SafeString:
        return display.bar(self.progress)

    @property
    def log(self) -> list[tuple[str, JobEvent, str]]:
        """The events, each with its time and its reason as text."""
        return [(display.moment(each.at), each, reason_of(each)) for each in self.events]

    @property
    def said(self) -> str:
        """The text for screen readers, which changes only every ten percent."""
        return _("%(status)s, %(percent)s percent") % {
            "status": display.STATUS_WORDS[self.progress.status],
            "percent": int(self.progress.percent_complete // 10 * 10),
        }

    @property
    def numbers(self) -> list[tuple[str, str, str]]:
        """The tiles, label, number and note: always eight, which fill their rows."""
        now = self.progress
        left = (_("time left"), display.roughly(now.estimated_time_remaining), "")
        if not self.is_open:
            left = (_("ran for"), display.length(now.active_time), _("without pauses"))
        elif now.index_build is not None:
            left = (
                _("building the index"),
                f"{now.index_build.percent:.0f} %",
                now.index_build.phase,
            )
        return [
            (_("indexed"), display.number(now.indexed), ""),
            (_("skipped"), display.number(now.skipped), ""),
            (_("removed"), display.number(now.removed), ""),
            (_("failed"), display.number(now.failed), ""),
            (_("rate"), display.rate(now), _("without pauses") if now.entities_per_second else ""),
            left,
            (_("tokens"), display.number(now.tokens), ""),
            display.cost(now.cost),
        ]


def reason_of(event: JobEvent) -> str:
    """Return the reason of an event in the user's language, where it is one of our own."""
    return _(event.reason) if event.reason else ""


def panel_of(job: MigrationJob, request: HttpRequest, site: AdminSite) -> Panel:
    """Return the changing part of a job's page: a dozen small queries at any size.

    Args:
        job: The job, freshly read, with its collection.
        request: The request; its user's permissions count.
        site: The admin site.
    """
    using = our_database()
    spans = running_spans([job], clock.now(using), using)
    failed = EntityFailure.objects.using(using).filter(job=job).order_by("-pk")
    newest = list(failed[:FAILURES])
    groups = group(newest)
    events = JobEvent.objects.using(using).filter(job=job).order_by("-pk")
    return Panel(
        job=job,
        progress=migration_service.get_progress_of([job], spans=spans)[0],
        actions=actions_for(job),
        chart=_history(job, spans.get(job.pk, []), using),
        failures=_with_names(groups[:GROUPS], job.entity_type, request, site),
        failures_are_all=len(newest) < FAILURES and len(groups) <= GROUPS,
        events=list(events[:EVENTS]),
    )


def group(failures: Sequence[EntityFailure]) -> list[FailureGroup]:
    """Group failures by their error, the most frequent first."""
    by_error: dict[tuple[str, str], list[EntityFailure]] = {}
    for failure in failures:
        by_error.setdefault((failure.error_code, failure.error), []).append(failure)
    groups = [
        FailureGroup(code, error, len(same), _samples(same), same[0].pk)
        for (code, error), same in by_error.items()
    ]
    return sorted(groups, key=lambda each: -each.count)


def _samples(failures: Sequence[EntityFailure]) -> list[NamedRow]:
    ids = [failure.entity_id for failure in failures]
    return [NamedRow(entity_id) for entity_id in in_order(ids)[:SAMPLES]]


def _with_names(
    groups: Sequence[FailureGroup], entity_type: str, request: HttpRequest, site: AdminSite
) -> list[FailureGroup]:
    ids = [(entity_type, sample.entity_id) for each in groups for sample in each.samples]
    rows = named_rows(request, site, ids)
    return [
        replace(each, samples=[rows[entity_type, sample.entity_id] for sample in each.samples])
        for each in groups
    ]


def facts_of(job: MigrationJob) -> list[tuple[str, str | Promise]]:
    """Return the facts that do not change while a job runs."""
    collection = job.collection
    limit = display.NOTHING if job.rate_limit is None else display.number(job.rate_limit)
    budget = job.spent if job.max_tokens or job.max_cost else display.NOTHING
    return [
        (_("kind"), job.get_kind_display()),
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
            words = ngettext("%(count)s entity", "%(count)s entities", len(value))
            parts.append(words % {"count": display.number(len(value))})
        elif name == "lookups":
            parts += [f"{lookup}={wanted}" for lookup, wanted in value.items()]
        else:
            parts.append(f"{name}={value}")
    return ", ".join(parts) or display.NOTHING


def _history(job: MigrationJob, running: Sequence[Span], using: str) -> Chart | None:
    done = QueueEntry.objects.using(using).filter(job=job, status=EntryStatus.COMPLETED)
    columns = ("claimed_at", "completed_at", "indexed", "skipped", "removed", "failed")
    newest = list(done.order_by("-id").values_list(*columns)[:HISTORY])
    batches = [(Span(began, ended), sum(rows)) for began, ended, *rows in newest if began and ended]
    return of_batches(batches, running, bars=min(BARS, max(10, len(batches) // 3)))
