"""Jobs and what belongs to them as JSON documents: one shape for every shell."""

from __future__ import annotations

from ai_migration.models import EntityFailure, JobEvent, MigrationJob
from ai_migration.types import JSONValue

SHOWN_IDS = 100
"""Entity ids a job's document shows; it may have ten thousand, and a page many jobs."""


def job_document(job: MigrationJob) -> dict[str, JSONValue]:
    """A job as it was asked for, and how far it is."""
    return {
        "id": job.pk,
        "entityType": job.entity_type,
        "status": job.status,
        "mode": job.mode,
        "rebuild": job.rebuild,
        "reindexExisting": job.reindex_existing,
        "allowRemovals": job.allow_removals,
        "filters": _filters(job.filter_config),
        "totalEntities": job.total_entities,
        "processedEntities": job.processed_entities,
        "failedEntities": job.failed_entities,
        "createdBy": job.created_by,
        "createdAt": job.created_at.isoformat(),
        "startedAt": job.started_at and job.started_at.isoformat(),
        "completedAt": job.completed_at and job.completed_at.isoformat(),
        "lastUpdatedAt": job.last_updated_at.isoformat(),
        "batchSize": job.batch_size,
        "rateLimit": job.rate_limit,
        "maxTokens": job.max_tokens,
        "maxCost": None if job.max_cost is None else str(job.max_cost),
        "tokens": job.charged_tokens,
        "errorMessage": job.error_message or None,
    }


def event_document(event: JobEvent) -> dict[str, JSONValue]:
    """A line of the audit log."""
    return {
        "at": event.at.isoformat(),
        "actor": event.actor,
        "from": event.from_status or None,
        "to": event.to_status,
        "reason": event.reason,
    }


def failure_document(failure: EntityFailure) -> dict[str, JSONValue]:
    """An entity that failed."""
    return {
        "entityId": failure.entity_id,
        "code": failure.error_code,
        "error": failure.error,
        "attempts": failure.attempts,
    }


def _filters(stored: dict[str, JSONValue]) -> dict[str, JSONValue]:
    """Its filters; the keys of look-ups are the model's, and stay as they are."""
    entity_ids = stored.get("entity_ids", [])
    return {
        "createdBefore": stored.get("created_before"),
        "createdAfter": stored.get("created_after"),
        "entityIds": entity_ids[:SHOWN_IDS],
        "entityIdCount": len(entity_ids),
        "lookups": stored.get("lookups", {}),
    }
