"""The calls. Each parses, calls the service and translates its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from ai_migration.engine.insight.status import engine_status
from ai_migration.indexing.permission import may_search
from ai_migration.indexing.search import search
from ai_migration.jobs.report.documents import (
    Engine,
    EntityType,
    EventPage,
    FailurePage,
    Hit,
    Job,
    JobPage,
    JobProgress,
    Page,
    Plan,
)
from ai_migration.jobs.report.verification import Verification
from ai_migration.jobs.service import migration_service
from ai_migration.rest.access import CONTROL, PLAN, SEARCH, START, VIEW
from ai_migration.rest.base import MigrationView, RecoveringView, Tag
from ai_migration.rest.openapi import IDEMPOTENCY_KEY, operation
from ai_migration.rest.requests import (
    JobsQuery,
    PageQuery,
    PlanMigration,
    ResumeMigration,
    SearchIndex,
    StartMigration,
    VerifyIndex,
    parsed,
)

Row = TypeVar("Row")


class StartView(RecoveringView):
    access = {"POST": START}

    @operation(
        "start",
        Job,
        request=StartMigration,
        parameters=[IDEMPOTENCY_KEY],
        errors=[
            "unknown_entity_type",
            "conflicting_job",
            "rebuild_required",
            "idempotency_conflict",
        ],
    )
    def post(self, request: Request) -> Response:
        """Start a migration. It is RUNNING, or PENDING while others run."""
        key = request.headers.get("Idempotency-Key", "")
        asked = parsed(StartMigration, request).migration(self.user_name, idempotency_key=key)
        return Response(Job.of(migration_service.start_migration(asked)))


class PlanView(MigrationView):
    access = {"POST": PLAN}

    @operation("plan", Plan, request=PlanMigration, errors=["unknown_entity_type"])
    def post(self, request: Request) -> Response:
        """Return what a migration would do, and start nothing."""
        body = parsed(PlanMigration, request)
        plan = migration_service.plan(body.migration(self.user_name), probe=body.probe)
        return Response(Plan.of(plan))


class JobsView(RecoveringView):
    access = {"GET": VIEW}

    @operation("listJobs", JobPage, query=JobsQuery)
    def get(self, request: Request) -> Response:
        """List jobs, newest first."""
        asked = parsed(JobsQuery, request).selection()

        def find(limit: int) -> Sequence[Any]:
            return migration_service.list_jobs(**{**asked, "limit": limit})

        return page(request, find, asked["limit"], JobPage)


class JobView(RecoveringView):
    access = {"GET": VIEW, "DELETE": CONTROL}

    @operation("getJob", JobProgress, errors=["unknown_job"])
    def get(self, request: Request, job_id: str) -> Response:
        """Return a job with its progress."""
        job = migration_service.get_job(job_id)
        [progress] = migration_service.get_progress_of([job])
        links = {
            name: request.build_absolute_uri(self.link(name, job_id))
            for name in ("events", "failures")
        }
        return Response(JobProgress.of_job(job, progress, **links))

    @operation("cancelJob", None, errors=["unknown_job", "invalid_transition"])
    def delete(self, request: Request, job_id: str) -> Response:
        """End a job for good. Its row stays, and what it indexed stays indexed."""
        migration_service.cancel_migration(job_id, actor=self.user_name)
        return Response(status=204)


class PauseView(RecoveringView):
    access = {"POST": CONTROL}

    @operation("pauseJob", Job, errors=["unknown_job", "invalid_transition"], status="PAUSED")
    def post(self, request: Request, job_id: str) -> Response:
        """Pause a job; the batch in flight ends."""
        return Response(Job.of(migration_service.pause_migration(job_id, actor=self.user_name)))


class ResumeView(RecoveringView):
    access = {"POST": CONTROL}

    @operation(
        "resumeJob",
        Job,
        request=ResumeMigration,
        errors=["unknown_job", "invalid_transition", "conflicting_job", "rebuild_required"],
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Resume a paused or failed job where it stopped."""
        changes = parsed(ResumeMigration, request).changes()
        job = migration_service.resume_migration(job_id, actor=self.user_name, changes=changes)
        return Response(Job.of(job))


