"""The service through which every shell starts, steers and describes migrations."""

from __future__ import annotations

from ai_migration.jobs.report import ids, listing, overview, progress, verification
from ai_migration.jobs.start import planning, starting, verify
from ai_migration.jobs.steer import failures, steering


class DataMigrationService:
    """The service for starting, steering and describing migrations. It has no state and no code of
    its own: each method is the function it names."""

    index_all_entities = staticmethod(starting.index_all_entities)
    start_migration = staticmethod(starting.start_migration)
    plan = staticmethod(planning.plan_migration)
    verify = staticmethod(verify.verify)

    pause_migration = staticmethod(steering.pause_migration)
    resume_migration = staticmethod(steering.resume_migration)
    cancel_migration = staticmethod(steering.cancel_migration)
    retry_failed = staticmethod(steering.retry_failed)
    discard_failures = staticmethod(failures.discard_failures)

    find_job_id = staticmethod(ids.find_job_id)
    short_ids = staticmethod(ids.short_ids)
    get_job = staticmethod(listing.get_job)
    list_jobs = staticmethod(listing.list_jobs)
    list_failures = staticmethod(listing.list_failures)
    list_events = staticmethod(listing.list_events)
    get_progress = staticmethod(progress.get_progress)
    get_progress_of = staticmethod(progress.get_progress_of)
    get_findings = staticmethod(verification.get_findings)
    list_entities = staticmethod(overview.list_entities)


migration_service = DataMigrationService()
