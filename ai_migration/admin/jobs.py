"""Jobs: the list with its actions, and the pages of one job."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from ai_migration.admin import coverage, display
from ai_migration.admin.base import START, EstimatedList, ReadOnlyAdmin
from ai_migration.admin.controls import act, change, may_change, report, retry_like
from ai_migration.admin.filters import EntityTypeFilter, StarterFilter
from ai_migration.admin.job_page import facts_of, panel_of
from ai_migration.admin.pace import AdjustForm
from ai_migration.admin.start import EXAMINED, StartForm, entity_of, matching, numbers_of
from ai_migration.exceptions import AIMigrationError, UnknownJobError
from ai_migration.jobs.service import migration_service
from ai_migration.jobs.steer.states import Action
from ai_migration.models import MigrationJob
from ai_migration.types import JobKind, MigrationProgress

_TEMPLATES = "admin/ai_migration/migrationjob"
_LONG = (
    "findings",
    "filter_config",
    "config_snapshot",
    "superseded_configs",
    "collection__config_snapshot",
)


class JobList(EstimatedList):
    """A page of jobs, each with its progress."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        jobs = list(self.result_list)
        for job, progress in zip(jobs, migration_service.get_progress_of(jobs), strict=True):
            job.progress_now = progress
        self.result_list = cast("QuerySet[Any]", jobs)


def _progress(job: MigrationJob) -> MigrationProgress:
    return cast(MigrationProgress, job.progress_now)  # type: ignore[attr-defined]  # JobList


def _page(job: MigrationJob) -> str:
    return reverse("admin:ai_migration_migrationjob_change", args=[job.pk])


