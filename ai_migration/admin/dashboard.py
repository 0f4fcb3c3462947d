"""The dashboard: current activity, and coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps.registry import Apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from ai_migration.admin import coverage, display
from ai_migration.admin.base import START, ReadOnlyAdmin
from ai_migration.admin.charts import BARS, Chart, of_engine
from ai_migration.admin.order import put_in_order
from ai_migration.admin.rebuilds import with_reason
from ai_migration.engine.insight.attendance import LOOKED_AT, Waiting
from ai_migration.engine.insight.diagnosis import start_command
from ai_migration.engine.insight.freshness import Freshness
from ai_migration.engine.insight.metrics import KEEP_FOR
from ai_migration.engine.insight.status import EngineStatus, engine_status
from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.service import migration_service
from ai_migration.pace.limits import CoolDown
from ai_migration.types import JobStatus, MigrationMode, MigrationRequest, Priority

SPANS = {"3": timedelta(hours=3), "24": timedelta(hours=24), "168": KEEP_FOR}
"""Time spans of the throughput, in hours."""
REBUILD = "rebuild"
"""The word to type before everything is rebuilt."""
WORKERS = 20
"""Workers that are listed, at most."""

_PRIORITIES = {
    Priority.CRITICAL: gettext_lazy("critical"),
    Priority.HIGH: gettext_lazy("high"),
    Priority.STANDARD: gettext_lazy("standard"),
    Priority.LOW: gettext_lazy("low"),
}


class Dashboard(models.Model):
    """A page without a table: the admin site gives it an address and a place in the app's index. It
    has a registry of its own, so that it has neither a migration nor permissions."""

    class Meta:
        app_label = "ai_migration"
        apps = Apps()
        managed = False
        verbose_name = gettext_lazy("dashboard")
        verbose_name_plural = gettext_lazy("dashboard")

    def __str__(self) -> str:
        return str(self._meta.verbose_name)


@dataclass(frozen=True)
class Tile:
    """One number.

    Attributes:
        name: Its label.
        value: The number.
        note: More about it.
        is_alarm: Whether it needs attention.
        url: A page that says more.
    """

    name: str
    value: str
    note: str = ""
    is_alarm: bool = False
    url: str = ""


@admin.register(Dashboard)
class DashboardAdmin(ReadOnlyAdmin):
    """The dashboard's pages; there are no rows."""

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        put_in_order(admin_site)

    def has_start_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(START)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = "ai_migration_dashboard"
        return [
            path("", wrap(self.page_view), name=f"{name}_changelist"),
            path("panel/", wrap(self.panel_view), name=f"{name}_panel"),
            path("coverage/", wrap(self.coverage_view), name=f"{name}_coverage"),
            path("start/", wrap(self.start_view), name=f"{name}_start"),
            path("verify/", wrap(self.verify_view), name=f"{name}_verify"),
            path("rebuild/", wrap(self.rebuild_view), name=f"{name}_rebuild"),
        ]

    @method_decorator(require_safe)
    def page_view(self, request: HttpRequest) -> HttpResponse:
        """Show the whole page; entities are counted on demand only, by a link or the script."""
        context = {
            **self._panel(request),
            "coverage": coverage.count() if "count" in request.GET else coverage.kept(),
            "title": _("Dashboard"),
        }
        return self._page(request, "dashboard.html", context)

    @method_decorator(require_safe)
    def panel_view(self, request: HttpRequest) -> HttpResponse:
        """Return the changing part, as a fragment."""
        return TemplateResponse(request, f"{_TEMPLATES}/panel.html", self._panel(request))

    @method_decorator(require_safe)
    def coverage_view(self, request: HttpRequest) -> HttpResponse:
        """Return the table of entity types, counted, as a fragment."""
        self._require_view(request)
        context = {
            "coverage": coverage.kept() or coverage.count(),
            "may_start": self.has_start_permission(request),
        }
        return TemplateResponse(request, f"{_TEMPLATES}/coverage.html", context)

    @method_decorator(require_POST)
    def start_view(self, request: HttpRequest) -> HttpResponse:
        """Handle the buttons of an entity type: index missing entities, or changed ones."""
        self._require_start(request)
        job_id = _start(
            request,
            MigrationRequest(
                request.POST.get("entity_type", ""),
                mode=request.POST.get("mode", MigrationMode.CHANGED),
                created_by=request.user.get_username(),
            ),
        )
        if job_id:
            return redirect("admin:ai_migration_migrationjob_change", job_id)
        return redirect("admin:ai_migration_dashboard_changelist")

    @method_decorator(require_POST)
    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Handle the buttons that verify an entity type, or repair it."""
        self._require_start(request)
        repair = "repair" in request.POST
        entity_type = request.POST.get("repair" if repair else "verify", "")
        actor = request.user.get_username()
        try:
            job = migration_service.verify(entity_type, repair=repair, created_by=actor)
        except AIMigrationError as error:
            messages.error(request, with_reason(_("Not started: %(reason)s"), error))
            return redirect("admin:ai_migration_dashboard_changelist")
        words = _("Started: %(job)s verifies %(entity_type)s.")
        messages.success(request, words % {"job": job.pk, "entity_type": job.entity_type})
        return redirect("admin:ai_migration_migrationjob_change", job.pk)

    def rebuild_view(self, request: HttpRequest) -> HttpResponse:
        """Rebuild everything, once the user has typed the confirmation."""
        self._require_start(request)
        is_wrong = False
        if request.method == "POST":
            if request.POST.get("typed", "").strip().lower() == REBUILD:
                self._rebuild(request)
                return redirect("admin:ai_migration_dashboard_changelist")
            is_wrong = True
        context = {
            "title": _("Rebuild everything?"),
            "word": REBUILD,
            "is_wrong": is_wrong,
            "coverage": coverage.kept(),
            "names": coverage.names(request),
        }
        return self._page(request, "rebuild.html", context)

    def _rebuild(self, request: HttpRequest) -> None:
        for overview in migration_service.list_entities():
            _start(
                request,
                MigrationRequest(
                    overview.entity_type,
                    rebuild=True,
                    created_by=request.user.get_username(),
                    note="rebuild of everything",
                ),
            )

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "media": self.media,
            "may_start": self.has_start_permission(request),
            **context,
        }
        return TemplateResponse(request, f"{_TEMPLATES}/{template}", context)

    def _panel(self, request: HttpRequest) -> dict[str, Any]:
        self._require_view(request)
        asked = request.GET.get("hours", "3")
        hours = asked if asked in SPANS else "3"
        status = engine_status(SPANS[hours])
        return {
            "tiles": tiles_of(status),
            "chart": _chart(status, SPANS[hours]),
            "alarms": [_nobody_takes(status.abandoned)] if status.abandoned else [],
            "waits": [_waits(each) for each in status.cool_downs],
            "workers": workers_of(status),
            "hours": hours,
            "spans": [
                ("3", _("3 hours")),
                ("24", _("24 hours")),
                ("168", _("7 days")),
            ],
        }

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _require_start(self, request: HttpRequest) -> None:
        if not self.has_start_permission(request):
            raise PermissionDenied


_TEMPLATES = "admin/ai_migration/dashboard"


def _start(request: HttpRequest, asked: MigrationRequest) -> str:
    """Start a migration, or show why not; return the job's id, or nothing."""
    try:
        job = migration_service.start_migration(asked)
    except AIMigrationError as error:
        messages.error(request, with_reason(_("Not started: %(reason)s"), error))
        return ""
    words = _("Started: %(job)s migrates %(entity_type)s.")
    messages.success(request, words % {"job": job.pk, "entity_type": job.entity_type})
    return job.pk


