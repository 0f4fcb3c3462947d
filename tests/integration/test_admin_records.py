"""The admin's lists of what the engine writes, and what can be done to failures."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client

from ai_migration import enqueue, migration_service
from ai_migration.admin import base, job_page
from ai_migration.admin.base import EstimatingPaginator
from ai_migration.entities.keys import in_order
from ai_migration.indexing.targets import target_of
from ai_migration.models import EntityFailure, JobEvent, MigrationJob, SearchableEntity
from ai_migration.models.queue import QueueEntry
from tests.integration.admin import few_queries, operator, said, url, words
from tests.integration.embedders import Script
from tests.integration.support import (
    Project,
    assert_in_line,
    finish,
    make_articles,
    progress,
    start,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite")
on_both = pytest.mark.vendors("sqlite", gate=["postgresql"])

LISTS = ["queueentry", "entityfailure", "searchableentity", "collection", "ratelimitstate"]


def refuse(script: Script, *numbers: int) -> None:
    """Refuse the texts of these articles, the even ones with another error."""

    def react(texts: list[str]) -> None:
        for number in numbers:
            if any(f"Title {number}\n" in text for text in texts):
                raise ValueError("too rude" if number % 2 else "too loud")

    script.react = react  # type: ignore[assignment]


def failed_job(script: Script, *numbers: int) -> MigrationJob:
    make_articles(40)
    refuse(script, *numbers)
    job = start(batch_size=20)
    finish(job)
    refuse(script)
    return job


def act(action: str, failures: Any) -> list[str]:
    chosen = {"action": action, "_selected_action": [f.pk for f in failures], "index": "0"}
    client = operator("view", "control")
    return said(client.post(url("entityfailure_changelist"), chosen, follow=True))


@on_both
@pytest.mark.parametrize("name", LISTS)
def test_each_list_and_its_rows_can_be_looked_at_only(
    project: Project, script: Script, name: str
) -> None:
    job = failed_job(script, 3)
    client = operator("view")
    with few_queries():
        listed = client.get(url(f"{name}_changelist"))
    rows = re.findall(rf'href="(/admin/ai_migration/{name}/[^"]+/change/)', listed.content.decode())
    if name != "ratelimitstate":
        assert rows
        shown = client.get(rows[0])
        assert shown.status_code == 200
        assert "_save" not in shown.content.decode()
        assert client.post(rows[0], {}).status_code == 403
    assert client.get(url(f"{name}_add")).status_code == 403
    assert operator("control").get(url(f"{name}_changelist")).status_code == 403
    assert job.pk


@on_both
def test_filters_and_searches(project: Project, script: Script) -> None:
    job = failed_job(script, 3, 4)
    client = operator("view")

    def count(name: str, **query: str | int) -> int:
        shown = words(client.get(url(f"{name}_changelist"), query))
        found = re.search(r"([\d,]+) (?:queue|entity|entities|searchable|collection)", shown)
        assert found is not None, shown
        return int(found[1])

    known = SearchableEntity.objects.earliest("pk")
    assert count("searchableentity", q=known.entity_id) == 1
    assert count("searchableentity", collection=known.collection_id) == 38
    assert count("searchableentity", collection="x") == 0
    assert count("entityfailure", job__id__exact=job.pk) == 2
    assert count("entityfailure", entity_type="article") == 2
    assert count("entityfailure", error_code="nothing") == 0
    assert count("queueentry", status__exact="COMPLETED", entity_type="article") > 0


@on_both
def test_a_large_table_is_not_counted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "COUNTED", 60)
    make_articles(200)
    finish(start())
    paginator = EstimatingPaginator(SearchableEntity.objects.order_by("pk"), 50)
    assert (paginator.count, paginator.is_more, paginator.num_pages) == (60, True, 2)
    shown = words(operator("view").get(url("searchableentity_changelist")))
    assert "searchable entities. The first 60 are listed; use a filter or the search" in shown
    few = EstimatingPaginator(SearchableEntity.objects.filter(entity_id="1").order_by("pk"), 50)
    assert (few.count, few.is_more, few.estimate) == (few.count, False, None)


class Shown(NamedTuple):
    """An entity in a list: its link, its name, and what stands below it."""

    link: str
    name: str
    note: str

    @property
    def key(self) -> int:
        """Its id, which stands below its name, or instead of it."""
        below = self.note.rpartition(" · ")[2]
        return int(below if below.isdigit() else self.name)


def entities(name: str, *permissions: str) -> list[Shown]:
    """The entities of a list, to somebody who has these permissions of articles."""
    operator("view")
    user = User.objects.get(username="view")
    codes = [f"{permission}_article" for permission in permissions]
    user.user_permissions.add(*Permission.objects.filter(codename__in=codes))
    client = Client()
    client.force_login(user)
    with few_queries():
        html = client.get(url(f"{name}_changelist")).content.decode()
    cells = re.findall(r'class="field-entity">(.*?)<div class="help">(.*?)</div>', html)
    found = []
    for cell, note in cells:
        link = re.search('href="([^"]+)"', cell)
        found.append(Shown(link[1] if link else "", re.sub("<[^>]*>", "", cell), note))
    return found


@on_both
@pytest.mark.parametrize("name", ["entityfailure", "searchableentity"])
def test_a_row_is_shown_by_its_name(project: Project, script: Script, name: str) -> None:
    """With one query for all rows of a page, and only to those who may view them."""
    failed_job(script, *range(40) if name == "entityfailure" else [])
    hidden = entities(name)
    keys = {each.key for each in hidden}
    assert len(keys) == 40
    assert set(hidden) == {Shown("", str(key), "article") for key in keys}
    gone, first = max(keys), min(keys)
    Article.objects.filter(pk=gone).delete()
    shown = {each.key: each for each in entities(name, "view")}
    page, title = f"/admin/testapp/article/{first}/change/", Article.objects.get(pk=first).title
    assert shown[first] == Shown(page, title, f"article · {first}")
    assert shown[gone] == Shown("", str(gone), "article · the row is gone")


def test_a_name_that_takes_a_query_is_not_read(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a join can fetch is: a list costs no query for each of its rows."""
    from tests.testapp.models import Category

    failed_job(script)
    Article.objects.update(category=Category.objects.create(name="Shoes", slug="shoes"))
    monkeypatch.setattr(Article, "__str__", lambda self: f"{self.category.name}: {self.title}")
    shown = entities("searchableentity", "view")
    assert "Shoes: Title 0" in {each.name for each in shown}
    monkeypatch.setattr(Article, "__str__", lambda self: str(self.tags.count()))
    shown = entities("searchableentity", "view")
    assert {each.note for each in shown} == {"article"}
    assert all(each.link.endswith(f"/{each.key}/change/") for each in shown)
    monkeypatch.setattr(Article, "__str__", lambda self: self.nothing)
    assert {each.note for each in entities("searchableentity", "view")} == {"article"}