class RetryFailedView(RecoveringView):
    access = {"POST": CONTROL}

    @operation(
        "retryFailed",
        Job,
        errors=["unknown_job", "invalid_transition", "conflicting_job", "rebuild_required"],
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Try a job's failed entities again."""
        job = migration_service.retry_failed(job_id, actor=self.user_name)
        return Response(Job.of(job))


class FailuresView(RecoveringView):
    access = {"GET": VIEW}

    @operation("listFailures", FailurePage, query=PageQuery, errors=["unknown_job"])
    def get(self, request: Request, job_id: str) -> Response:
        """List a job's failed entities, with their errors and attempts."""
        return page_of_job(request, job_id, migration_service.list_failures, FailurePage)


class EventsView(RecoveringView):
    access = {"GET": VIEW}

    @operation("listEvents", EventPage, query=PageQuery, errors=["unknown_job"])
    def get(self, request: Request, job_id: str) -> Response:
        """List a job's audit log, oldest first."""
        return page_of_job(request, job_id, migration_service.list_events, EventPage)


class EntitiesView(MigrationView):
    tag = Tag.INDEX
    access = {"GET": VIEW}

    @operation("listEntities", list[EntityType])
    def get(self, request: Request) -> Response:
        """List the entity types: model, fields, backends, index, last job."""
        return Response([EntityType.of(each) for each in migration_service.list_entities()])


class EngineView(MigrationView):
    tag = Tag.INDEX
    access = {"GET": VIEW}

    @operation("getEngine", Engine)
    def get(self, request: Request) -> Response:
        """Return the state of workers and queue, and how soon live changes are searchable."""
        return Response(Engine.of(engine_status()))


class VerifyView(RecoveringView):
    tag = Tag.INDEX
    access = {"POST": START}

    @operation(
        "verify",
        Job,
        request=VerifyIndex,
        errors=["unknown_entity_type", "not_indexed", "conflicting_job", "rebuild_required"],
    )
    def post(self, request: Request, entity_type: str) -> Response:
        """Start a verify of an entity type: compare its rows, the ledger and the store."""
        asked = parsed(VerifyIndex, request).given()
        job = migration_service.verify(entity_type, **asked, created_by=self.user_name)
        return Response(Job.of(job))


class FindingsView(RecoveringView):
    access = {"GET": VIEW}

    @operation("getFindings", Verification, errors=["unknown_job"])
    def get(self, request: Request, job_id: str) -> Response:
        """Return what a verify has found so far."""
        return Response(Verification.of(migration_service.get_findings(job_id)))


class SearchView(MigrationView):
    tag = Tag.INDEX
    access = {"POST": SEARCH}

    @operation(
        "search",
        list[Hit],
        request=SearchIndex,
        errors=["unknown_entity_type", "not_indexed", "rebuild_required", "embedder_fatal"],
    )
    def post(self, request: Request) -> Response:
        """Find the entities that are nearest to a text."""
        asked = parsed(SearchIndex, request)
        if not may_search(request.user, asked.entity_type):
            raise PermissionDenied
        hits = search(asked.entity_type, asked.query, limit=asked.limit, filters=asked.filters)
        return Response([Hit.of(hit) for hit in hits])


def page_of_job(
    request: Request, job_id: str, find: Callable[..., Sequence[Row]], document: type[Page]
) -> Response:
    """Return a page of a job's rows, from the requested cursor.

    Args:
        request: The request.
        job_id: The job.
        find: A method of the service: takes the job, ``after`` and ``limit``.
        document: The document of the page.
    """
    asked = parsed(PageQuery, request)
    return page(
        request, lambda limit: find(job_id, after=asked.cursor, limit=limit), asked.limit, document
    )


def page(
    request: Request, find: Callable[[int], Sequence[Row]], limit: int, document: type[Page]
) -> Response:
    """Return a page, with the link to the next one.

    Args:
        request: The request.
        find: Takes a number of rows, and returns at most that many.
        limit: The rows of the page, at most.
        document: The document of the page.
    """
    rows = find(limit + 1)  # one more shows whether there is a next page
    following = None
    if len(rows) > limit:
        url = request.build_absolute_uri()
        following = replace_query_param(url, "cursor", str(rows[limit - 1].pk))  # type: ignore[attr-defined]
    return Response(document.of({"next": following, "results": rows[:limit]}))
