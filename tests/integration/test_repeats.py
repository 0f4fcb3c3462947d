"""A start that is asked for again with its idempotency key is the first job."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ai_migration import migration_service
from ai_migration.exceptions import (
    ConflictingJobError,
    IdempotencyConflictError,
    InvalidRequestError,
)
from ai_migration.models import Collection, JobEvent, MigrationJob
from ai_migration.testing.threads import at_once
from ai_migration.types import JobStatus, MigrationFilters
from tests.integration.support import GLOBAL, Project, finish, make_articles, start

KEY = "d41d8cd9"


def test_the_same_key_is_the_same_job_whatever_became_of_it(project: Project) -> None:
    make_articles(3)
    ask: dict[str, Any] = {"created_by": "ops", "idempotency_key": KEY, "note": "new fields"}
    job = start(**ask)
    assert start(**ask).pk == job.pk
    migration_service.pause_migration(job.pk)
    again = start(**ask)
    assert (again.pk, again.status) == (job.pk, JobStatus.PAUSED)
    migration_service.resume_migration(job.pk)
    assert finish(job).status == JobStatus.COMPLETED
    project.set(DEFAULT_BATCH_SIZE=7)  # a default is not what was asked for
    assert start(**ask).pk == job.pk
    assert MigrationJob.objects.count() == 1
    [first, *_] = JobEvent.objects.filter(job=job).order_by("pk")
    assert (first.actor, first.reason) == ("ops", "started: new fields")


@pytest.mark.parametrize("key", ["", KEY])
def test_another_key_is_another_start(project: Project, key: str) -> None:
    start(created_by="ops", idempotency_key=key)
    for created_by, other in (("ops", "other"), ("ops", ""), ("Ops", KEY), ("op", "s" + KEY)):
        with pytest.raises(ConflictingJobError):
            start(created_by=created_by, idempotency_key=other)
    for other in ("D41D8CD9", KEY + " "):  # MySQL's own comparison takes them for the same
        with pytest.raises(ConflictingJobError):
            start(created_by="ops", idempotency_key=other)


def test_the_same_key_for_another_request_is_refused(project: Project) -> None:
    project.article(filterable_fields=["status"], created_at_field="created_at")
    ask: dict[str, Any] = {"created_by": "ops", "idempotency_key": KEY, "batch_size": 5}
    job = start(**ask)
    others: list[dict[str, Any]] = [
        {"batch_size": 6},
        {"rate_limit": 5},
        {"mode": "all"},
        {"max_tokens": 10},
        {"note": "again"},
        {"filters": MigrationFilters(created_before=date(2024, 1, 1))},
        {"filters": MigrationFilters(lookups={"status": "draft"})},
        {"filters": MigrationFilters(entity_ids=[1])},
    ]
    for other in others:
        with pytest.raises(IdempotencyConflictError, match=rf"'{KEY}'.*{job.pk}") as caught:
            start(**{**ask, **other})
        assert (caught.value.code, caught.value.field) == (
            "idempotency_conflict",
            "idempotency_key",
        )
    assert start(**ask).pk == job.pk


@pytest.mark.vendors("sqlite")
def test_a_key_is_for_all_entity_types(project: Project) -> None:
    project.config(
        GLOBAL
        + """
        ai-entities:
          a: {model: testapp.Article, embeddable-fields: [title]}
          b: {model: testapp.Article, embeddable-fields: [title]}
        """.replace("\n        ", "\n")
    )
    start("a", idempotency_key=KEY)
    with pytest.raises(IdempotencyConflictError):
        start("b", idempotency_key=KEY)


@pytest.mark.vendors("sqlite")
def test_a_start_that_failed_is_no_first_job(project: Project) -> None:
    other = start()
    ask = {"created_by": "ops", "idempotency_key": KEY}
    with pytest.raises(ConflictingJobError):
        start(**ask)
    migration_service.cancel_migration(other.pk)
    assert start(**ask).pk not in ("", other.pk)


@pytest.mark.parametrize("has_index", [False, True])
def test_two_at_once_make_one_job(project: Project, has_index: bool) -> None:
    make_articles(3)
    if has_index:
        finish(start())
    before = MigrationJob.objects.count()
    started: list[str] = []

    def ask() -> None:
        started.append(start(created_by="ops", idempotency_key=KEY).pk)

    errors = at_once([ask] * 4)
    assert (errors, len(started), len(set(started))) == ([], 4, 1)
    assert MigrationJob.objects.count() == before + 1
    assert Collection.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("idempotency_key", "k" * 256),
        ("idempotency_key", "\0"),
        ("note", "n" * 1_001),
        ("note", "a\0b"),
        ("note", "\ud800"),
        ("created_by", "\0"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_text_no_database_takes(project: Project, field: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match=field) as caught:
        start(**{field: value})
    assert caught.value.field == field
    assert not MigrationJob.objects.exists()
