"""Start a migration: the job, its collection, and the first line of its audit log."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from ai_migration.dispatch import wake
from ai_migration.exceptions import ConflictingJobError
from ai_migration.indexing.standbys import source_position
from ai_migration.jobs.feed.collections import collection_for, conflict_among
from ai_migration.jobs.start.repeats import repeatable
from ai_migration.jobs.start.requests import check_request
from ai_migration.jobs.steer.scheduling import start_waiting
from ai_migration.jobs.steer.transitions import write_event
from ai_migration.models import MigrationJob
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.tenants import require_own_schema
from ai_migration.types import MigrationRequest


def index_all_entities(entity_type: str, *, created_by: str = "") -> MigrationJob:
    """Index all entities of a type: :func:`start_migration` with the defaults."""
    return start_migration(MigrationRequest(entity_type, created_by=created_by))


def start_migration(request: MigrationRequest) -> MigrationJob:
    """Start a migration.

    Args:
        request: The request.

    Returns:
        The job: RUNNING, or PENDING while ``MAX_CONCURRENT_JOBS`` others run. If its idempotency
        key was used before: the job it started then, in its present state.

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
        **checked.columns | asked.columns,
        total_entities=total,
        total_is_estimate=is_estimate,
        epoch=clock.now_microseconds(using),  # before the position, so it is no later
        source_position=source_position(checked.entity),
    )
    try:
        with transaction.atomic(using=using):
            job.collection = collection_for(checked.entity, rebuild=request.rebuild, using=using)
            job.save(using=using, force_insert=True)
            why = f"started: {request.note}" if request.note else "started"
            write_event(job.pk, "", job.status, why, using=using, actor=job.created_by)
    except (IntegrityError, ConflictingJobError) as error:
        if (first := asked.first_job(using)) is not None:
            return first  # the same request, at the same moment
        jobs = MigrationJob.objects.using(using).filter(entity_type=job.entity_type, kind=job.kind)
        if isinstance(error, IntegrityError) and (other := conflict_among(jobs)) is not None:
            raise other from error  # the same start, at the same moment
        raise
    start_waiting(using)
    wake()
    job.refresh_from_db()
    return job
