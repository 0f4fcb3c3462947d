"""The admin's dashboard: current activity, how much is indexed, and its buttons."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin import AdminSite  # noqa: TID251  (its own test)
from django.core.cache import cache
from django.db.models import F

from ai_migration import enqueue, migration_service
from ai_migration.admin.order import put_in_order
from ai_migration.engine.insight.freshness import Freshness
from ai_migration.engine.insight.status import engine_status
from ai_migration.models import (
    EngineMetrics,
    MigrationJob,
    QueueEntry,
    RateLimitState,
    WorkerSlot,
)
from ai_migration.models.sql import clock
from ai_migration.types import JobStatus, Priority
from tests.integration.admin import few_queries, operator, said, url, words
from tests.integration.embedders import Script
from tests.integration.support import (
    GLOBAL,
    Project,
    lease,
    make_articles,
    run,
    run_slice,
    start,
    work,
)

pytestmark = pytest.mark.vendors("sqlite")
on_both = pytest.mark.vendors("sqlite", gate=["postgresql"])

PAGE = "dashboard_changelist"
SHARES = ((0.2, 900), (5, 99), (7000, 1))
"""Seconds, and how many changes took so long."""


@pytest.fixture(autouse=True)
def _counts_of_no_other_test() -> None:
    cache.clear()


ROW = '<th scope="row"><span>article</span>'


def coverage_of_article(*permissions: str) -> str:
    """Its row of the table, as HTML."""
    html = operator("view", *permissions).get(url("dashboard_coverage")).content.decode()
    row = re.search(rf"{ROW}(.*?)</tr>", html, re.DOTALL)
    assert row is not None
    return row[1]


def table() -> list[str]:
    """The coverage of `article`, cell by cell."""
    cells = re.findall(r"<td[^>]*>(.*?)</td>", coverage_of_article(), re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in cells]


def press(name: str, **values: Any) -> Any:
    return operator("view", "start").post(url(name), values, follow=True)


def test_it_is_in_the_index_of_the_app(project: Project) -> None:
    """First, and what the app's name leads to; internals come last."""
    for page in ("/admin/", "/admin/ai_migration/"):
        shown = operator("view").get(page).content.decode()
        listed = re.findall(r'<tr class="model-(\w+)', shown)
        assert listed == [
            "dashboard",
            "migrationjob",
            "entityfailure",
            "searchableentity",
            "collection",
            "queueentry",
            "ratelimitstate",
        ]
        assert '<a href="/admin/ai_migration/dashboard/" class="section"' in shown
    assert operator("view").get("/admin/ai_migration/dashboard/").status_code == 200


def test_a_site_that_lists_its_apps_itself_keeps_its_list() -> None:
    class Own(AdminSite):
        def get_app_list(self, request: Any, app_label: str | None = None) -> list[Any]:
            return []

    site = Own()
    put_in_order(site)
    assert "get_app_list" not in vars(site)
    plain = AdminSite()
    put_in_order(plain)
    once = plain.get_app_list
    put_in_order(plain)
    assert plain.get_app_list is once


@on_both
def test_it_shows_what_goes_on(project: Project) -> None:
    make_articles(40)
    start(batch_size=10)
    run_slice(seconds=3)
    enqueue("article", [1, 2], priority=Priority.CRITICAL)
    held = lease("worker-7")
    client = operator("view")
    with few_queries():
        shown = words(client.get(url(PAGE)))
    with few_queries():
        client.get(url("dashboard_panel"))
    assert "running jobs 1" in shown
    assert "critical 1" in shown
    assert "live workers 1" in shown
    assert "worker-7 test, process 1 just now" in shown
    held.release()
    assert "no worker is running" in words(client.get(url(PAGE)))


def test_a_page_that_is_opened_counts_no_table(project: Project) -> None:
    make_articles(3)
    client = operator("view")
    opened = client.get(url(PAGE)).content.decode()
    assert f'data-load="{url("dashboard_coverage")}"' in opened
    assert ROW not in opened
    assert ROW in client.get(url(PAGE), {"count": "1"}).content.decode()
    later = client.get(url(PAGE)).content.decode()
    assert ROW in later
    assert "Counted at" in later


@on_both
def test_many_embedders_cost_no_more_queries_and_an_entity_type_costs_two(
    project: Project, script: Script
) -> None:
    for number in range(10):
        project.embedder(alias=f"embedder-{number}")
    types = "\n".join(
        f"  a{n}: {{model: testapp.Article, embeddable-fields: [title], embedder: embedder-{n}}}"
        for n in range(5)
    )
    project.config(f"{GLOBAL}\nai-entities:\n{types}\n")
    make_articles(2)
    for number in range(5):
        start(f"a{number}")
    client = operator("view")
    for page in (PAGE, "dashboard_panel", "migrationjob_changelist"):
        with few_queries():
            client.get(url(page))
    with few_queries(7 + 2 * 5):  # its rows, and what is indexed of them
        client.get(url("dashboard_coverage"))


