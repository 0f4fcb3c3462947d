"""Examples of the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

JOB_ID = "mig-019bd2a4-7c10-7cc3-98c4-dc0c0c07398f"
_AT = "2025-12-18T10:00:00+00:00"
_ENTITY_TYPE = "product"


@dataclass(frozen=True)
class ErrorExample:
    """An error and what it looks like.

    Attributes:
        status: Its status.
        detail: What it says.
        attr: The field at fault, if one is.
    """

    status: int
    detail: str
    attr: str | None = None


ALWAYS = ("not_authenticated", "permission_denied", "throttled", "ai_migration_error")
"""Errors of every call."""
WITH_BODY = ("parse_error", "body_too_large", "unsupported_media_type")
"""Errors of every call that has a body."""

ERRORS = {
    "invalid_request": ErrorExample(
        400, "batchSize must be a whole number from 1 to 100000, not '0'", "batchSize"
    ),
    "parse_error": ErrorExample(400, "JSON parse error - Expecting value: line 1 column 1"),
    "not_authenticated": ErrorExample(401, "Authentication credentials were not provided."),
    "permission_denied": ErrorExample(403, "You do not have permission to perform this action."),
    "unknown_entity_type": ErrorExample(
        404, "Unknown entity type 'prodct'. Known entity types: product. Did you mean 'product'?"
    ),
    "unknown_job": ErrorExample(
        404, "No job has the id 'mig-1'. List the jobs with: manage.py ai_migration jobs"
    ),
    "invalid_transition": ErrorExample(
        409,
        f"{JOB_ID} is COMPLETED: it cannot become PAUSED. It is done; start a new migration, or "
        f"retry its failed entities.",
    ),
    "conflicting_job": ErrorExample(
        409,
        f"{JOB_ID} (RUNNING) already writes the index of 'product'. Wait for it, resume it, or "
        f"cancel it with: manage.py ai_migration cancel {JOB_ID}",
    ),
    "rebuild_required": ErrorExample(409, "The embedder changed: rebuild the index of 'product'."),
    "idempotency_conflict": ErrorExample(
        409,
        f"The idempotency key 'nightly' was used before, for another request: it started {JOB_ID}. "
        f"Send that request again, or this one with a new key.",
    ),
    "not_indexed": ErrorExample(
        409, "'product' is not indexed yet. Run: manage.py migrate_ai_entities product"
    ),
    "body_too_large": ErrorExample(413, "The body is too large."),
    "unsupported_media_type": ErrorExample(415, 'Unsupported media type "text/plain" in request.'),
    "throttled": ErrorExample(429, "Request was throttled. Expected available in 20 seconds."),
    "embedder_fatal": ErrorExample(502, "The provider refused the key (401)."),
    "ai_migration_error": ErrorExample(
        503,
        "The table of shop.Product cannot be read: the database does not answer: the connection is "
        "closed. Try again when it does",
    ),
}
"""By code. 503: something has to be set right or to come back before it can be done."""

_JOB = {
    "id": JOB_ID,
    "entityType": _ENTITY_TYPE,
    "status": "RUNNING",
    "mode": "changed",
    "rebuild": False,
    "reindexExisting": False,
    "allowRemovals": False,
    "filters": {
        "createdBefore": "2024-01-01",
        "createdAfter": None,
        "entityIds": [],
        "entityIdCount": 0,
        "lookups": {"category__slug": "shoes"},
    },
    "totalEntities": 100_000,
    "processedEntities": 0,
    "failedEntities": 0,
    "createdBy": "ops",
    "createdAt": _AT,
    "startedAt": _AT,
    "completedAt": None,
    "lastUpdatedAt": _AT,
    "batchSize": 500,
    "rateLimit": 100,
    "maxTokens": None,
    "maxCost": None,
    "tokens": 0,
    "errorMessage": None,
}
_START = {
    "entityType": _ENTITY_TYPE,
    "batchSize": 500,
    "rateLimit": 100,
    "reindexExisting": False,
    "filters": {"createdBefore": "2024-01-01", "category__slug": "shoes"},
}
_PROGRESS = {
    "jobId": JOB_ID,
    "entityType": _ENTITY_TYPE,
    "status": "RUNNING",
    "progress": {
        "total": 100_000,
        "processed": 25_000,
        "indexed": 24_988,
        "skipped": 0,
        "removed": 0,
        "failed": 12,
        "percentComplete": 25.0,
        "entitiesPerSecond": 27.8,
        "estimatedTimeRemaining": "PT45M",
    },
    "throttle": None,
    "tokens": 1_250_000,
    "cost": "0.03",
    "errorMessage": None,
    "events": f"https://example.com/api/ai/migration/jobs/{JOB_ID}/events",
    "failures": f"https://example.com/api/ai/migration/jobs/{JOB_ID}/failures",
}
_PLAN = {
    "entityType": _ENTITY_TYPE,
    "total": 100_000,
    "toEmbed": 1_200,
    "toUpdateMetadata": 0,
    "toSkip": 98_800,
    "toRemove": 3,
    "texts": 1_200,
    "tokens": 60_000,
    "requests": 12,
    "cost": "0.01",
    "durationAtRateLimit": "PT7S",
    "examined": 100_000,
    "isEstimate": False,
    "rebuildRequired": None,
    "removalsRefused": None,
    "probe": None,
}
_ENTITY = {
    "entityType": _ENTITY_TYPE,
    "model": "shop.Product",
    "fields": ["name", "description"],
    "embedder": "default",
    "store": "default",
    "collection": {
        "id": 1,
        "name": "ai_vectors_1",
        "model": "text-embedding-3-small",
        "dimensions": 1536,
        "activatedAt": _AT,
    },
    "rows": 100_000,
    "rowsIsEstimate": False,
    "indexed": 98_800,
    "state": "config_unchanged",
    "lastJob": {"jobId": JOB_ID, "status": "COMPLETED"},
    "problem": None,
}
_EVENT = {
    "at": _AT,
    "actor": "ops",
    "from": "RUNNING",
    "to": "PAUSED",
    "reason": "paused",
}
_FAILURE = {
    "entityId": "4711",
    "code": "embedder_input",
    "error": "These texts are refused",
    "attempts": 1,
}
_HIT = {
    "id": "17",
    "score": 0.83,
    "metadata": {"category__name": "Shoes"},
    "text": "name: Runner\ndescription: A light red shoe.",
}

REQUESTS: dict[str, Any] = {
    "start": _START,
    "plan": _START,
    "resumeJob": {"rateLimit": 50, "maxTokens": 5_000_000},
    "search": {"entityType": _ENTITY_TYPE, "query": "red running shoes", "limit": 5},
}
ANSWERS: dict[str, Any] = {  # of a list: one item
    "start": _JOB,
    "plan": _PLAN,
    "listJobs": {"next": None, "results": [_JOB]},
    "getJob": _PROGRESS,
    "pauseJob": {**_JOB, "status": "PAUSED"},
    "resumeJob": _JOB,
    "retryFailed": _JOB,
    "listEvents": {"next": None, "results": [_EVENT]},
    "listFailures": {"next": None, "results": [_FAILURE]},
    "listEntities": _ENTITY,
    "search": _HIT,
}
