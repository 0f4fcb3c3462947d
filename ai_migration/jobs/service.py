"""The one door: every shell starts and steers migrations through this service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from ai_migration.dispatch import wake
from ai_migration.entities import registry
from ai_migration.entities.filtering.filters import dump_filters
from ai_migration.exceptions import (
    AIMigrationError,
    ConflictingJobError,
    InvalidRequestError,
    InvalidTransitionError,
)
from ai_migration.indexing.standbys import source_position
from ai_migration.indexing.targets import target_for, target_of
from ai_migration.jobs.feed.collections import active_collection, new_collection
from ai_migration.jobs.report.listing import find_jobs, page_after
from ai_migration.jobs.report.overview import EntityOverview, describe_entities
from ai_migration.jobs.report.progress import progress_of, progress_of_all
from ai_migration.jobs.start.planning import PLAN_LIMIT, plan_migration, probe_embedder
from ai_migration.jobs.start.repeats import repeatable
from ai_migration.jobs.start.requests import CheckedRequest, check_request
from ai_migration.jobs.steer.changes import (
    change,
    check_changes,
    describe,
    joined,
    require_budget,
)
from ai_migration.jobs.steer.failures import discard, feed_retries, last_failure
from ai_migration.jobs.steer.scheduling import admit, start_waiting
from ai_migration.jobs.steer.transitions import ADVICE, find_job, record, transition
from ai_migration.models import Collection, EntityFailure, JobEvent, MigrationJob
from ai_migration.models.jobs import JobPhase
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.tenants import require_own_schema
from ai_migration.stores import stores
from ai_migration.types import (
    OPEN_STATUSES,
    CollectionStatus,
    EntryStatus,
    JobChanges,
    JobStatus,
    MigrationMode,
    MigrationPlan,
    MigrationProgress,
    MigrationRequest,
)


class DataMigrationService:
    """Starts, steers and describes migrations. Has no state of its own."""

    def index_all_entities(self, entity_type: str, *, created_by: str = "") -> MigrationJob:
        """Index everything of one entity type: ``start_migration`` with the defaults."""
        return self.start_migration(MigrationRequest(entity_type, created_by=created_by))

    def start_migration(self, request: MigrationRequest) -> MigrationJob:
        """Start a migration.

        Args:
            request: What, and how.

        Returns:
            The job: RUNNING, or PENDING while ``MAX_CONCURRENT_JOBS`` others run. Where its
            idempotency key was used before: the job it started then, as that is now.

        Raises:
            UnknownEntityTypeError: No such entity type; names the known ones.
            InvalidRequestError: A value is not acceptable; ``field`` says which.
            EntityConfigError: The entity type's config is wrong.
            ConflictingJobError: Another open job writes the same collection.
            IdempotencyConflictError: Its idempotency key was used for another request.
            RebuildRequiredError: The embedder changed; only ``rebuild`` can go on.
            TenantError: The connection is in a schema that our tables are not in.
            SettingsError: The settings, or the embedder or store they name, are wrong.
        """
        using = our_database()
        require_own_schema(using)
        checked = check_request(request)
        asked = repeatable(request, checked)
        if (first := asked.first_job(using)) is not None:
            return first
        total, is_estimate = checked.count()
        job = MigrationJob(
            entity_type=checked.entity.name,
            mode=checked.mode,
            rebuild=checked.rebuild,
            reindex_existing=checked.mode is MigrationMode.ALL,
            allow_removals=checked.allow_removals,
            filter_config=dump_filters(checked.filters),
            config_snapshot=checked.entity.snapshot,
            total_entities=total,
            total_is_estimate=is_estimate,
            batch_size=checked.batch_size,
            adapts_batch_size=checked.adapts_batch_size,
            rate_limit=checked.rate_limit,
            **asdict(checked.budget),
            created_by=checked.created_by,
            idempotency_key=asked.key,
            request_fingerprint=asked.fingerprint,
            epoch=clock.now_microseconds(using),  # before the position: it is no later
            source_position=source_position(checked.entity),
        )
        try:
            with transaction.atomic(using=using):
                job.collection = self._collection(checked, using)
                job.save(using=using, force_insert=True)
                why = f"started: {checked.note}" if checked.note else "started"
                record(job.pk, "", job.status, why, using=using, actor=job.created_by)
        except (IntegrityError, ConflictingJobError) as error:
            if (first := asked.first_job(using)) is not None:
                return first  # the same request, at the same moment
            if isinstance(error, ConflictingJobError):
                raise
            raise self._open_job(job.entity_type, using) or error from error
        start_waiting(using)
        wake()
        return self.get_job(job.pk)

    def plan(
        self, request: MigrationRequest, *, examine: int = PLAN_LIMIT, probe: bool = False
    ) -> MigrationPlan:
        """The dry run: what :meth:`start_migration` would do. Starts nothing.

        Args:
            request: What, and how.
            examine: Rows that are looked at one by one; beyond, what was seen is extrapolated.
            probe: Ask the provider for the vector of one plain text, and say what it says.

        Raises:
            AIMigrationError: As :meth:`start_migration`.
        """
        plan = plan_migration(check_request(request), our_database(), examine)
        return replace(plan, probe=probe_embedder(plan.entity_type)) if probe else plan

    def get_job(self, job_id: str) -> MigrationJob:
        """A job by its id.

        Raises:
            UnknownJobError: There is none.
        """
        return find_job(job_id, our_database())

    def list_jobs(
        self,
        *,
        entity_type: str | None = None,
        status: JobStatus | str | None = None,
        created_by: str | None = None,
        started_after: date | datetime | str | None = None,
        started_before: date | datetime | str | None = None,
        before: str | None = None,
        limit: int = 50,
        order: str = "-id",
    ) -> list[MigrationJob]:
        """Jobs, newest first; costs the same however many there are.

        Args:
            entity_type: Only of this entity type.
            status: Only in this state.
            created_by: Only those that this one asked for.
            started_after: Only those that began at this moment or later. A date means its
                start; what names no time zone is meant in the settings' one.
            started_before: Only those that began before this moment.
            before: The id of the last job of the page before: only those that come after it
                in ``order``.
            limit: How many at most.
            order: ``"-id"``: newest first; ``"id"``: oldest first.

        Raises:
            InvalidRequestError: A value is not acceptable; ``field`` says which.
        """
        return find_jobs(
            our_database(),
            entity_type=entity_type,
            status=status,
            created_by=created_by,
            started_after=started_after,
            started_before=started_before,
            before=before,
            limit=limit,
            order=order,
        )

    def list_entities(self) -> list[EntityOverview]:
        """Every entity type that has a model, sorted by name, with its index and its last
        job: a handful of queries each. One whose config is wrong says so.

        Raises:
            EntityConfigError: The config file itself is wrong.
        """
        return describe_entities()

    def get_progress(self, job_id: str) -> MigrationProgress:
        """Where a job stands.

        Raises:
            UnknownJobError: There is no such job.
        """
        return progress_of(self.get_job(job_id), our_database())

    def get_progress_of(self, jobs: Sequence[MigrationJob]) -> list[MigrationProgress]:
        """Where several jobs stand, with as many queries as for one.

        Args:
            jobs: Freshly read, with their collections.
        """
        return progress_of_all(jobs, our_database())

    def pause_migration(self, job_id: str, *, actor: str = "", reason: str = "") -> MigrationJob:
        """Stop claiming a job's entries; the batch in flight ends.

        Raises:
            UnknownJobError: There is no such job.
            InvalidTransitionError: It is neither running nor waiting.
        """
        using = our_database()
        change = transition(
            job_id, JobStatus.PAUSED, using=using, actor=actor, reason=reason, throttle_reason=""
        )
        if change.happened:
            start_waiting(using)
        return change.job

    def resume_migration(
        self,
        job_id: str,
        *,
        actor: str = "",
        reason: str = "",
        changes: JobChanges | None = None,
    ) -> MigrationJob:
        """Let a paused or failed job go on where it stopped.

        Args:
            job_id: Which job.
            actor: Who asks.
            reason: Why.
            changes: What of it changes, such as a budget that is used up.

        Raises:
            UnknownJobError: There is no such job.
            InvalidRequestError: A changed value is not acceptable, or its budget is used up.
            InvalidTransitionError: It is completed or cancelled.
            ConflictingJobError: Another open job writes its collection by now.
            RebuildRequiredError: The embedder changed meanwhile.
        """
        using = our_database()
        job = self.get_job(job_id)
        changed = check_changes(job, changes or JobChanges())
        if job.status in (JobStatus.RUNNING, JobStatus.PENDING):
            change(job, changed, using=using, actor=actor, reason=reason)
            return self.get_job(job_id)
        if job.status not in (JobStatus.PAUSED, JobStatus.FAILED):
            raise InvalidTransitionError(
                job_id, job.status, JobStatus.RUNNING, ADVICE[JobStatus(job.status)]
            )
        require_budget(job, changed)
        why = joined(reason, describe(job, changed))
        return self._go_on(job, using, actor, why, **changed)

    def cancel_migration(self, job_id: str, *, actor: str = "", reason: str = "") -> MigrationJob:
        """End a job for good. What it indexed stays indexed.

        Raises:
            UnknownJobError: There is no such job.
            InvalidTransitionError: It is completed.
        """
        using = our_database()
        with transaction.atomic(using=using):
            change = transition(
                job_id,
                JobStatus.CANCELLED,
                using=using,
                actor=actor,
                reason=reason,
                completed_at=Now(),
            )
            if change.happened:
                change.job.entries.filter(status=EntryStatus.PENDING).delete()
                Collection.objects.using(using).filter(
                    pk=change.job.collection_id, status=CollectionStatus.BUILDING
                ).update(status=CollectionStatus.RETIRED, retired_at=Now())
        if change.happened:
            start_waiting(using)
        return change.job

    def retry_failed(
        self, job_id: str, *, actor: str = "", only: Iterable[int] | None = None
    ) -> MigrationJob:
        """Try a job's failed entities again. An open job does it before it finishes.

        Args:
            job_id: Which job.
            actor: Who asks.
            only: Primary keys of the failures to try; None: all of them. A job that is not
                COMPLETED tries all of them, too.

        Raises:
            UnknownJobError: There is no such job.
            InvalidTransitionError: It is cancelled.
            InvalidRequestError: It has no failed entities.
        """
        using = our_database()
        job = self.get_job(job_id)
        if job.status == JobStatus.CANCELLED:
            raise InvalidTransitionError(
                job_id, job.status, JobStatus.RUNNING, ADVICE[JobStatus.CANCELLED]
            )
        failures = job.failures.all() if only is None else job.failures.filter(pk__in=list(only))
        if not failures.exists():
            raise InvalidRequestError(f"{job_id} has no failed entities to retry", field="job_id")
        unfinished = MigrationJob.objects.using(using).exclude(status=JobStatus.COMPLETED)
        asked = unfinished.filter(pk=job_id).update(retry_failed=True)
        job = self.get_job(job_id)
        if not asked:
            return self._go_on(
                job,
                using,
                actor,
                "retry of failed entities",
                None if only is None else failures,
                phase=JobPhase.RETRY,
                cursor=None if only is None else last_failure(job),
            )
        if job.status == JobStatus.FAILED:
            return self._go_on(job, using, actor, "retry of failed entities")
        return job

    def discard_failures(self, failures: Iterable[int], *, actor: str = "") -> int:
        """Give failed entities up: they stay out of the index, and are listed no more. A job's
        count as skipped from then on, which its audit log says.

        Args:
            failures: Primary keys.
            actor: Who asks.

        Returns:
            How many were listed.
        """
        return discard(failures, our_database(), actor)

    def list_failures(
        self, job_id: str, *, after: int = 0, limit: int = 50
    ) -> Sequence[EntityFailure]:
        """A job's failed entities, in the order they failed.

        Args:
            job_id: Which job.
            after: Primary key of the last one of the page before.
            limit: How many at most.

        Raises:
            UnknownJobError: There is no such job.
            InvalidRequestError: A value is not acceptable; ``field`` says which.
        """
        return page_after(self.get_job(job_id).failures.all(), after, limit)

    def list_events(self, job_id: str, *, after: int = 0, limit: int = 100) -> Sequence[JobEvent]:
        """A job's audit log, oldest first; arguments and errors as :meth:`list_failures`."""
        return page_after(self.get_job(job_id).events.all(), after, limit)

    def _go_on(
        self,
        job: MigrationJob,
        using: str,
        actor: str,
        reason: str,
        failures: QuerySet[EntityFailure] | None = None,
        **values: Any,
    ) -> MigrationJob:
        if job.collection.status == CollectionStatus.RETIRED:
            raise InvalidTransitionError(
                job.pk,
                job.status,
                JobStatus.RUNNING,
                "The index it filled was replaced by a newer one: start a new migration.",
            )
        target_of(job.collection)
        registry.get(job.entity_type).require_indexable()
        with transaction.atomic(using=using):
            change = admit(
                job,
                using=using,
                actor=actor,
                reason=reason,
                breaker_processed=F("processed_entities"),
                breaker_failed=F("failed_entities"),
                left_configs={},  # whoever resumes it knows which config is the right one
                **values,
            )
            if change.happened and failures is not None:
                feed_retries(change.job, failures)
        wake()
        return change.job

    def _collection(self, checked: CheckedRequest, using: str) -> Collection:
        """The collection a new job writes; made where there is none yet, or a fresh one."""
        entity = checked.entity
        active = active_collection(entity.name, using)
        if active is None:
            return new_collection(entity, using)
        if checked.rebuild:
            conflict = self._conflict(active, using)
            if conflict is not None and not stores[active.store].exists(active.ref):
                raise conflict
            return new_collection(entity, using)
        conflict = self._conflict(active, using)
        if conflict is not None:
            raise conflict
        store = target_for(entity, active).store
        if not store.exists(active.ref):
            raise AIMigrationError(
                f"The vectors of {entity.name!r} are gone from store {active.store!r}, while the "
                f"ledger still lists them. Rebuild with: manage.py migrate_ai_entities "
                f"{entity.name} --rebuild"
            )
        return active

    def _conflict(self, collection: Collection, using: str) -> ConflictingJobError | None:
        job = collection.jobs.using(using).filter(status__in=OPEN_STATUSES).first()
        return None if job is None else ConflictingJobError(job.entity_type, job.pk, job.status)

    def _open_job(self, entity_type: str, using: str) -> ConflictingJobError | None:
        """The conflict with whoever started the same at the same moment."""
        jobs = MigrationJob.objects.using(using).filter(status__in=OPEN_STATUSES)
        job = jobs.filter(entity_type=entity_type).first()
        return None if job is None else ConflictingJobError(entity_type, job.pk, job.status)


migration_service = DataMigrationService()