@admin.register(MigrationJob)
class MigrationJobAdmin(ReadOnlyAdmin):
    """The list of jobs and the page of each."""

    list_display = ["migration", "state", "progress", "failures", "started"]
    list_display_links = None
    list_filter = ["status", EntityTypeFilter, StarterFilter]
    list_select_related = ["collection"]
    search_fields = ["id__startswith"]
    search_help_text = gettext_lazy("The id of a job, or its beginning")
    date_hierarchy = "created_at"
    ordering = ["-id"]
    sortable_by = ()
    actions = ["pause", "resume", "retry_failed", "cancel"]

    # The list

    @admin.display(description=gettext_lazy("entity type and job"))
    def migration(self, job: MigrationJob) -> str:
        return format_html(
            '<a href="{}">{}</a>{}', _page(job), job.entity_type, display.job_id(job.pk)
        )

    @admin.display(description=gettext_lazy("status"))
    def state(self, job: MigrationJob) -> str:
        badge = display.badge(job.status, job.failed_entities)
        reason = _progress(job).throttle_reason
        return format_html('{}<div class="help">{}</div>', badge, reason) if reason else badge

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, job: MigrationJob) -> str:
        progress = _progress(job)
        return format_html(
            '{}<div class="help">{}</div>', display.bar(progress), display.pace(progress)
        )

    @admin.display(description=gettext_lazy("failed"))
    def failures(self, job: MigrationJob) -> str:
        failed = display.number(job.failed_entities)
        if job.failed_entities:
            link = '<a class="aim-failed" href="{}#failures">{}</a>'
            failed = format_html(link, _page(job), failed)
        return display.labelled(_("failed"), failed)

    @admin.display(description=gettext_lazy("started by"))
    def started(self, job: MigrationJob) -> str:
        at = display.moment(job.created_at)
        by = display.labelled(_("started by"), job.created_by or display.NOTHING)
        return format_html('{}<div class="help">{}</div>', by, at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out long columns that no list shows."""
        return super().get_queryset(request).defer(*_LONG)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def has_start_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(START)

    # Actions on several jobs

    @admin.action(description=gettext_lazy("Pause"), permissions=["control"])
    def pause(self, request: HttpRequest, jobs: QuerySet[MigrationJob]) -> None:
        _act_on_all(Action.PAUSE, request, jobs)

    @admin.action(description=gettext_lazy("Resume"), permissions=["control"])
    def resume(self, request: HttpRequest, jobs: QuerySet[MigrationJob]) -> None:
        _act_on_all(Action.RESUME, request, jobs)

    @admin.action(description=gettext_lazy("Retry failed entities"), permissions=["control"])
    def retry_failed(self, request: HttpRequest, jobs: QuerySet[MigrationJob]) -> None:
        _act_on_all(Action.RETRY, request, jobs)

    @admin.action(description=gettext_lazy("Cancel…"), permissions=["control"])
    def cancel(self, request: HttpRequest, jobs: QuerySet[MigrationJob]) -> HttpResponse | None:
        if request.POST.get("confirmed"):
            _act_on_all(Action.CANCEL, request, jobs)
            return None
        return self._confirm(
            request,
            [str(pk) for pk in jobs.values_list("pk", flat=True)],
            hidden={"action": "cancel", "index": "0"},
            each=ACTION_CHECKBOX_NAME,
            back=request.get_full_path(),
        )

    # Another job

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_start_permission(request)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Choose an entity type, fill in the form, look at the preview, start."""
        self._require(request, may=self.has_start_permission)
        context = {
            **self.admin_site.each_context(request),
            "media": self.media,
            "title": _("Start a migration"),
            "may_start": True,
        }
        try:
            entity = entity_of(request)
        except AIMigrationError as error:
            messages.error(request, error.message)
            return redirect("admin:ai_migration_migrationjob_add")
        if entity is None:
            context |= {"coverage": coverage.kept(), "names": coverage.names(request)}
            return TemplateResponse(request, f"{_TEMPLATES}/choose.html", context)
        posted = request.POST if request.method == "POST" else None
        form = StartForm(posted, entity, rebuild="rebuild" in request.GET)
        context |= {"form": form, "entity": entity, "subtitle": entity.name}
        step = request.POST.get("step")
        if request.method == "POST" and form.is_valid() and step in ("preview", "start"):
            asked = form.request(created_by=request.user.get_username())
            try:
                if step == "start":
                    job = migration_service.start_migration(asked)
                    messages.success(request, _("Started: %(job)s.") % {"job": job.pk})
                    return redirect("admin:ai_migration_migrationjob_change", job.pk)
                plan = migration_service.plan(asked, examine=EXAMINED, sample=True)
                context |= {"plan": plan, "numbers": numbers_of(plan), "matching": matching(plan)}
            except AIMigrationError as error:
                form.refuse(error)
        return TemplateResponse(request, f"{_TEMPLATES}/start.html", context)

    # One job

    def get_urls(self) -> list[URLPattern]:
        name = "ai_migration_migrationjob"
        wrap = self.admin_site.admin_view
        own = [
            path("<path:object_id>/panel/", wrap(self.panel_view), name=f"{name}_panel"),
            path("<path:object_id>/control/", wrap(self.control_view), name=f"{name}_control"),
        ]
        return own + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page of one job; only the service changes it."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        self._require(request, may=self.has_view_permission)
        try:
            job = migration_service.get_job(unquote(object_id))
        except UnknownJobError as error:
            messages.error(request, error.message)
            return redirect("admin:ai_migration_migrationjob_changelist")
        form = AdjustForm(job) if may_change(job) else None
        return self._page(request, job, form, **(extra_context or {}))

    @method_decorator(require_safe)
    def panel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the changing part of a job's page, as a fragment."""
        self._require(request, may=self.has_view_permission)
        try:
            job = migration_service.get_job(unquote(object_id))
        except UnknownJobError as error:
            return HttpResponse(error.message, status=404, content_type="text/plain")
        return TemplateResponse(request, f"{_TEMPLATES}/panel.html", self._panel(request, job))

    @method_decorator(require_POST)
    def control_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Handle a button of a job's page."""
        self._require(request, may=self.has_control_permission)
        job_id = unquote(object_id)
        page = reverse("admin:ai_migration_migrationjob_change", args=[object_id])
        actor = request.user.get_username()
        asked, reason = request.POST.get("action", ""), request.POST.get("reason", "")
        if asked == "change":
            return self._change(request, job_id, page)
        if "retry" in request.POST:
            report(request, [retry_like(job_id, request.POST["retry"], actor=actor)])
        elif asked not in Action.values:
            messages.error(request, _("Nothing was done: use one of the buttons."))
        elif asked == Action.CANCEL and not request.POST.get("confirmed"):
            hidden = {"action": asked, "reason": reason}
            return self._confirm(request, [job_id], hidden=hidden, back=page)
        else:
            report(request, [act(Action(asked), job_id, actor=actor, reason=reason)])
        return redirect(page)

    def _change(self, request: HttpRequest, job_id: str, page: str) -> HttpResponse:
        """Adjust pace and budget; where that is impossible, the form says why."""
        try:
            job = migration_service.get_job(job_id)
        except UnknownJobError:
            return redirect(page)  # which says so
        form = AdjustForm(job, request.POST)
        answer = change(job, form, actor=request.user.get_username())
        if answer is None:
            return self._page(request, job, form)
        report(request, [answer])
        return redirect(page)

    def _page(
        self, request: HttpRequest, job: MigrationJob, form: AdjustForm | None, **extra: Any
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            **self._panel(request, job),
            "title": _title(job),
            "subtitle": job.pk,
            "facts": facts_of(job),
            "change": form,
            "media": self.media,
            **extra,
        }
        return TemplateResponse(request, f"{_TEMPLATES}/job.html", context)

    def _panel(self, request: HttpRequest, job: MigrationJob) -> dict[str, Any]:
        return {
            "panel": panel_of(job, request, self.admin_site),
            "may_control": self.has_control_permission(request),
            "may_start": self.has_start_permission(request),
        }

    def _confirm(
        self,
        request: HttpRequest,
        job_ids: list[str],
        *,
        hidden: dict[str, str],
        back: str,
        each: str = "",
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Cancel for good?"),
            "job_ids": job_ids,
            "hidden": hidden,
            "each": each,
            "back": back,
            "media": self.media,
        }
        return TemplateResponse(request, f"{_TEMPLATES}/cancel.html", context)

    def _require(self, request: HttpRequest, *, may: Any) -> None:
        if not may(request):
            raise PermissionDenied


def _title(job: MigrationJob) -> str:
    is_verify = job.kind == JobKind.VERIFY
    words = _("Verify of %(entity_type)s") if is_verify else _("Migration of %(entity_type)s")
    return words % {"entity_type": job.entity_type}


def _act_on_all(action: Action, request: HttpRequest, jobs: QuerySet[MigrationJob]) -> None:
    actor = request.user.get_username()
    # In the order of creation: of two waiting jobs, the older one goes first.
    ids = jobs.order_by("pk").values_list("pk", flat=True)
    report(request, [act(action, pk, actor=actor) for pk in list(ids)])
