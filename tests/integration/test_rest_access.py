"""The REST API: who may call it, how often, and what a host has to do for it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client
from django.urls import include, path

pytest.importorskip("rest_framework")

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIClient
from rest_framework.views import APIView

from ai_migration.engine.recovery import RECOVERY
from ai_migration.models import WorkerSlot
from tests.databases import FreshDatabase
from tests.integration.rest import ALL, ROOT, Api, error
from tests.integration.support import Project, make_articles, run
from tests.testapp.models import Document
from tests.unit.test_packaging import ROOT as PROJECT

pytestmark = pytest.mark.vendors("sqlite")

urlpatterns = [
    path("one/", include("ai_migration.rest.urls")),
    path("two/", include("ai_migration.rest.urls", namespace="second")),
]
"""A host that has it twice."""

VIEW, START, CONTROL, SEARCH = ALL
CALLS: list[tuple[str, str, set[str]]] = [
    ("get", "jobs", {VIEW}),
    ("get", "jobs/mig-1", {VIEW}),
    ("get", "jobs/mig-1/events", {VIEW}),
    ("get", "jobs/mig-1/failures", {VIEW}),
    ("get", "jobs/mig-1/findings", {VIEW}),
    ("get", "entities", {VIEW}),
    ("post", "entities/article/verify", {VIEW, START}),
    ("get", "schema", {VIEW}),
    ("get", "docs", {VIEW}),
    ("post", "start", {VIEW, START}),
    ("post", "plan", {VIEW, START}),
    ("post", "jobs/mig-1/pause", {VIEW, CONTROL}),
    ("post", "jobs/mig-1/resume", {VIEW, CONTROL}),
    ("post", "jobs/mig-1/retry-failed", {VIEW, CONTROL}),
    ("delete", "jobs/mig-1", {VIEW, CONTROL}),
    ("post", "search", {SEARCH}),
]
HELD: list[set[str]] = [
    *(set(), {VIEW}, {START}, {CONTROL}, {SEARCH}, {VIEW, START}, {VIEW, CONTROL}),
]
REFUSED = (401, 403)


def test_each_call_needs_its_permissions_and_no_other(api: Api, settings: Any) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "drf_spectacular"]
    settings.TEMPLATES = [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    ]
    settings.STATIC_URL = "/static/"

    def answers(client: APIClient) -> list[int]:
        return [getattr(client, method)(f"{ROOT}/{path}").status_code for method, path, _ in CALLS]

    assert set(answers(APIClient())) <= set(REFUSED)
    for held in HELD:
        user = User.objects.create_user(f"only {sorted(held)}")
        user.user_permissions.set(Permission.objects.filter(codename__in=held))
        client = APIClient()
        client.force_authenticate(user)
        for status, (method, called, needed) in zip(answers(client), CALLS, strict=True):
            assert (status not in REFUSED) == (needed <= held), (held, method, called)


def only_documents(user: User, entity_type: str) -> bool:
    return entity_type == "document" and user.get_username() == "ops"


def forgets_to_answer(user: User, entity_type: str) -> None:
    return


def test_searches_are_narrowed_by_the_setting(api: Api, project: Project) -> None:
    project.article("title", name="document", model="testapp.Document")
    Document.objects.create(title="d", text="t")
    run("document")
    project.set(SEARCH_PERMISSION=f"{__name__}.only_documents")

    def status(api: Api, name: str) -> int:
        answer = api.post("search", {"entityType": name, "query": "x"})
        return int(answer.status_code)

    assert status(api, "document") == 200
    assert status(Api(*ALL, name="somebody"), "document") == 403
    refused = api.post("search", {"entityType": "nothing", "query": "x"})
    assert (refused.status_code, error(refused)["code"]) == (403, "permission_denied")
    assert "document" not in error(refused)["detail"], "nor what there is"
    assert status(Api(VIEW, name="without"), "document") == 403, "the permission comes first"
    project.set(SEARCH_PERMISSION=None)
    assert status(Api(SEARCH, name="anybody"), "document") == 200


@pytest.mark.parametrize("path", [f"{__name__}.forgets_to_answer", "operator.truediv", "nope.nope"])
def test_where_the_setting_is_wrong_nobody_searches(api: Api, project: Project, path: str) -> None:
    make_articles(1)
    run()
    project.set(SEARCH_PERMISSION=path)
    refused = api.post("search", {"entityType": "article", "query": "x"})
    assert (refused.status_code, error(refused)["code"]) == (503, "invalid_settings")


def test_a_session_is_enough_where_the_host_has_sessions(api: Api, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    client = Client(enforce_csrf_checks=True)
    client.force_login(api.user)
    assert client.get(f"{ROOT}/jobs").status_code == 200
    forged = client.post(f"{ROOT}/start", {"entityType": "article"}, "application/json")
    assert (forged.status_code, error(forged)["code"]) == (403, "permission_denied")


def test_rates_are_the_hosts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"ai-migration-read": "2/min", "ai-migration-write": "1/min"}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)
    cache.clear()
    try:
        assert [api.get("jobs").status_code for _ in range(3)] == [200, 200, 429]
        assert [api.delete("jobs/mig-1").status_code for _ in range(2)] == [404, 429]
        refused = api.post("start", {"entityType": "article"})
        assert (refused.status_code, error(refused)["code"]) == (429, "throttled")
        assert int(refused.headers["Retry-After"]) > 0
    finally:
        cache.clear()


def test_urls_may_be_included_anywhere_and_twice(api: Api, settings: Any) -> None:
    job = api.post("start", {"entityType": "article"}).json()["id"]
    settings.ROOT_URLCONF = __name__
    for prefix in ("one", "two"):
        shown = api.client.get(f"/{prefix}/jobs/{job}").json()
        assert shown["events"] == f"http://testserver/{prefix}/jobs/{job}/events"
        schema = api.client.get(f"/{prefix}/schema").json()
        assert schema["servers"] == [{"url": f"/{prefix}"}]


def test_whoever_looks_does_the_supervisors_work(api: Api) -> None:
    api.get("entities")
    assert not WorkerSlot.objects.filter(name=RECOVERY).exists()
    api.get("jobs")
    assert WorkerSlot.objects.filter(name=RECOVERY, last_seen_at__isnull=False).exists()


def test_the_schema_is_openapi_3_1_with_an_example_of_every_error(api: Api) -> None:
    schema = api.get("schema").json()
    assert schema["openapi"].startswith("3.1")
    operations = [item for calls in schema["paths"].values() for item in calls.values()]
    assert len(operations) == 16
    for item in operations:
        assert re.search(r"Needs the permissions? `ai_migration\.", item["description"])
        assert re.fullmatch(r"[A-Z][^\n]{5,80}[^.]", item["summary"])
        assert item["description"].startswith(item["summary"])
        assert {"400", "401", "403", "429", "503"} <= set(item["responses"])
        for status, answer in item["responses"].items():
            assert answer["description"]
            for content in answer.get("content", {}).values():
                assert content.get("examples") or item["operationId"] == "migrationGetSchema", (
                    status
                )
        if "requestBody" in item:
            assert item["requestBody"]["content"]["application/json"]["examples"]
    tags = {tag["name"]: tag["description"] for tag in schema["tags"]}
    assert {tag for item in operations for tag in item["tags"]} == set(tags)
    assert len(tags) == 3
    assert all(tags.values())
    names = set(schema["components"]["schemas"])
    assert {"StartMigration", "PlanMigration", "ResumeMigration", "MigrationJob"} <= names
    assert all("Migration" in name for name in names), "a host has names of its own"
    assert not any(re.search(r"Body|Request", name) for name in names)


class HostsSchema(AutoSchema):
    def get_operation_id(self) -> str:
        return "search"

    def get_response_serializers(self) -> Any:
        return None


class HostsSearch(APIView):
    """A call of a host, in the host's own document."""

    schema = HostsSchema()

    def get(self, request: Request) -> Response:
        return Response()


