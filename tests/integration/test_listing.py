"""What is listed: jobs by what they are, pages by key, entity types with their index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from ai_migration import migration_service
from ai_migration.exceptions import FatalEmbedderError, InvalidRequestError
from ai_migration.jobs.report.documents import EntityType
from ai_migration.jobs.report.overview import EntityOverview, EntityState
from ai_migration.models import Collection, EntityFailure, MigrationJob
from ai_migration.types import JobStatus
from tests.integration.embedders import Script
from tests.integration.support import GLOBAL, Project, finish, make_articles, run, start
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

NOON = datetime(2025, 12, 18, 12, tzinfo=UTC)
TYPES = """
ai-entities:
  a: {model: testapp.Article, embeddable-fields: [title]}
  b: {model: testapp.Article, embeddable-fields: [title], metadata-fields: [status]}
"""


@pytest.fixture
def jobs(project: Project) -> list[str]:
    """Three jobs, oldest first: by two people, begun an hour apart; the last one waits."""
    rows = []
    for hours, created_by in ((0, "ada"), (1, "bob"), (None, "ada")):
        job = start(created_by=created_by)
        migration_service.cancel_migration(job.pk)
        began = None if hours is None else NOON + timedelta(hours=hours)
        MigrationJob.objects.filter(pk=job.pk).update(started_at=began)
        rows.append(job.pk)
    return rows


def test_jobs_by_what_they_are(jobs: list[str]) -> None:
    asked_and_found: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [2, 1, 0]),
        ({"order": "id"}, [0, 1, 2]),
        ({"created_by": "ada"}, [2, 0]),
        ({"created_by": "ada", "order": "id", "limit": 1}, [0]),
        ({"created_by": "nobody"}, []),
        ({"started_after": NOON}, [1, 0]),
        ({"started_after": NOON + timedelta(seconds=1)}, [1]),
        ({"started_before": NOON + timedelta(hours=1)}, [0]),
        ({"started_after": "2025-12-18T12:30:00Z"}, [1]),
        ({"started_after": "2025-12-18T13:30:00+01:00", "started_before": "2025-12-19"}, [1]),
        ({"started_before": "2025-12-18"}, []),
        ({"started_after": NOON.date(), "status": JobStatus.RUNNING}, []),
        ({"status": "CANCELLED", "entity_type": "article"}, [2, 1, 0]),
    ]
    for asked, found in asked_and_found:
        listed = [job.pk for job in migration_service.list_jobs(**asked)]
        assert listed == [jobs[i] for i in found], asked


def test_jobs_page_by_page_in_both_orders(jobs: list[str]) -> None:
    for order, pages in (("-id", [[2, 1], [0]]), ("id", [[0, 1], [2]])):
        before = None
        for page in pages:
            listed = migration_service.list_jobs(order=order, before=before, limit=2)
            assert [job.pk for job in listed] == [jobs[i] for i in page]
            before = listed[-1].pk
        assert migration_service.list_jobs(order=order, before=before) == []


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "BUSY"),
        ("order", "status"),
        ("order", ""),
        ("limit", 0),
        ("limit", "10"),
        ("limit", 2**40),
        ("started_after", "yesterday"),
        ("started_before", "2025-13-01"),
        ("started_before", "0001-01-01T00:00:00+14:00"),
        ("before", "mig-\0"),
        ("created_by", "\ud800"),
        ("entity_type", "\0"),
    ],
)
def test_what_no_list_can_be_asked_for(project: Project, field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        migration_service.list_jobs(**{field: value})
    assert caught.value.field == field


def test_failures_and_events_page_by_page(project: Project) -> None:
    job = start()
    EntityFailure.objects.bulk_create(
        EntityFailure(job=job, collection=job.collection, entity_id=str(i)) for i in range(5)
    )
    for _ in range(2):
        migration_service.pause_migration(job.pk)
        migration_service.resume_migration(job.pk)
    for page in (migration_service.list_failures, migration_service.list_events):
        everything = page(job.pk)
        first = page(job.pk, limit=3)
        rest = page(job.pk, after=first[-1].pk)
        assert [*first, *rest] == [*everything]
        assert len(rest) >= 2
        for field, value in (("after", -1), ("after", "1"), ("after", 2**63), ("limit", 0)):
            with pytest.raises(InvalidRequestError) as caught:
                page(job.pk, **{field: value})  # type: ignore[arg-type]
            assert caught.value.field == field


def test_entities_with_their_index_and_their_last_job(project: Project) -> None:
    project.config(GLOBAL + TYPES)
    make_articles(4)
    run("a")
    job = start("b")
    described = {item.entity_type: item for item in migration_service.list_entities()}
    a, b = described["a"], described["b"]
    assert (a.rows, a.indexed, a.state, a.problem) == (4, 4, EntityState.UNCHANGED, "")
    assert a.summary == "config unchanged"
    assert (b.state, b.summary) == (
        EntityState.UNCHANGED,
        "config unchanged; 4 more rows than are indexed; last job RUNNING",
    )
    assert a.collection == Collection.objects.get(entity_type="a")
    assert (b.rows, b.indexed, b.fields) == (4, 0, ("title",))
    assert b.last_job == job
    document = EntityType.of(a)
    assert document["lastJob"] == {"jobId": a.last_job and a.last_job.pk, "status": "COMPLETED"}
    assert document["collection"]["dimensions"] == 32
    finish(job)


def refuses(texts: object) -> None:
    raise FatalEmbedderError("a wrong key")


def test_counts_that_differ_are_said_and_nothing_is_said_of_what_was_not_compared(
    project: Project, script: Script
) -> None:
    """After a job that failed, and after writes that told nobody."""
    make_articles(6)
    script.react = refuses
    assert finish(start()).status == JobStatus.FAILED
    [failed] = migration_service.list_entities()
    assert failed.summary == "config unchanged; 6 more rows than are indexed; last job FAILED"
    script.react = lambda texts: None
    run()
    Article.objects.filter(title__in=["Title 0", "Title 1"]).delete()
    Article.objects.filter(title="Title 2").update(title="Another")
    [fewer] = migration_service.list_entities()
    assert fewer.summary == "config unchanged; 2 more indexed than there are rows"
    assert EntityType.of(fewer)["state"] == "config_unchanged"
    make_articles(2, start=10)
    [equal] = migration_service.list_entities()
    assert equal.summary == "config unchanged"


@pytest.mark.parametrize(
    ("rows", "indexed", "said"),
    [
        (2_000_000, 1_990_000, ""),
        (2_000_000, 0, "about 2,000,000 more rows than are indexed"),
        (1_500_000, 2_000_000, "about 500,000 more indexed than there are rows"),
    ],
)
def test_estimates_differ_where_they_differ_much(rows: int, indexed: int, said: str) -> None:
    overview = EntityOverview(
        "a", "m", (), "e", "s", rows, True, Collection(), indexed, indexed_is_estimate=True
    )
    assert overview.difference == said


def test_a_config_that_is_wrong_hides_neither_index_nor_job(project: Project) -> None:
    make_articles(2)
    ended = run()
    project.article("title", "nothing")
    [described] = migration_service.list_entities()
    assert "nothing" in described.problem
    assert described.rows is None
    assert described.indexed == 2
    assert described.last_job is not None
    assert described.last_job.pk == ended.job_id


def test_a_table_that_is_missing_spoils_no_transaction(project: Project) -> None:
    project.config(GLOBAL + TYPES)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE testapp_article_tags")
        cursor.execute("DROP TABLE testapp_article")
    with transaction.atomic():  # as ATOMIC_REQUESTS
        described = migration_service.list_entities()
        assert MigrationJob.objects.count() == 0
    assert [item.rows for item in described] == [None, None]
    assert "cannot be read" in described[1].problem


@pytest.mark.vendors("sqlite", "postgresql")
def test_entities_cost_a_handful_of_queries_each(project: Project) -> None:
    make_articles(3)
    run()
    counted = []
    for count in (1, 10):
        for _ in range(count):
            migration_service.cancel_migration(start().pk)
        with CaptureQueriesContext(connection) as queries:
            migration_service.list_entities()
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 5


def test_who_may_is_in_the_database(project: Project) -> None:
    names = Permission.objects.filter(content_type__app_label="ai_migration")
    assert {"start_migrationjob", "control_migrationjob", "search_index"} <= set(
        names.values_list("codename", flat=True)
    )
