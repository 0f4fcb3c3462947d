"""A full run takes more than half of a large index away only if somebody said that it may."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db.models import QuerySet

from ai_migration import enqueue, migration_service
from ai_migration.models import Collection, MigrationJob
from ai_migration.types import JobChanges, JobStatus, MigrationFilters, MigrationRequest, Operation
from tests.integration.admin import operator, url, words
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    counts,
    finish,
    make_articles,
    run,
    start,
    stored,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

if TYPE_CHECKING:
    from tests.integration.rest import Api

on_sqlite = pytest.mark.vendors("sqlite")


def published() -> QuerySet[Article]:
    """Stands for a manager that shows less outside of a request."""
    return Article.objects.filter(status="published")


def show(count: int) -> None:
    """Only so many articles can be seen, the first ones."""
    seen = list(Article.objects.order_by("pk").values_list("pk", flat=True)[:count])
    Article.objects.exclude(pk__in=seen).update(status="hidden")
    Article.objects.filter(pk__in=seen).update(status="published")


def indexed(count: int, project: Project) -> list[int]:
    """So many articles in the index; their keys."""
    project.article(queryset=f"{__name__}.published")
    make_articles(count)
    run(batch_size=500)
    return list(Article.objects.order_by("pk").values_list("pk", flat=True))


def refused(job: MigrationJob) -> str:
    """What a job says that ended without having removed anything."""
    before = stored(collection())
    ended = finish(job)
    assert (ended.status, ended.removed) == (JobStatus.FAILED, 0)
    assert stored(collection()) == before
    return ended.error_message


def test_rows_that_are_hidden_by_mistake_stay_indexed(project: Project) -> None:
    ids = indexed(120, project)
    show(10)
    job = start(batch_size=4)
    words = refused(job)
    assert "110 of the 120 entities in the index of 'article' would be removed" in words
    assert f"--resume {job.pk} --allow-removals" in words
    migration_service.resume_migration(job.pk)
    assert refused(job) == words, "whoever changes nothing is told again"
    # Somebody mends it. What was passed over meanwhile is compared too.
    show(120)
    Article.objects.filter(pk=ids[0]).update(title="Another")
    migration_service.resume_migration(job.pk)
    assert counts(finish(job)) == (1, 119, 0, 0)
    assert_in_line()


def test_all_of_them_at_once(project: Project) -> None:
    indexed(120, project)
    show(0)
    job = start()
    assert "120 of the 120 entities" in refused(job)
    migration_service.resume_migration(job.pk, changes=JobChanges(allow_removals=True), actor="me")
    assert counts(finish(job)) == (0, 0, 120, 0)
    assert stored(collection()) == {}
    reasons = [event.reason for event in migration_service.list_events(job.pk)]
    assert "removals of more than half of the index: refused → allowed" in reasons


@on_sqlite
@pytest.mark.parametrize(("there", "left"), [(101, 51), (100, 0), (120, 60)])
def test_half_of_an_index_and_all_of_a_small_one_follow_the_rows(
    project: Project, there: int, left: int
) -> None:
    indexed(there, project)
    show(left)
    assert counts(run()) == (0, left, there - left, 0)


@on_sqlite
def test_one_more_than_half_does_not(project: Project) -> None:
    indexed(101, project)
    show(50)
    assert "51 of the 101 entities" in refused(start())
    job = MigrationJob.objects.get(status=JobStatus.FAILED)
    migration_service.cancel_migration(job.pk)
    assert counts(run(allow_removals=True)) == (0, 50, 51, 0)


@on_sqlite
def test_a_rebuild_does_not_take_a_fuller_one_s_place(project: Project) -> None:
    indexed(120, project)
    serving = collection()
    show(20)
    job = start(rebuild=True)
    assert "100 of the 120 entities" in refused(job)
    assert collection() == serving
    migration_service.resume_migration(job.pk, changes=JobChanges(allow_removals=True))
    assert finish(job).status == JobStatus.COMPLETED
    assert len(stored(collection())) == 20
    assert Collection.objects.count() == 2


@on_sqlite
def test_what_is_named_is_removed(project: Project) -> None:
    """By a live change, or by its id."""
    ids = indexed(120, project)
    enqueue("article", ids[:61], Operation.DELETE)
    work()
    assert len(stored(collection())) == 59
    project.article()
    run()
    Article.objects.all().delete()
    assert run(filters=MigrationFilters(entity_ids=ids)).removed == 120


@on_sqlite
def test_a_dry_run_says_so(project: Project) -> None:
    indexed(120, project)
    show(0)
    plan = migration_service.plan(MigrationRequest("article"))
    assert plan.to_remove == 120
    assert plan.removals_refused.startswith("120 of the 120 entities")
    for request in ({"allow_removals": True}, {"mode": "missing"}):
        plan = migration_service.plan(MigrationRequest("article", **request))
        assert plan.removals_refused == ""
    out = StringIO()
    call_command("migrate_ai_entities", "article", "--dry-run", stdout=out)
    assert "remove           120" in out.getvalue()
    assert "It needs --allow-removals for that." in out.getvalue()


@on_sqlite
def test_the_command_takes_it_at_start_and_to_go_on(project: Project) -> None:
    indexed(120, project)
    show(0)
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("migrate_ai_entities", "article", stdout=out)
    job = MigrationJob.objects.get(status=JobStatus.FAILED)
    assert f"--resume {job.pk} --allow-removals" in out.getvalue()
    call_command("ai_migration", "resume", job.pk, "--allow-removals", stdout=out)
    assert finish(job).removed == 120
    show(120)
    run()
    show(0)
    call_command("migrate_ai_entities", "article", "--allow-removals", stdout=out)
    assert stored(collection()) == {}


@on_sqlite
def test_the_rest_api_takes_it_at_start_and_to_go_on(api: Api, project: Project) -> None:
    indexed(120, project)
    show(0)
    body = {"entityType": "article"}
    assert api.post("plan", body).json()["removalsRefused"].startswith("120 of the 120")
    started = api.post("start", body).json()
    assert started["allowRemovals"] is False
    refused(MigrationJob.objects.get(pk=started["id"]))
    answer = api.post(f"jobs/{started['id']}/resume", {"allowRemovals": True}).json()
    assert answer["allowRemovals"] is True
    work()
    assert stored(collection()) == {}
    assert api.post("start", {**body, "allowRemovals": True}).json()["allowRemovals"] is True


@on_sqlite
def test_the_admin_takes_it_at_start_and_to_go_on(project: Project) -> None:
    indexed(120, project)
    show(0)
    client = operator("view", "start", "control")
    form = {"entity_type": "article", "mode": "changed", "key": "k1", "step": "preview"}
    previewed = words(client.post(url("migrationjob_add"), form))
    assert "120 of the 120 entities" in previewed
    assert "This needs “Allow removals”." in previewed
    allowed = words(client.post(url("migrationjob_add"), {**form, "allow_removals": "on"}))
    assert "This needs “Allow removals”." not in allowed
    job = start()
    refused(job)
    change = {"action": "change", "allow_removals": "on"}
    client.post(url("migrationjob_control", job.pk), change)
    assert finish(job).removed == 120
