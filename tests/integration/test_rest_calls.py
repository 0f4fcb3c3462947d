"""The REST API: each call, from start to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from ai_migration import enqueue
from ai_migration.exceptions import InputRefusedError
from ai_migration.models import JobEvent, MigrationJob, QueueEntry, WorkerSlot
from tests.integration.embedders import Script
from tests.integration.rest import ROOT, Api, error
from tests.integration.support import make_articles, run, start, work
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql"])


def test_start_watch_pause_resume_cancel(api: Api) -> None:
    make_articles(3)
    started = api.post("start", {"entityType": "article", "batchSize": 1, "rateLimit": 50})
    assert started.status_code == 200
    job = started.json()
    assert job["id"].startswith("mig-")
    assert (job["entityType"], job["status"]) == ("article", "RUNNING")
    assert (job["totalEntities"], job["processedEntities"]) == (3, 0)
    assert (job["batchSize"], job["rateLimit"], job["createdBy"]) == (1, 50, "ops")
    path = f"jobs/{job['id']}"
    progress = api.get(path).json()
    assert progress["jobId"] == progress["id"] == job["id"]
    assert progress["progress"]["total"] == 3
    changed = {"lastUpdatedAt"}
    itself = {name: value for name, value in job.items() if name not in changed}
    assert {name: progress[name] for name in itself} == itself
    assert {"createdAt", "mode", "filters", "batchSize"} <= set(itself)
    assert progress["events"] == f"http://testserver{ROOT}/{path}/events"
    for _ in range(2):  # the same twice is the same
        assert api.post(f"{path}/pause").json()["status"] == "PAUSED"
    for _ in range(2):
        assert api.post(f"{path}/resume", {"maxTokens": 7}).json()["status"] == "RUNNING"
    assert api.post(f"{path}/resume").json()["maxTokens"] == 7
    for _ in range(2):
        assert api.delete(path).status_code == 204
    assert api.get(path).json()["status"] == "CANCELLED"
    events = api.get(f"{path}/events").json()
    assert events["next"] is None
    moves = [(event["actor"], event["from"], event["to"]) for event in events["results"]]
    assert moves[0] == ("ops", None, "PENDING")
    assert moves[2:] == [
        ("ops", "RUNNING", "PAUSED"),
        ("ops", "PAUSED", "RUNNING"),
        ("ops", "RUNNING", "CANCELLED"),
    ]


def test_a_job_that_is_over_cannot_be_steered(api: Api) -> None:
    make_articles(1)
    run()
    job = MigrationJob.objects.get()
    assert api.get(f"jobs/{job.pk}").json()["progress"]["percentComplete"] == 100
    for refused in (api.post(f"jobs/{job.pk}/pause"), api.delete(f"jobs/{job.pk}")):
        assert refused.status_code == 409
        assert error(refused)["code"] == "invalid_transition"
        assert "COMPLETED" in error(refused)["detail"]
    assert "cannot become CANCELLED" in error(refused)["detail"]


def test_failures_are_listed_and_tried_again(api: Api, script: Script) -> None:
    make_articles(5)
    script.react = refuse("Title 2", "Title 3")
    run()
    job = MigrationJob.objects.get()
    first = api.get(f"jobs/{job.pk}/failures", limit=1).json()
    [failure] = first["results"]
    assert (failure["code"], failure["attempts"]) == ("embedder_input", 1)
    second = api.client.get(first["next"]).json()
    assert second["next"] is None
    assert second["results"][0]["entityId"] != failure["entityId"]
    script.react = refuse()
    for _ in range(2):
        assert api.post(f"jobs/{job.pk}/retry-failed").json()["status"] == "RUNNING"
    work()
    assert api.get(f"jobs/{job.pk}").json()["progress"]["failed"] == 0
    nothing = api.post(f"jobs/{job.pk}/retry-failed")
    assert (nothing.status_code, error(nothing)["code"]) == (400, "invalid_request")


def test_filters_of_every_kind(api: Api, project: Any) -> None:
    project.article(filterable_fields=["status", "category__slug"], created_at_field="created_at")
    make_articles(3)
    filters = {
        "createdBefore": "2100-01-01",
        "createdAfter": "2000-01-01T00:00:00+00:00",
        "entityIds": [1, "2"],
        "status": "published",
        "lookups": {"category__slug__isnull": True},
    }
    job = api.post("start", {"entityType": "article", "filters": filters}).json()
    assert job["totalEntities"] == 2
    assert job["filters"] == {
        "createdBefore": "2100-01-01",
        "createdAfter": "2000-01-01T00:00:00+00:00",
        "entityIds": ["1", "2"],
        "entityIdCount": 2,
        "lookups": {"status": "published", "category__slug__isnull": True},
    }


def test_who_asks_is_the_user(api: Api) -> None:
    job = api.post("start", {"entityType": "article", "createdBy": "pipeline"}).json()
    assert job["createdBy"] == "ops"
    first = JobEvent.objects.order_by("pk").first()
    assert first is not None
    assert first.reason == "started: createdBy: pipeline"


def test_a_repeated_start_is_the_first_job(api: Api) -> None:
    make_articles(1)
    key = {"Idempotency-Key": "nightly"}
    body = {"entityType": "article", "batchSize": 5}
    first, second = (api.post("start", body, **key).json() for _ in range(2))
    assert first["id"] == second["id"]
    other = api.post("start", {**body, "batchSize": 6}, **key)
    assert (other.status_code, error(other)["code"]) == (409, "idempotency_conflict")
    conflict = api.post("start", body)
    assert (conflict.status_code, error(conflict)["code"]) == (409, "conflicting_job")
    too_long = api.post("start", body, **{"Idempotency-Key": "k" * 300})
    assert (too_long.status_code, error(too_long)["attr"]) == (400, "Idempotency-Key")


def test_the_plan_starts_nothing(api: Api) -> None:
    make_articles(4)
    plan = api.post("plan", {"entityType": "article", "rateLimit": 1}).json()
    assert (plan["total"], plan["toEmbed"], plan["requests"]) == (4, 4, 1)
    assert plan["durationAtRateLimit"] == "PT1M"
    assert plan["probe"] is None
    plan = api.post("plan", {"entityType": "article", "probe": True}).json()
    assert plan["probe"] == {"isAnswered": True, "error": None}
    assert not MigrationJob.objects.exists()


def test_entity_types(api: Api) -> None:
    [before] = api.get("entities").json()
    assert (before["collection"], before["lastJob"], before["rows"]) == (None, None, 0)
    make_articles(2)
    run()
    [article] = api.get("entities").json()
    assert article["model"] == "testapp.Article"
    assert article["fields"] == ["title", "body"]
    assert (article["rows"], article["indexed"], article["state"]) == (2, 2, "config_unchanged")
    assert article["lastJob"]["status"] == "COMPLETED"
    assert article["collection"]["name"].startswith("ai_vectors_")


def test_the_engine(api: Api) -> None:
    make_articles(3)
    run()
    Article.objects.update(body="New.")
    enqueue("article", Article.objects.values_list("pk", flat=True))
    found = api.get("engine").json()
    assert (found["waiting"], found["workers"], found["jobs"]) == (1, 0, {})
    assert found["oldestWaiting"]
    assert found["freshness"] == {"changes": 0, "p50": None, "p95": None}
    assert found["abandoned"] is None
    work()
    found = api.get("engine").json()
    assert (found["waiting"], found["oldestWaiting"]) == (0, None)
    assert found["freshness"]["changes"] == 3
    assert 0 <= found["freshness"]["p50"] <= found["freshness"]["p95"] < 600
    enqueue("article", [1])
    QueueEntry.objects.update(created_at=F("created_at") - timedelta(hours=2))
    WorkerSlot.objects.update(last_seen_at=F("last_seen_at") - timedelta(hours=2))
    abandoned = api.get("engine").json()["abandoned"]
    assert (abandoned["changes"], abandoned["entityTypes"]) == (1, ["article"])
    assert abandoned["since"]


def test_search(api: Api, project: Any) -> None:
    project.article(metadata_fields=["status", "category__name"])
    make_articles(3)
    early = api.post("search", {"entityType": "article", "query": "one"})
    assert (early.status_code, error(early)["code"]) == (409, "not_indexed")
    run()
    hits = api.post(
        "search",
        {
            "entityType": "article",
            "query": "Title 1",
            "limit": 2,
            "filters": {"status": "published"},
        },
    ).json()
    assert len(hits) == 2
    assert hits[0]["metadata"] == {"status": "published", "category__name": None}
    assert hits[0]["score"] >= hits[1]["score"]


def test_jobs_are_listed_by_page_filter_and_order(api: Api) -> None:
    jobs = make_jobs(5)
    first = api.get("jobs", limit=2).json()
    second = api.client.get(first["next"]).json()
    third = api.client.get(second["next"]).json()
    assert third["next"] is None
    seen = [job["id"] for page in (first, second, third) for job in page["results"]]
    assert seen == [job.pk for job in reversed(jobs)]
    oldest = api.get("jobs", ordering="createdAt", limit=3).json()
    assert [job["id"] for job in oldest["results"]] == [job.pk for job in jobs[:3]]
    rest = api.client.get(oldest["next"]).json()
    assert [job["id"] for job in rest["results"]] == [job.pk for job in jobs[3:]]

    def found(**query: str) -> list[str]:
        return [job["id"] for job in api.get("jobs", **query).json()["results"]]

    MigrationJob.objects.filter(pk=jobs[1].pk).update(status="FAILED", created_by="eve")
    assert jobs[1].started_at is not None
    MigrationJob.objects.filter(pk=jobs[1].pk).update(
        started_at=jobs[1].started_at - timedelta(days=3)
    )
    assert found(status="FAILED") == [jobs[1].pk]
    assert found(createdBy="eve") == [jobs[1].pk]
    yesterday = (jobs[1].started_at - timedelta(days=1)).isoformat()
    assert found(startedBefore=yesterday) == [jobs[1].pk]
    assert len(found(startedAfter=yesterday)) == 4
    assert len(found(entityType="article")) == 5
    assert found(entityType="country") == []


@pytest.mark.parametrize("path", ["jobs", "jobs/{}/failures", "jobs/{}/events"])
def test_a_page_of_fifty_costs_what_a_page_of_one_does(api: Api, script: Script, path: str) -> None:
    make_articles(51)
    script.react = refuse("Title")
    job = start()
    work()
    make_jobs(50)
    JobEvent.objects.bulk_create(JobEvent(job=job, to_status="FAILED") for _ in range(50))

    def cost(limit: int) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert len(api.get(path.format(job.pk), limit=limit).json()["results"]) == limit
        return len(queries)

    cost(1)  # whoever comes by first does the supervisor's work
    assert cost(1) == cost(50) <= 6


def refuse(*words: str) -> Callable[[Sequence[str]], None]:
    """An embedder that refuses texts with one of these words."""

    def react(texts: Sequence[str]) -> None:
        if any(word in text for word in words for text in texts):
            raise InputRefusedError("These texts are refused")

    return react


def make_jobs(count: int) -> list[MigrationJob]:
    """Jobs that are over, oldest first."""
    make_articles(1)
    job = start()
    work()
    job.refresh_from_db()
    made = [job]
    for _ in range(count - 1):
        again = MigrationJob.objects.get(pk=job.pk)
        again.pk = MigrationJob._meta.pk.get_default()
        again.idempotency_key = None
        again.save(force_insert=True)
        made.append(again)
    return sorted(made, key=lambda made_job: str(made_job.pk))