@on_both
def test_a_week_is_added_up_by_the_hour(project: Project) -> None:
    now = datetime.now(UTC)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
    slot = lease("worker").slot_id
    for minutes in (0, 59, 60):
        at = noon + timedelta(minutes=minutes)
        EngineMetrics.objects.create(
            minute=at, slot_id=slot, entities=minutes + 1, batch_seconds=30
        )
    week = engine_status(timedelta(days=7))
    assert week.done == [(noon, 61, 60.0), (noon + timedelta(hours=1), 61, 30.0)]
    assert engine_status(timedelta(hours=24)).done == []
    drawn = operator("view").get(url(PAGE), {"hours": "168"}).content.decode()
    assert drawn.count("<rect") == 56


@on_both
def test_the_rate_is_of_the_last_whole_minute(project: Project) -> None:
    """And of the part of it in which somebody worked."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    slot = lease("worker").slot_id
    for back in range(4):  # the next minute may begin meanwhile
        at = minute - timedelta(minutes=back)
        EngineMetrics.objects.create(minute=at, slot_id=slot, entities=120, batch_seconds=20)
    for span in (timedelta(hours=3), timedelta(days=7)):
        assert engine_status(span).entities_per_second == 6.0


def test_a_bar_is_of_the_time_in_which_somebody_worked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 seconds at 5,000 a second are 5,000 a second, not 391."""
    now = datetime(2025, 6, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda using: now)
    slot = lease("worker").slot_id
    at = now - timedelta(minutes=90)
    EngineMetrics.objects.create(minute=at, slot_id=slot, entities=100_000, batch_seconds=20)
    for hours in ("3", "24", "168"):
        page = operator("view").get(url(PAGE), {"hours": hours})
        assert "without pauses and idle time; the highest bar is 5,000." in words(page)
        levels = re.search(r"aim-levels.*?>(<span>.*?)</div>", page.content.decode())
        assert levels is not None
        assert re.findall("<span>(.*?)</span>", levels[1]) == ["5,000", "2,500", "0"]


@on_both
def test_the_engine_says_what_waits_and_for_whom(project: Project, script: Script) -> None:
    make_articles(40)
    job = start(batch_size=10)
    run_slice(seconds=3)
    migration_service.pause_migration(job.pk)
    enqueue("article", [1], priority=Priority.HIGH)
    soon = int((datetime.now(UTC) + timedelta(minutes=5)).timestamp() * 1000)
    state = {"blocked_until": soon, "reason": "429: too fast"}
    RateLimitState.objects.update_or_create(key="embedder:default", defaults={"state": state})
    status = engine_status()
    assert status.jobs == {JobStatus.PAUSED: 1}
    assert status.waiting == {Priority.HIGH: 1}, "those of a paused job do not wait"
    assert status.oldest_waiting is not None
    (cool_down,) = status.cool_downs
    assert (cool_down.embedder, cool_down.reason) == ("default", "429: too fast")
    assert "429: too fast" in words(operator("view").get(url(PAGE)))
    assert "429: too fast" in words(operator("view").get(url("ratelimitstate_changelist")))


@on_both
def test_coverage(project: Project, script: Script) -> None:
    make_articles(20)
    assert table() == ["0 % 0 of 20 · 20 missing", "0", "–"]
    cache.clear()
    script.react = _refuse("Title 3\n")
    run()
    make_articles(5, start=20)
    assert table() == ["76 % 19 of 25 · 6 missing", "1", "completed with failures"]
    cache.clear()
    project.article("title")
    assert table()[0].endswith("6 missing texts that differ are embedded again")


def test_it_opens_with_all_of_it_in_a_sentence(project: Project, script: Script) -> None:
    make_articles(1200)
    script.react = _refuse("Title 3\n")
    run()
    shown = words(operator("view").get(url(PAGE), {"count": "1"}))
    assert "Coverage 1,199 of 1,200 rows are indexed, 1 failed" in shown
    assert "100 %" not in shown, "99.9 is not 100"
    assert "99.9 %" in shown


def test_only_what_can_do_something_is_a_button(project: Project) -> None:
    make_articles(3)
    assert "Index missing" in coverage_of_article("start")
    assert "Reindex changed" not in coverage_of_article("start"), "nothing is indexed"
    run()
    cache.clear()
    assert "Index missing" not in coverage_of_article("start")
    assert "Reindex changed" in coverage_of_article("start")


