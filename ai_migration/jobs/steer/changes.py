"""Adjustments of a job after its start: its rate limit, its budget, what it may remove."""

from __future__ import annotations

from copy import copy
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F

from ai_migration.exceptions import InvalidRequestError
from ai_migration.jobs.steer.transitions import note
from ai_migration.jobs.values import check_budget, require_bounds
from ai_migration.models import MigrationJob
from ai_migration.types import JobChanges

_WORDS = {
    "rate_limit": "requests a minute",
    "max_tokens": "budget in tokens",
    "max_cost": "budget in money",
    "token_price": "price of a million tokens",
    "allow_removals": "removals of more than half of the index",
}


def check_changes(job: MigrationJob, changes: JobChanges) -> dict[str, Any]:
    """Return the columns of a job that change.

    Raises:
        InvalidRequestError: A value is not acceptable.
    """
    require_bounds(changes)
    budget = check_budget(changes.max_tokens, changes.max_cost, job.collection.embedder)
    columns: dict[str, Any] = {
        "rate_limit": changes.rate_limit,
        "max_tokens": budget.max_tokens,
        "allow_removals": changes.allow_removals,
    }
    if budget.max_cost is not None:
        columns |= {"max_cost": budget.max_cost, "token_price": budget.token_price}
    return {name: value for name, value in columns.items() if value is not None}


def require_budget(job: MigrationJob, changed: dict[str, Any]) -> None:
    """Refuse to resume a job that, as ``changed``, has used up its budget.

    Raises:
        InvalidRequestError: Names the budget, and what is used of it.
    """
    later = copy(job)
    for name, value in changed.items():
        setattr(later, name, value)
    if later.tokens_left == 0:
        raise InvalidRequestError(
            f"{job.pk} has used up its budget: {later.spent}. Resume it with a larger "
            f"max_tokens or max_cost.",
            field="max_tokens" if later.max_cost is None else "max_cost",
        )


def change(
    job: MigrationJob, columns: dict[str, Any], *, using: str, actor: str, reason: str
) -> None:
    """Change an open job, and note it in the audit log. Do nothing if it is as asked for already.

    Args:
        job: The job.
        columns: The changes, as :func:`check_changes` returned them.
        using: Database alias of our tables.
        actor: The user who asks, for the audit log.
        reason: The reason, for the audit log.
    """
    if not columns:
        return
    jobs = MigrationJob.objects.using(using).filter(pk=job.pk)
    with transaction.atomic(using=using):
        jobs.update(rate_limit=F("rate_limit"))  # locks it, without being a sign of life
        if words := describe(jobs.get(), columns):
            jobs.update(**columns)
            note(job.pk, joined(reason, words), using=using, actor=actor)


def describe(job: MigrationJob, columns: dict[str, Any]) -> str:
    """Return the changes of a job in words; empty: there are none.

    Args:
        job: The job as it is.
        columns: The changes, as :func:`check_changes` returned them.
    """
    return ", ".join(
        f"{words}: {_said(getattr(job, name))} → {_said(columns[name])}"
        for name, words in _WORDS.items()
        if name in columns and columns[name] != getattr(job, name)
    )


def joined(reason: str, words: str) -> str:
    """Join a reason and further words; each may be empty."""
    return "; ".join(filter(None, (reason, words)))


def _said(value: int | Decimal | bool | None) -> str:
    if isinstance(value, bool):
        return "allowed" if value else "refused"
    return "none" if value is None else f"{Decimal(value).normalize():,f}"
