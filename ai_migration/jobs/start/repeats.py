"""Repeated starts: the same idempotency key finds the first job."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

from ai_migration.exceptions import IdempotencyConflictError
from ai_migration.jobs.start.requests import CheckedRequest
from ai_migration.models import MigrationJob
from ai_migration.types import JSONValue, MigrationRequest

_NOT_ASKED = ("reindex_existing", "created_by", "idempotency_key")
"""Fields that are part of others, or that name the user."""


@dataclass(frozen=True)
class Repeatable:
    """The identity of a start, by which a repeated one is recognized.

    Attributes:
        shown: The idempotency key, for messages; empty: each start is another job.
        key: The user and the idempotency key, hashed, because databases compare text differently.
            None without a key, so that the unique constraint does not apply.
        fingerprint: The request, hashed.
    """

    shown: str
    key: str | None
    fingerprint: str

    @property
    def columns(self) -> dict[str, Any]:
        """The values the job keeps of it, by column."""
        return {"idempotency_key": self.key, "request_fingerprint": self.fingerprint}

    def first_job(self, using: str) -> MigrationJob | None:
        """Return the job of an earlier start; None: there was none.

        Raises:
            IdempotencyConflictError: It asked for something else.
        """
        if self.key is None:
            return None
        jobs = MigrationJob.objects.using(using).select_related("collection")
        job = jobs.filter(idempotency_key=self.key).first()
        if job is not None and job.request_fingerprint != self.fingerprint:
            raise IdempotencyConflictError(self.shown, job.pk)
        return job


def repeatable(request: MigrationRequest, checked: CheckedRequest) -> Repeatable:
    """Return the identity of a request: what was asked for, without the defaults, which may have
    changed by the time it is repeated."""
    later = {  # absent unless given, as in requests made before the field existed
        each.name: value
        for each in fields(request)
        if (value := getattr(request, each.name)) != each.default and each.name not in _NOT_ASKED
    }
    asked: JSONValue = {
        **later,
        "entity_type": checked.entity.name,
        "mode": checked.mode,
        "filters": checked.filter_config,
        "batch_size": request.batch_size,
        "rate_limit": request.rate_limit,
        "max_tokens": request.max_tokens,
        "max_cost": str(checked.budget.max_cost),
        "rebuild": request.rebuild,
        "note": request.note,
    }
    key = request.idempotency_key
    return Repeatable(
        shown=key,
        key=_hashed([request.created_by, key]) if key else None,
        fingerprint=_hashed(asked),
    )


def _hashed(document: JSONValue) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