def test_a_config_that_is_wrong_is_told(project: Project) -> None:
    project.config("ai-entities: {article: {modell: x}}")
    shown = words(operator("view", "start").get(url("dashboard_coverage")))
    assert "modell" in shown


def test_buttons_index_what_is_missing_or_changed(project: Project) -> None:
    make_articles(10)
    answer = press("dashboard_start", entity_type="article", mode="missing")
    job = MigrationJob.objects.get()
    assert said(answer) == [f"Started: {job.pk} migrates article."]
    assert (job.mode, job.created_by) == ("missing", "view-start")
    (text,) = said(press("dashboard_start", entity_type="article", mode="changed"))
    assert text.startswith(f"Not started: {job.pk} (RUNNING) already writes")
    (text,) = said(press("dashboard_start", entity_type="nothing"))
    assert text.startswith("Not started: Unknown entity type")


def test_everything_is_rebuilt_once_it_was_typed(project: Project) -> None:
    make_articles(10)
    run()
    page = operator("view", "start").get(url("dashboard_rebuild"))
    assert "until the new one is complete. article Type" in words(page), "without a count"
    table()
    page = operator("view", "start").get(url("dashboard_rebuild"))
    assert "article: 10 rows Counted at" in words(page)
    assert "the word is not the same" in words(press("dashboard_rebuild", typed="yes"))
    assert MigrationJob.objects.count() == 1
    answer = press("dashboard_rebuild", typed="rebuild")
    job = MigrationJob.objects.latest("pk")
    assert said(answer) == [f"Started: {job.pk} migrates article."]
    assert job.rebuild
    work()
    assert MigrationJob.objects.get(pk=job.pk).indexed_entities == 10


def test_who_may(project: Project) -> None:
    client = operator("view", "control")
    shown = client.get(url(PAGE), {"count": "1"}).content.decode()
    assert "Rebuild everything" not in shown
    assert "Reindex changed" not in shown
    assert client.post(url("dashboard_start"), {"entity_type": "article"}).status_code == 403
    assert client.get(url("dashboard_rebuild")).status_code == 403
    assert client.post(url("dashboard_rebuild"), {"typed": "rebuild"}).status_code == 403
    assert operator("view", "start").get(url("dashboard_start")).status_code == 405
    for name in (PAGE, "dashboard_panel", "dashboard_coverage"):
        assert operator("start").get(url(name)).status_code == 403
    strict = operator("view", "start", csrf=True)
    assert strict.post(url("dashboard_rebuild"), {"typed": "rebuild"}).status_code == 403
    assert not MigrationJob.objects.exists()


def _refuse(mark: str) -> Any:
    def react(texts: list[str]) -> None:
        if any(mark in text for text in texts):
            raise ValueError("no")

    return react


@on_both
def test_it_says_when_nobody_takes_live_changes(project: Project) -> None:
    make_articles(2)
    enqueue("article", [1])
    client = operator("view")
    assert "no worker was" not in words(client.get(url(PAGE))), "it has just been made"
    QueueEntry.objects.update(created_at=F("created_at") - timedelta(hours=2))
    shown = words(client.get(url("dashboard_panel")))
    never = "1 live change of article waits for 2 h 00 min, and there never was a worker."
    assert f"{never} Start one: manage.py ai_migration worker" in shown
    enqueue("article", [2])
    lease("worker-1").release()
    assert "Start one" not in words(client.get(url(PAGE))), "between two slices it holds no slot"
    WorkerSlot.objects.update(last_seen_at=F("last_seen_at") - timedelta(hours=3))
    with few_queries():
        shown = words(client.get(url(PAGE)))
    assert "2 live changes of article wait, the oldest for 2 h 00 min" in shown
    assert "and no worker was seen for 3 h 00 min. Start one" in shown


@on_both
def test_it_shows_how_soon_live_changes_are_searchable(project: Project) -> None:
    client = operator("view")
    tile = "live changes searchable within"
    assert f"{tile} – no live changes in the last hour" in words(client.get(url(PAGE)))
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    waits = [Freshness.of([(minute - timedelta(seconds=s), n)], minute) for s, n in SHARES]
    for number, freshness in enumerate(waits):
        slot = lease(f"worker-{number}").slot_id
        EngineMetrics.objects.create(minute=minute, slot_id=slot, freshness=freshness.to_json())
    shown = words(client.get(url(PAGE)))
    found = re.search(
        rf"{tile} ([\d.]+) s 95 % of 1,000 in the last hour; half within (\S+) s", shown
    )
    assert found is not None
    assert float(found[1]) == pytest.approx(5, rel=0.06)
    assert float(found[2]) == pytest.approx(0.2, rel=0.06)
