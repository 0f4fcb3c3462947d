"""The admin's pages of jobs: what they show, who may, and what the buttons do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ai_migration import migration_service
from ai_migration.admin.charts import of_batches
from ai_migration.jobs.activity import Span
from ai_migration.models import Collection, JobEvent, MigrationJob, QueueEntry
from ai_migration.types import EntryStatus, JobStatus, MigrationFilters
from tests.integration.admin import JOBS, few_queries, operator, said, tiles, url, words
from tests.integration.embedders import Script
from tests.integration.support import Project, finish, make_articles, run, run_slice, start

pytestmark = pytest.mark.vendors("sqlite")
on_both = pytest.mark.vendors("sqlite", gate=["postgresql"])


def refuse(script: Script, *numbers: int) -> None:
    """Refuse the texts of these articles."""

    def react(texts: list[str]) -> None:
        if any(f"Title {number}\n" in text for number in numbers for text in texts):
            raise ValueError("it is too rude")

    script.react = react  # type: ignore[assignment]


def page(job: MigrationJob) -> str:
    return url("migrationjob_change", job.pk)


def press(action: str, job: MigrationJob, **more: str) -> list[str]:
    """What a button says."""
    client = operator("view", "control")
    data = {"action": action, **more}
    return said(client.post(url("migrationjob_control", job.pk), data, follow=True))


def changed(job: MigrationJob, **fields: str) -> list[str]:
    """What is said to other words in the fields of pace and budget."""
    return press("change", job, **fields)


# The list


def test_the_list_says_where_each_job_stands(project: Project, script: Script) -> None:
    make_articles(1200)
    refuse(script, 7)
    finish(start(created_by="anna", batch_size=100))
    shown = words(operator("view").get(reverse(JOBS)))
    assert "completed with failures" in shown
    assert "100 %" in shown
    assert "1,200 of 1,200" in shown
    assert "anna" in shown
    assert "Start a migration" not in shown
    html = operator("view").get(reverse(JOBS)).content.decode()
    assert re.search(r'#failures">1</a>', html)
    job = MigrationJob.objects.get().pk
    assert f'<span class="aim-id" title="{job}">{job}</span>' in html, "whole, if it is copied"
    assert "style=" not in html.partition('id="content"')[2]


def test_the_list_shows_rate_and_reason_of_those_that_run(project: Project) -> None:
    make_articles(60)
    job = start(batch_size=10)
    run_slice(seconds=3)
    MigrationJob.objects.filter(pk=job.pk).update(
        status=JobStatus.PAUSED, throttle_reason="budget used up: 12 tokens"
    )
    shown = words(operator("view").get(reverse(JOBS)))
    assert "budget used up: 12 tokens" in shown


def test_the_list_reads_no_column_that_can_be_long(project: Project) -> None:
    make_articles(2)
    run(filters=MigrationFilters(entity_ids=[1, 2]))
    with CaptureQueriesContext(connection) as asked:
        assert "completed" in words(operator("view").get(reverse(JOBS)))
    assert [each for each in asked if "ai_migration_jobs" in each["sql"]]
    assert not [each for each in asked if re.search("filter_config|snapshot", each["sql"])]


@on_both
def test_filters_search_and_dates(project: Project) -> None:
    make_articles(3)
    run(created_by="anna")
    last = start(created_by="bert", mode="all")
    client = operator("view")

    def listed(**query: str) -> list[str]:
        found = client.get(reverse(JOBS), query).content.decode()
        return re.findall(r'name="_selected_action" value="([^"]+)"', found) or re.findall(
            r'class="field-migration"><a href="[^"]*/(mig-[^/]+)/change/', found
        )

    assert len(listed()) == 2
    assert listed(created_by="bert") == listed(status__exact="RUNNING") == [last.pk]
    assert len(listed(entity_type="article")) == 2
    assert listed(q=last.pk) == [last.pk]
    year = str(last.created_at.year)
    assert len(listed(created_at__year=year)) == 2
    assert listed(created_at__year="1999") == []


@on_both
@pytest.mark.parametrize("jobs", [1, 30])
def test_pages_need_few_queries(project: Project, jobs: int) -> None:
    """However many jobs there are, how many of them run, and with how many embedders."""
    project.set(MAX_CONCURRENT_JOBS=100)
    make_articles(40)
    job = start(batch_size=10)
    run_slice()
    first = Collection.objects.get()
    others = []
    for number in range(jobs):
        other = Collection.objects.get(pk=first.pk)
        other.pk, other.entity_type = None, f"other-{number}"
        other.embedder = f"embedder-{number % 5}"
        other.save(force_insert=True)
        others.append(
            MigrationJob(
                entity_type=other.entity_type,
                collection=other,
                batch_size=5,
                status=JobStatus.RUNNING,
                started_at=job.created_at,
            )
        )
    MigrationJob.objects.bulk_create(others)
    client = operator("view", "control")
    with few_queries():
        client.get(reverse(JOBS))
    with few_queries():
        client.get(page(job))
    with few_queries(12):
        client.get(url("migrationjob_panel", job.pk))


# Actions on several


@on_both
def test_an_action_reports_for_each_job_what_came_of_it(project: Project) -> None:
    make_articles(20)
    done = MigrationJob.objects.get(pk=run().job_id)
    running = start(mode="all", batch_size=5)
    answer = operator("view", "control").post(
        reverse(JOBS),
        {"action": "pause", "_selected_action": [done.pk, running.pk], "index": "0"},
        follow=True,
    )
    running.refresh_from_db()
    assert running.status == JobStatus.PAUSED
    texts = said(answer)
    assert f"Done: {running.pk} is paused." in texts
    assert any(text.startswith(f"Not done: {done.pk} is COMPLETED") for text in texts)
    event = JobEvent.objects.filter(job=running).latest("pk")
    assert (event.actor, event.to_status) == ("view-control", "PAUSED")


def test_cancel_asks_first(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=5)
    client = operator("view", "control")
    asked = {"action": "cancel", "_selected_action": [job.pk], "index": "0"}
    question = client.post(reverse(JOBS), asked)
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING
    assert "Cancel for good?" in words(question)
    assert job.pk in words(question)
    answer = client.post(reverse(JOBS), {**asked, "confirmed": "yes"}, follow=True)
    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLED
    assert said(answer) == [f"Done: {job.pk} is cancelled."]


def test_actions_are_for_those_who_may(project: Project) -> None:
    make_articles(5)
    job = start()
    client = operator("view")
    assert 'name="action"' not in client.get(reverse(JOBS)).content.decode()
    client.post(reverse(JOBS), {"action": "pause", "_selected_action": [job.pk], "index": "0"})
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING


# The page of one job


@on_both
def test_the_page_shows_facts_failures_and_trail(project: Project, script: Script) -> None:
    make_articles(1200)
    refuse(script, 7, 1100)
    job = start(batch_size=100, created_by="anna", rate_limit=100_000)
    finish(job)
    answer = operator("view").get(page(job))
    shown = words(answer)
    for fact in (
        "completed with failures",
        "1,200 of 1,200 entities",
        "1,198",
        "100,000",
        "anna",
        "it is too rude",
        "Running → Completed",
    ):
        assert fact in shown, fact
    html = answer.content.decode()
    assert len(tiles(answer)) == 8, "they fill their rows"
    assert html.partition('id="content"')[2].count(f">{job.pk}<") == 1
    assert html.count("<rect ") >= 10
    assert 'aria-live="polite"' in html
    assert 'name="action"' not in html, "buttons are for those who may"
    content = html.partition('id="content"')[2]
    assert "<script" not in content.partition("</main>")[0]
    assert " style=" not in content
    assert 'data-open="no"' in html


def test_the_page_says_who_moved_it(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=5)
    shown = words(operator("view", "control", "start").get(page(job)))
    assert " by view" not in shown, "nobody did, yet"
    press("pause", job, reason="lunch")
    assert "Paused by view-control: lunch" in words(operator("view").get(page(job)))
    press("resume", job)
    assert "Resumed by view-control" in words(operator("view").get(page(job)))
    press("cancel", job, confirmed="yes")
    html = operator("view", "control", "start").get(page(job)).content.decode()
    assert "?entity_type=article" in html, "what can be done, once nothing can be done to it"


def test_a_pause_is_not_in_the_chart(project: Project) -> None:
    noon = datetime(2025, 6, 1, 12, tzinfo=UTC)

    def span(start: int, end: int) -> Span:
        return Span(noon + timedelta(seconds=start), noon + timedelta(seconds=end))

    batches = [(span(0, 10), 1000), (span(30, 40), 1000), (span(3600, 3610), 500)]
    running = [span(0, 10), span(30, 40), span(3600, 3610)]
    chart = of_batches(batches, running, bars=60)
    assert chart is not None
    rates = {rate for rate in chart.rates if rate}
    assert {round(rate, 6) for rate in rates} == {100.0, 50.0}
    assert chart.peak == pytest.approx(100)
    assert chart.top == 100
    waits = of_batches(batches[:2], [span(0, 3610)], bars=4)
    assert waits is not None
    assert waits.rates == [100, 0, 0, 100], "to wait for a limit is part of the work"
    assert of_batches([], running) is None


def test_the_panel_is_a_fragment_that_says_when_to_stop(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=5)
    client = operator("view")
    assert 'data-open="yes"' in client.get(url("migrationjob_panel", job.pk)).content.decode()
    finish(job)
    answer = client.get(url("migrationjob_panel", job.pk))
    assert 'data-open="no"' in answer.content.decode()
    assert "<html" not in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]


def test_buttons_pause_resume_and_cancel(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=5)
    assert press("pause", job, reason="lunch") == [f"Done: {job.pk} is paused."]
    event = JobEvent.objects.filter(job=job).latest("pk")
    assert (event.actor, event.reason) == ("view-control", "lunch")
    assert press("resume", job) == [f"Done: {job.pk} is resumed."]
    assert press("cancel", job) == [], "it asks first"
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING
    assert press("cancel", job, confirmed="yes") == [f"Done: {job.pk} is cancelled."]
    assert not QueueEntry.objects.filter(status=EntryStatus.PENDING).exists()


def test_retry_failed(project: Project, script: Script) -> None:
    make_articles(20)
    refuse(script, 7)
    job = start(batch_size=5)
    finish(job)
    refuse(script)
    assert press("retry", job) == [f"Done: {job.pk} retries its failed entities."]
    assert finish(job).failed == 0
    assert press("retry", job) == [f"Not done: {job.pk} has no failed entities to retry"]


def test_a_stale_tab_is_told(project: Project) -> None:
    """Two people, or two tabs: the second one finds the job elsewhere."""
    make_articles(20)
    job = start(batch_size=5)
    migration_service.pause_migration(job.pk)
    assert press("pause", job) == [f"Nothing to do: {job.pk} is PAUSED already."]
    migration_service.cancel_migration(job.pk)
    (text,) = press("resume", job)
    assert text.startswith(f"Not done: {job.pk} is CANCELLED")
    (text,) = press("explode", job)
    assert text == "Nothing was done: use one of the buttons."


def test_nobody_changes_a_job_without_a_token_or_by_a_link(project: Project) -> None:
    make_articles(5)
    job = start()
    client = operator("view", "control", csrf=True)
    address = url("migrationjob_control", job.pk)
    assert client.post(address, {"action": "pause"}).status_code == 403
    assert client.get(address, {"action": "pause"}).status_code == 405
    assert client.post(page(job), {"status": "PAUSED"}).status_code == 403
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING


def test_a_job_that_is_not_there(project: Project) -> None:
    client = operator("view", "control")
    assert said(client.get(url("migrationjob_change", "mig-1"), follow=True)) == [
        "No job has the id 'mig-1'. List the jobs with: manage.py ai_migration jobs"
    ]
    assert client.get(url("migrationjob_panel", "mig-1")).status_code == 404
    (text,) = said(
        client.post(url("migrationjob_control", "mig-1"), {"action": "pause"}, follow=True)
    )[:1]
    assert text.startswith("Not done: No job has the id")


@pytest.mark.parametrize(
    ("permissions", "sees", "acts"),
    [
        ([], 403, 403),
        (["view"], 200, 403),
        (["control"], 403, 403),
        (["view", "control"], 200, 302),
    ],
)
def test_who_may(project: Project, permissions: list[str], sees: int, acts: int) -> None:
    make_articles(5)
    job = start()
    client = operator(*permissions)
    assert client.get(reverse(JOBS)).status_code == sees
    assert client.get(page(job)).status_code == sees
    assert client.get(url("migrationjob_panel", job.pk)).status_code == sees
    assert client.post(url("migrationjob_control", job.pk), {"action": "pause"}).status_code == acts


# Pace and budget


def test_a_job_that_used_up_its_budget_goes_on_with_a_larger_one(project: Project) -> None:
    project.embedder(max_batch_size=2)
    make_articles(20)
    job = start(max_tokens=30, created_by="anna")
    assert finish(job).status == JobStatus.PAUSED
    MigrationJob.objects.filter(pk=job.pk).update(embedded_tokens=30)  # to the last one
    [refused] = press("resume", job)
    assert "used up its budget" in refused
    shown = operator("view", "control").get(page(job)).content.decode()
    assert 'name="max_tokens" value="30"' in shown
    [answer] = changed(job, max_tokens="100000", rate_limit="600", max_cost="")
    assert answer == f"Done: {job.pk} is resumed."
    job.refresh_from_db()
    assert (job.max_tokens, job.rate_limit, job.max_cost) == (100_000, 600, None)
    assert finish(job).status == JobStatus.COMPLETED


def test_a_job_that_runs_is_changed_without_stopping(project: Project) -> None:
    make_articles(3)
    job = start(rate_limit=50)
    assert changed(job, rate_limit="50") == ["Nothing to do: nothing was changed."]
    assert changed(job, rate_limit="70") == [f"Done: {job.pk} is changed."]
    job.refresh_from_db()
    assert (job.rate_limit, job.status) == (70, JobStatus.RUNNING)
    assert [event.to_status for event in JobEvent.objects.filter(job=job)].count("PAUSED") == 0


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"rate_limit": "0"}, "Ensure this value is greater"),
        ({"max_tokens": "many"}, "Enter a whole number"),
        ({"max_cost": "-1"}, "Ensure this value is greater"),
        ({"max_cost": "5"}, "PRICE_PER_MILLION_TOKENS"),
    ],
)
def test_a_pace_that_cannot_be_is_refused(
    project: Project, fields: dict[str, str], word: str
) -> None:
    make_articles(3)
    job = start(rate_limit=50)
    migration_service.pause_migration(job.pk)
    client, data = operator("view", "control"), {"action": "change", **fields}
    answer = client.post(url("migrationjob_control", job.pk), data)
    assert answer.status_code == 200
    html = answer.content.decode()
    assert "Nothing was changed" in words(answer)
    assert f'value="{next(iter(fields.values()))}"' in html, "what was typed is still there"
    (error,) = re.findall(r'<ul class="errorlist".*?</ul>', html, re.DOTALL)
    assert word in error
    job.refresh_from_db()
    assert (job.rate_limit, job.status) == (50, JobStatus.PAUSED)


def test_what_is_over_is_not_changed(project: Project) -> None:
    make_articles(3)
    job = migration_service.get_job(run().job_id)
    [answer] = changed(job, rate_limit="70")
    assert "COMPLETED" in answer
    assert 'name="rate_limit"' not in operator("view", "control").get(page(job)).content.decode()
    absent = MigrationJob(pk="mig-of-nobody")
    [answer] = changed(absent, rate_limit="70")[:1]
    assert "mig-of-nobody" in answer


def test_only_who_may_control_can_change_the_pace(project: Project) -> None:
    job = start()
    client = operator("view")
    assert 'name="rate_limit"' not in client.get(page(job)).content.decode()
    sent = client.post(url("migrationjob_control", job.pk), {"action": "change", "rate_limit": "7"})
    assert sent.status_code == 403
