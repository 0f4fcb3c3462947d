"""Changes that nobody recorded are found all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ai_migration import supervise
from ai_migration.engine.upkeep import sweeps
from ai_migration.engine.upkeep.sweeps import sweep
from ai_migration.entities import registry
from ai_migration.models import Collection, MigrationJob, QueueEntry
from ai_migration.types import JobStatus
from tests.integration.support import (
    Project,
    as_the_host_has_it,
    assert_in_line,
    make_articles,
    run,
    run_slice,
    start,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])


@pytest.fixture(autouse=True)
def live(project: Project) -> Iterator[Project]:
    """An index of five articles, all of which were changed before its last look."""
    project.article(updated_at_field="updated_at")
    make_articles(5)
    Article.objects.update(updated_at=as_the_host_has_it(timezone.now() - timedelta(days=9)))
    run()
    Collection.objects.update(swept_to=timezone.now() - timedelta(hours=1))
    project.set(SYNC="queue", FULL_SWEEP_SECONDS=None)
    yield project
    project.set(SYNC="off")


def later(seconds: float = 1000) -> None:
    """So many seconds pass."""
    for name in ("created_at", "swept_at", "compared_at"):
        moved = {name: F(name) - timedelta(seconds=seconds)}
        Collection.objects.exclude(**{name: None}).update(**moved)


def change(count: int) -> None:
    """Rows are changed by a program that knows nothing of the index."""
    keys = list(Article.objects.order_by("pk").values_list("pk", flat=True)[:count])
    changed = {"title": "changed", "updated_at": as_the_host_has_it(timezone.now())}
    Article.objects.filter(pk__in=keys).update(**changed)


def test_changed_rows_are_found(live: Project) -> None:
    change(2)
    assert sweep() == 0  # its turn has not come
    later()
    assert sweep() == 2
    work()
    assert_in_line()
    assert sweep() == 0
    later()
    assert sweep() == 2  # those of the overlap are read again, and are the same
    work()
    assert QueueEntry.objects.filter(job=None).count() == 0


@pytest.mark.vendors("sqlite")
def test_a_look_that_finds_nothing_is_one_query_on_the_rows() -> None:
    later()
    with CaptureQueriesContext(connection) as queries:
        assert sweep() == 0
    assert len([q for q in queries if "testapp_article" in q["sql"]]) == 1


@pytest.mark.vendors("sqlite")
def test_many_rows_are_found_in_several_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "MOST_ROWS", 3)
    monkeypatch.setattr(sweeps, "OVERLAP", timedelta(0))
    for article in Article.objects.all():
        article.title += ", changed"
        article.save()
    QueueEntry.objects.filter(job=None).delete()
    later()
    assert sweep() == 3
    assert sweep() == 0  # nobody has done those yet
    work()
    assert sweep() == 3  # without waiting for its turn
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_a_row_that_is_hidden_is_found(live: Project) -> None:
    live.article(updated_at_field="updated_at", filter={"status": "published"})
    run()
    now = as_the_host_has_it(timezone.now())
    Article.objects.filter(pk__lte=2).update(status="draft", updated_at=now)
    later()
    assert sweep() == 2
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("keys", [{"SYNC": "off"}, {"SWEEP_SECONDS": None}, {"ENABLED": False}])
def test_it_can_be_switched_off(live: Project, keys: dict[str, Any]) -> None:
    change(2)
    later()
    live.set(**keys)
    assert sweep() == 0


@pytest.mark.vendors("sqlite")
def test_without_a_date_or_with_a_config_that_follows_nothing_it_asks_nothing(
    live: Project,
) -> None:
    live.article()
    assert registry.get("article").updated_at is None  # it has no index
    later()
    with CaptureQueriesContext(connection) as queries:
        assert sweep() == 0
        live.article(updated_at_field="updated_at", auto_process=False)
        assert sweep() == 0
    assert not [q for q in queries if "testapp_article" in q["sql"]]


# All rows, once a day


def test_rows_that_were_deleted_are_found_once_a_day(live: Project) -> None:
    live.set(FULL_SWEEP_SECONDS=86_400)
    Article.objects.filter(pk__lte=2).delete()
    QueueEntry.objects.filter(job=None).delete()
    supervise()
    later(90_000)
    MigrationJob.objects.update(created_at=F("created_at") - timedelta(days=2))
    supervise()
    supervise()
    job = MigrationJob.objects.latest("pk")
    assert (MigrationJob.objects.count(), job.created_by) == (2, "supervisor")
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_it_leaves_what_people_have_done_or_have_to_decide(live: Project) -> None:
    live.set(FULL_SWEEP_SECONDS=86_400)
    later(90_000)
    sweep()  # there was a migration today
    later(90_000)
    MigrationJob.objects.update(created_at=F("created_at") - timedelta(days=2))
    live.article("title")
    sweep()  # the config has changed
    assert MigrationJob.objects.count() == 1


# Transactions that do not know of the index


@pytest.mark.vendors("postgresql")
def test_the_first_job_waits_for_transactions_that_do_not_know_of_its_index(live: Project) -> None:
    Collection.objects.update(status="RETIRED")
    began, may_end = threading.Event(), threading.Event()

    def writes() -> None:
        try:
            with transaction.atomic():
                Article.objects.create(title="from before", body="b")
                began.set()
                assert may_end.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=writes)
    thread.start()
    assert began.wait(30)
    job = start()
    run_slice()
    job.refresh_from_db()
    assert (job.status, job.processed_entities) == (JobStatus.RUNNING, 0)
    assert "transactions that began before" in job.throttle_reason
    may_end.set()
    thread.join()
    MigrationJob.objects.update(throttled_until=None)
    work()
    assert_in_line()