@on_both
def test_ids_are_in_order_as_numbers(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed_job(script)
    ids = [each.key for each in entities("searchableentity")]
    assert len(ids) == 40
    assert ids == sorted(ids)
    monkeypatch.setattr(base, "COUNTED", 10)
    few = [str(each.key) for each in entities("searchableentity")]
    assert few == sorted(few), "a large one is in the order of its index"


def test_ids_of_an_example_are_in_order_as_numbers() -> None:
    assert in_order(["142", "42", "9"]) == ["9", "42", "142"]
    assert in_order(["b", "10", "9"]) == ["10", "9", "b"]


# Failures


@on_both
def test_some_failures_are_tried_again(project: Project, script: Script) -> None:
    """The others are not: only what was asked for is embedded."""
    job = failed_job(script, 3, 5, 6)
    first, *_ = failures = list(EntityFailure.objects.order_by("pk"))
    script.clear()
    assert act("retry", [first]) == [f"Done: {job.pk} retries 1 entity."]
    assert progress_after(job).failed == 2
    assert len(script.texts) == 1
    assert set(EntityFailure.objects.all()) == set(failures[1:])
    assert act("retry", failures[1:]) == [f"Done: {job.pk} retries 2 entities."]
    assert progress_after(job).failed == 0
    assert_in_line()


def test_those_of_one_error_are_tried_again(project: Project, script: Script) -> None:
    job = failed_job(script, 3, 5, 6)
    rude = EntityFailure.objects.filter(error__contains="rude")
    page = operator("view", "control").get(url("migrationjob_change", job.pk)).content.decode()
    assert page.count('name="retry"') == 2
    sent = {"retry": str(rude.latest("pk").pk)}
    control = url("migrationjob_control", job.pk)
    answer = operator("view", "control").post(control, sent, follow=True)
    assert said(answer) == [f"Done: {job.pk} retries 2 entities."]
    assert progress_after(job).failed == 1
    answer = operator("view", "control").post(control, sent, follow=True)
    assert said(answer) == ["Nothing to do: that failure is gone."]


def test_the_most_frequent_errors_are_shown_if_there_are_many(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_page, "GROUPS", 1)
    job = failed_job(script, 3, 5, 6)
    shown = words(operator("view").get(url("migrationjob_change", job.pk)))
    assert "too rude" in shown
    assert "too loud" not in shown
    assert "Only some of the newest of 3 failures are shown." in shown


def test_one_that_fails_again_stays_listed(project: Project, script: Script) -> None:
    job = failed_job(script, 3, 6)
    refuse(script, 3)
    rude = EntityFailure.objects.filter(error__contains="rude")
    act("retry", rude)
    assert progress_after(job).failed == 2
    assert rude.get().attempts == 2


def test_two_who_try_again_at_once(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is second puts nothing into the queue: it would be counted twice."""
    job = failed_job(script, 3, 6)
    looks = "ai_migration.jobs.steer.steering.target_of"

    def quicker(of: Any) -> Any:
        monkeypatch.setattr(looks, target_of)
        migration_service.retry_failed(job.pk)
        return target_of(of)

    monkeypatch.setattr(looks, quicker)
    act("retry", EntityFailure.objects.all())
    assert not QueueEntry.objects.filter(operation="RETRY").exists()
    assert progress_after(job).failed == 0


def test_an_open_job_tries_all_of_them_before_it_finishes(project: Project, script: Script) -> None:
    job = failed_job(script, 3, 6)
    MigrationJob.objects.filter(pk=job.pk).update(status="RUNNING", phase="source")
    (text,) = act("retry", EntityFailure.objects.all()[:1])
    assert text == f"Done: {job.pk} retries all its failed entities before it finishes."
    assert progress_after(job).failed == 0


def test_failures_of_live_changes_go_back_to_the_queue(project: Project, script: Script) -> None:
    failed_job(script)
    refuse(script, 7)
    Article.objects.filter(title="Title 7").update(body="new")
    enqueue("article", [Article.objects.get(title="Title 7").pk])
    work()
    assert EntityFailure.objects.get().job is None
    refuse(script)
    assert act("retry", EntityFailure.objects.all()) == [
        "Done: 1 of article is in the queue again."
    ]
    work()
    assert not EntityFailure.objects.exists()
    assert_in_line()


@on_both
def test_failures_are_given_up(project: Project, script: Script) -> None:
    job = failed_job(script, 3, 5, 6)
    first, second, _ = EntityFailure.objects.order_by("pk")
    assert act("discard", [first, second]) == [
        "Done: 2 failures are no longer listed; the entities stay unindexed."
    ]
    now = progress(job)
    assert (now.failed, now.skipped, now.indexed) == (1, 2, 37)
    event = JobEvent.objects.latest("pk")
    assert (event.actor, event.reason) == ("view-control", "2 failed entities were given up")
    assert not QueueEntry.objects.exclude(status="COMPLETED").exists()


LARGE, LONG, NUL = str(2**70), "9" * 5000, "a\0b"
ADDRESSES = [
    *((name, {"id__in": LARGE}) for name in ("queueentry", "entityfailure", "collection")),
    ("queueentry", {"id__in": f"1,{LONG}"}),
    ("queueentry", {"priority__exact": LARGE}),
    ("queueentry", {"attempts__gt": LARGE}),
    ("queueentry", {"entity_type": NUL}),
    ("queueentry", {"p": LARGE}),
    ("queueentry", {"p": LONG}),
    ("entityfailure", {"error_code": NUL}),
    ("entityfailure", {"q": NUL}),
    ("searchableentity", {"collection": LARGE}),
    ("searchableentity", {"collection": LONG}),
    ("searchableentity", {"collection": "²"}),
    ("searchableentity", {"q": LARGE}),
    ("collection", {"config_snapshot__contains": "x"}),
    ("collection", {"dimensions__lt": LARGE}),
    ("migrationjob", {"created_at__year": LARGE}),
    ("migrationjob", {"created_at__gte": "99999-01-01"}),
    ("migrationjob", {"created_by": NUL}),
    ("migrationjob", {"q": "x" * 100_000}),
    ("migrationjob", {"id__in": NUL}),
]


@on_both
def test_an_address_may_say_anything(project: Project, script: Script) -> None:
    """No page of the lists is a traceback, whatever somebody wrote behind the question mark."""
    failed_job(script, 3)
    client = operator("view", "control")
    for name, query in ADDRESSES:
        shown = client.get(url(f"{name}_changelist"), query, follow=True)
        assert shown.status_code == 200, (name, str(query)[:80])
    for key in (LARGE, LONG, "a%00b", "²"):
        for name in ("queueentry", "collection", "searchableentity", "migrationjob"):
            address = url(f"{name}_changelist") + f"{key}/change/"
            assert client.get(address, follow=True).status_code == 200, (name, key[:20])


@on_both
@pytest.mark.parametrize("action", ["retry", "discard"])
def test_what_was_ticked_may_be_anything(project: Project, script: Script, action: str) -> None:
    failed_job(script, 3)
    address = url("entityfailure_changelist")
    client = operator("view", "control")
    for ticked in ([], [""], ["x"], [LARGE], [LONG], [NUL], ["", LARGE]):
        sent = {"action": action, "_selected_action": ticked, "index": "0"}
        answer = client.post(address, sent, follow=True)
        assert answer.status_code == 200, ticked
        assert said(answer), "that nothing was done"
    for filtered in ("?error_code=nothing", f"?id__in={LARGE}"):
        across = {"action": action, "select_across": "1", "_selected_action": ["1"], "index": "0"}
        assert client.post(address + filtered, across, follow=True).status_code == 200
    assert EntityFailure.objects.count() == 1
    assert not QueueEntry.objects.exclude(status="COMPLETED").exists()


def test_a_failure_to_retry_may_be_anything(project: Project, script: Script) -> None:
    job = failed_job(script, 3)
    for key in ("", "x", LARGE, LONG, NUL, "²"):
        answer = operator("view", "control").post(
            url("migrationjob_control", job.pk), {"retry": key}, follow=True
        )
        assert said(answer) == ["Nothing to do: that failure is gone."]


def test_an_outage_is_no_fault_of_the_address(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: Any) -> int:
        raise OperationalError("database is locked")

    monkeypatch.setattr(base, "at_least", fail)
    with pytest.raises(OperationalError):
        operator("view").get(url("queueentry_changelist"), {"entity_type": "article"})


def test_only_who_may_act_acts_on_failures(project: Project, script: Script) -> None:
    failed_job(script, 3)
    chosen = [failure.pk for failure in EntityFailure.objects.all()]
    client = operator("view", "start")
    page = client.get(url("entityfailure_changelist")).content.decode()
    assert 'name="action"' not in page
    sent = {"action": "discard", "_selected_action": chosen, "index": "0"}
    client.post(url("entityfailure_changelist"), sent)
    assert EntityFailure.objects.count() == 1


def test_nothing_is_wrong_with_the_admin(project: Project) -> None:
    call_command("check", "--tag", "admin", "--fail-level", "WARNING")


def progress_after(job: MigrationJob) -> Any:
    work()
    return progress(job)