def tiles_of(status: EngineStatus) -> Sequence[Tile]:
    """Return the current activity as numbers: always six, which fill their rows."""
    running = status.jobs.get(JobStatus.RUNNING, 0)
    held = {s: n for s, n in status.jobs.items() if s != JobStatus.RUNNING}
    waiting = sum(status.waiting.values())
    works = bool(status.workers)
    queue = [
        f"{word} {display.number(status.waiting[p])}"
        for p, word in _PRIORITIES.items()
        if status.waiting.get(p)
    ]
    oldest = []
    if status.oldest_waiting:
        wait = display.length(status.at - status.oldest_waiting)
        oldest = [_("longest wait %(time)s") % {"time": wait}]
    return [
        Tile(
            _("running jobs"),
            display.number(running),
            ", ".join(f"{display.number(n)} {display.STATUS_WORDS[s]}" for s, n in held.items()),
            url=reverse("admin:ai_migration_migrationjob_changelist"),
        ),
        Tile(
            _("live workers"),
            display.number(len(status.workers)),
            "" if works or not waiting else _("no worker is running"),
            is_alarm=bool(waiting) and not works,
        ),
        Tile(
            _("entities per second"),
            display.figures(status.entities_per_second),
            _("in the last whole minute"),
        ),
        Tile(
            _("failures in the last hour"),
            _upto(status.failures_last_hour),
            is_alarm=status.failures_last_hour > 0,
            url=reverse("admin:ai_migration_entityfailure_changelist"),
        ),
        Tile(
            _("batches in the queue"),
            display.number(waiting) + ("" if status.waiting_is_all else "+"),
            ", ".join([*queue, *oldest]),
            url=reverse("admin:ai_migration_queueentry_changelist"),
        ),
        _freshness(status.freshness),
    ]