def test_our_calls_take_no_name_of_the_hosts() -> None:
    hosts = [
        path("a/", include("ai_migration.rest.urls")),
        path("search", HostsSearch.as_view()),
    ]
    schema = SchemaGenerator(patterns=hosts).get_schema(public=True)
    names = {
        item["operationId"]: where
        for where, calls in schema["paths"].items()
        for item in calls.values()
    }
    assert names.pop("search") == "/search"
    assert len(names) == 16
    assert all(name.startswith("migration") for name in names)
    assert names["migrationSearch"] == "/a/search"


def in_a_host(database: FreshDatabase, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=PROJECT,
        env={**database.environ(), "REST": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


DOCS = """
import django
django.setup()
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
import re
client = Client()
client.force_login(User.objects.create_superuser("root"))
page = client.get("/api/ai/migration/docs").content.decode()
script = client.get("/api/ai/migration/docs?script=").content.decode()
links = re.findall(r'(?:src|href)="([^"]+)"', page)
assert len(links) == 5, links
for link in links:
    assert link.startswith("/"), link
    if link.startswith("/static/"):
        assert finders.find(link.removeprefix("/static/")), link
assert "/api/ai/migration/schema" in script
assert "http" not in page
"""


def test_the_docs_come_from_local_files(database: FreshDatabase) -> None:
    done = in_a_host(database, "-c", DOCS)
    assert done.returncode == 0, done.stderr


@pytest.mark.gate
def test_spectacular_has_nothing_to_say(database: FreshDatabase) -> None:
    done = in_a_host(
        database, "-m", "django", "spectacular", "--validate", "--fail-on-warn", "--file=/dev/null"
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
