"""The REST API: whatever is wrong is said in one shape, and nothing is a 500."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from django.db import OperationalError

from ai_migration.embedders import embedders
from ai_migration.exceptions import FatalEmbedderError, ThrottledError
from ai_migration.jobs.service import DataMigrationService
from ai_migration.models import MigrationJob
from tests.integration.support import make_articles, run

pytest.importorskip("rest_framework")

from tests.integration.rest import ROOT, Api, error

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql"])
ARTICLE = {"entityType": "article"}
NUL, SURROGATE = "a\0b", "\ud800"


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({}, "entityType"),
    ({"entityType": None}, "entityType"),
    ({"entityType": ""}, "entityType"),
    ({"entityType": 5}, "entityType"),
    ({"entityType": NUL}, "entityType"),
    ({"entityType": SURROGATE}, "entityType"),
    ({"entityType": "x" * 300}, "entityType"),
    ({**ARTICLE, "batchSize": 0}, "batchSize"),
    ({**ARTICLE, "batchSize": "5"}, "batchSize"),
    ({**ARTICLE, "batchSize": 1.5}, "batchSize"),
    ({**ARTICLE, "batchSize": True}, "batchSize"),
    ({**ARTICLE, "batchSize": 100_001}, "batchSize"),
    ({**ARTICLE, "batchSize": 10**300}, "batchSize"),
    ({**ARTICLE, "rateLimit": -1}, "rateLimit"),
    ({**ARTICLE, "rateLimit": [1]}, "rateLimit"),
    ({**ARTICLE, "maxTokens": 1e308}, "maxTokens"),
    ({**ARTICLE, "maxCost": "much"}, "maxCost"),
    ({**ARTICLE, "maxCost": 10**300}, "maxCost"),
    ({**ARTICLE, "maxCost": True}, "maxCost"),
    ({**ARTICLE, "maxCost": 1}, "maxCost"),  # nobody said what a token costs
    ({**ARTICLE, "mode": "some"}, "mode"),
    ({**ARTICLE, "mode": {}}, "mode"),
    ({**ARTICLE, "rebuild": "yes"}, "rebuild"),
    ({**ARTICLE, "reindexExisting": None}, "reindexExisting"),
    ({**ARTICLE, "batch_size": 5}, "batch_size"),
    ({**ARTICLE, "createdBy": NUL}, "createdBy"),
    ({**ARTICLE, "filters": []}, "filters"),
    ({**ARTICLE, "filters": {"createdBefore": "soon"}}, "filters.createdBefore"),
    ({**ARTICLE, "filters": {"createdBefore": 5}}, "filters.createdBefore"),
    ({**ARTICLE, "filters": {"createdBefore": "2024-02-30"}}, "filters.createdBefore"),
    (
        {**ARTICLE, "filters": {"createdAfter": "0001-01-01T00:00+14:00"}},
        "filters.createdAfter",
    ),
    ({**ARTICLE, "filters": {"entityIds": 5}}, "filters.entityIds"),
    ({**ARTICLE, "filters": {"entityIds": [True]}}, "filters.entityIds"),
    ({**ARTICLE, "filters": {"entityIds": ["x"]}}, "filters.entityIds"),
    ({**ARTICLE, "filters": {"entityIds": [[[1]]]}}, "filters.entityIds"),
    ({**ARTICLE, "filters": {"entityIds": [10**300]}}, "filters.entityIds"),
    ({**ARTICLE, "filters": {"entityIds": list(range(10_001))}}, "filters.entityIds"),
    ({**ARTICLE, "filters": {"lookups": []}}, "filters.lookups"),
    ({**ARTICLE, "filters": {"status": NUL}}, "filters"),
    ({**ARTICLE, "filters": {"status": SURROGATE}}, "filters"),
    ({**ARTICLE, "filters": {"price__lt": "cheap"}}, "filters"),
    ({**ARTICLE, "filters": {"status": {"a": 1}}}, "filters"),
    ({**ARTICLE, "filters": {"status__iexact": 5}}, "filters"),
    ({**ARTICLE, "filters": {"status__iexact": True}}, "filters"),
    ({**ARTICLE, "filters": {"status__iexact": ["x"]}}, "filters"),
    ({**ARTICLE, "filters": {"status__contains": "x" * 100_000}}, "filters"),
    ({**ARTICLE, "filters": {"status__in": ["x"] * 300_000}}, "filters"),
    ({**ARTICLE, "filters": {"price__gt": "NaN"}}, "filters"),
    ({**ARTICLE, "filters": {"price__in": [1, "Infinity"]}}, "filters"),
    ({**ARTICLE, "filters": {"attributes__size__gt": [1]}}, "filters"),
    ({**ARTICLE, "filters": {"attributes__size__gt": "NaN"}}, "filters"),
    ({**ARTICLE, "filters": {"attributes__size__lt": 10**300}}, "filters"),
    ({**ARTICLE, "filters": {"status__iexact": 5, "entityIds": [1]}}, "filters"),
    ({**ARTICLE, "filters": {NUL: 1}}, "filters"),
    ({**ARTICLE, "rebuild": True, "filters": {"entityIds": [1]}}, "filters"),
]


def test_bad_fields(priced: Api) -> None:
    for body, attr in BAD_BODIES:
        for call in ("start", "plan"):
            refused = priced.post(call, body)
            assert refused.status_code == 400, str(body)[:200]
            assert refused.json()["type"] == "validation_error"
            assert error(refused)["attr"] == attr, str(body)[:200]
            assert len(error(refused)["detail"]) < 500
    assert not MigrationJob.objects.exists()


@pytest.fixture
def priced(api: Api, project: Any) -> Api:
    """The REST API, with an entity type that can be filtered."""
    project.article(
        filterable_fields=["status", "price", "attributes__size"],
        created_at_field="created_at",
        metadata_fields=["status"],
    )
    return api


def test_each_bad_field_has_its_error(api: Api) -> None:
    body = {"batchSize": 0, "mode": "x", "more": 1, "filters": {"createdAfter": "x"}}
    found = {item["attr"]: item["code"] for item in api.post("start", body).json()["errors"]}
    assert found == {
        "entityType": "required",
        "batchSize": "invalid_request",
        "mode": "invalid_choice",
        "more": "unknown_field",
        "filters.createdAfter": "invalid_request",
    }


def test_a_filter_that_is_not_allowed_names_those_that_are(priced: Api) -> None:
    refused = priced.post("start", {**ARTICLE, "filters": {"title": "x"}})
    assert "'metadata-fields': status, price, attributes__size." in error(refused)["detail"]


def test_an_unknown_entity_type_names_the_known_ones(api: Api) -> None:
    for call in ("start", "plan"):
        refused = api.post(call, {"entityType": "artikle"})
        assert (refused.status_code, error(refused)["code"]) == (404, "unknown_entity_type")
        assert "Known entity types: article." in error(refused)["detail"]


NO_REQUESTS = [
    b"{",
    b"\xff\xfe",
    b"[]",
    b"5",
    b"null",
    b'{"entityType": NaN}',
    b"[" * 100_000,
    b'{"batchSize": ' + b"1" * 5000 + b"}",
    b'{"entityType": "article", "x": ' + b'{"a":' * 50_000,
    b'{"entityType": "article", "query": "x", "filters": {"status": '
    + b"[" * 800
    + b"]" * 800
    + b"}}",
]


def test_bodies_that_are_no_request(api: Api) -> None:
    for body in NO_REQUESTS:
        for path in ("start", "search"):
            assert api.send(path, body).status_code == 400, body[:30]


def test_ten_megabytes_and_no_json(api: Api) -> None:
    body = json.dumps({"entityType": "x" * 10_000_000}).encode()
    for path in ("start", "plan", "search"):
        refused = api.send(path, body)
        assert (refused.status_code, error(refused)["code"]) == (413, "body_too_large")
        assert api.send(path, b"a=1", "application/x-www-form-urlencoded").status_code == 415
        assert api.send(path, b"{}", "application/json; charset=zip").status_code == 400


def test_a_body_of_many_unknown_fields(api: Api) -> None:
    refused = api.send("start", json.dumps({f"f{i}": 0 for i in range(100_000)}).encode())
    assert len(refused.json()["errors"]) < 20


BAD_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({"status": "DONE"}, "status"),
    ({"status": NUL}, "status"),
    ({"entityType": NUL}, "entityType"),
    ({"createdBy": NUL}, "createdBy"),
    ({"startedAfter": "soon"}, "startedAfter"),
    ({"startedBefore": "0001-01-01T00:00+14:00"}, "startedBefore"),
    ({"cursor": NUL}, "cursor"),
    ({"limit": 0}, "limit"),
    ({"limit": 201}, "limit"),
    ({"limit": "many"}, "limit"),
    ({"ordering": "status"}, "ordering"),
    ({"stauts": "RUNNING"}, "stauts"),
]


def test_bad_queries(api: Api) -> None:
    for query, attr in BAD_QUERIES:
        refused = api.get("jobs", **query)
        assert (refused.status_code, error(refused)["attr"]) == (400, attr)


def test_bad_cursors(api: Api) -> None:
    job = api.post("start", ARTICLE).json()["id"]
    cursors = ("x", "-1", str(2**63), "9" * 5000)
    for what, cursor in itertools.product(("failures", "events"), cursors):
        refused = api.get(f"jobs/{job}/{what}", cursor=cursor)
        assert (refused.status_code, error(refused)["attr"]) == (400, "cursor")


def test_unknown_jobs(api: Api) -> None:
    for job_id in ("mig-1", "%00", "x" * 2000, "%F0%9F%98%80", "%ED%A0%80"):
        path = f"jobs/{job_id}"
        for answer in (
            api.get(path),
            api.delete(path),
            *(api.get(f"{path}/{what}") for what in ("failures", "events")),
            *(api.post(f"{path}/{what}") for what in ("pause", "resume", "retry-failed")),
        ):
            assert (answer.status_code, error(answer)["code"]) == (404, "unknown_job")


BAD_SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "entityType"),
    ({**ARTICLE, "query": " "}, "query"),
    ({**ARTICLE, "query": NUL}, "query"),
    ({**ARTICLE, "query": SURROGATE}, "query"),
    ({**ARTICLE, "query": "x", "limit": 1001}, "limit"),
    ({**ARTICLE, "query": "x", "filters": "status"}, "filters"),
    ({**ARTICLE, "query": "x", "filters": {"title": "x"}}, "filters"),
    ({**ARTICLE, "query": "x", "filters": {"status": NUL}}, "filters"),
    ({**ARTICLE, "query": "x", "filters": {"status": [SURROGATE]}}, "filters"),
]


def test_bad_searches(priced: Api) -> None:
    make_articles(1)
    run()
    for body, attr in BAD_SEARCHES:
        refused = priced.post("search", body)
        assert refused.status_code == 400, body
        assert attr in [item["attr"] for item in refused.json()["errors"]], body


def test_odd_searches_find_what_they_find(priced: Api) -> None:
    make_articles(1)
    run()
    values: tuple[Any, ...] = (None, 10**300, 1e308, {"a": {"b": 1}}, [], True, "x" * 10_000)
    for value in values:
        is_one = not isinstance(value, dict | list)
        for name, status in (("attributes__size", 200), ("status", 200 if is_one else 400)):
            body = {**ARTICLE, "query": "x", "filters": {name: value}}
            assert priced.post("search", body).status_code == status, (name, value)


def test_a_provider_that_does_not_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    make_articles(1)
    run()
    for raised, status in (
        (ThrottledError("Wait.", retry_after=7), 503),
        (FatalEmbedderError("The key is refused."), 502),
    ):

        def embed_query(text: str, raised: Exception = raised) -> None:
            raise raised

        monkeypatch.setattr(embedders["default"], "embed_query", embed_query)
        refused = api.post("search", {**ARTICLE, "query": "x"})
        assert (refused.status_code, error(refused)["detail"]) == (status, str(raised))
        assert refused.headers.get("Retry-After") == ("7" if status == 503 else None)


def test_what_nobody_thought_of_says_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_job(self: DataMigrationService, job_id: str) -> None:
        raise OperationalError("password=secret")

    monkeypatch.setattr(DataMigrationService, "get_job", get_job)
    answer = api.client.get(f"{ROOT}/jobs/mig-1")
    assert (answer.status_code, error(answer)["code"]) == (500, "error")
    assert b"secret" not in answer.content


def test_problem_documents(api: Api) -> None:
    accept = {"Accept": "application/problem+json, application/json"}
    good = api.client.get(f"{ROOT}/jobs", headers=accept)
    assert good.headers["Content-Type"] == "application/json"
    bad = api.client.get(f"{ROOT}/jobs/mig-1", headers=accept)
    assert bad.headers["Content-Type"] == "application/problem+json"
    problem = bad.json()
    assert (problem["type"], problem["title"]) == ("about:blank", "Not Found")
    assert (problem["status"], problem["code"]) == (404, "unknown_job")
    assert problem["detail"] == problem["errors"][0]["detail"]


def test_only_the_calls_there_are(api: Api) -> None:
    for method in ("put", "patch", "delete", "options"):
        refused = getattr(api.client, method)(f"{ROOT}/start")
        assert (refused.status_code, error(refused)["code"]) == (405, "method_not_allowed")
    assert api.client.head(f"{ROOT}/jobs").status_code == 200
    assert api.client.get(f"{ROOT}/jobs", headers={"Accept": "text/html"}).json()