def _freshness(found: Freshness) -> Tile:
    name = _("live changes searchable within")
    if not found:
        return Tile(name, display.NOTHING, _("no live changes in the last hour"))
    words = _("95 %% of %(changes)s in the last hour; half within %(half)s")
    note = {"changes": display.number(found.changes), "half": display.wait(found.p50)}
    return Tile(name, display.wait(found.p95), words % note)


def workers_of(status: EngineStatus) -> list[tuple[str, str, str]]:
    """Return the live workers: name, process, and last sign of life."""
    return [
        (each.name, display.process(each.holder), display.ago(each.last_seen_at, status.at))
        for each in status.workers[:WORKERS]
    ]


def _nobody_takes(waiting: Waiting) -> str:
    facts = {
        "changes": display.number(waiting.changes),
        "types": ", ".join(waiting.entity_types),
        "age": display.length(waiting.age),
        "command": start_command(),
    }
    if waiting.unseen_for is None:
        words = ngettext(
            "%(changes)s live change of %(types)s waits for %(age)s, and there never was a worker. "
            "Start one: %(command)s",
            "%(changes)s live changes of %(types)s wait, the oldest for %(age)s, and there never "
            "was a worker. Start one: %(command)s",
            waiting.changes,
        )
        return words % facts
    words = ngettext(
        "%(changes)s live change of %(types)s waits for %(age)s, and no worker was seen for "
        "%(unseen)s. Start one: %(command)s",
        "%(changes)s live changes of %(types)s wait, the oldest for %(age)s, and no worker was "
        "seen for %(unseen)s. Start one: %(command)s",
        waiting.changes,
    )
    return words % {**facts, "unseen": display.length(waiting.unseen_for)}


def _waits(each: CoolDown) -> str:
    words = _("The embedder “%(alias)s” waits for its provider: %(reason)s")
    return words % {"alias": each.embedder, "reason": each.reason}


def _upto(count: int) -> str:
    return display.number(LOOKED_AT) + "+" if count > LOOKED_AT else display.number(count)


def _chart(status: EngineStatus, span: timedelta) -> Chart | None:
    if not status.done:
        return None
    # A week is counted by the hour, so that each bar has to be whole hours.
    bars = BARS if span <= timedelta(days=1) else span // timedelta(hours=3)
    return of_engine(status.done, status.at - span, status.at, bars)
