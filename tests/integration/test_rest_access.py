"""The REST API: who may call it, how often, and what a host has to do for it."""

from __future__ import annotations

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

from ai_migration.models import WorkerSlot
from tests.databases import FreshDatabase
from tests.integration.rest import ALL, ROOT, Api, error
from tests.unit.test_packaging import ROOT as PROJECT

pytestmark = pytest.mark.vendors("sqlite")

urlpatterns = [
    path("one/", include("ai_migration.rest.urls")),
    path("two/", include("ai_migration.rest.urls", namespace="second")),
]
"""A host that has it twice."""

CALLS = [
    ("get", "jobs", "view_migrationjob"),
    ("get", "jobs/mig-1", "view_migrationjob"),
    ("get", "jobs/mig-1/events", "view_migrationjob"),
    ("get", "jobs/mig-1/failures", "view_migrationjob"),
    ("get", "entities", "view_migrationjob"),
    ("get", "schema", "view_migrationjob"),
    ("get", "docs", "view_migrationjob"),
    ("post", "start", "start_migrationjob"),
    ("post", "plan", "start_migrationjob"),
    ("post", "jobs/mig-1/pause", "control_migrationjob"),
    ("post", "jobs/mig-1/resume", "control_migrationjob"),
    ("post", "jobs/mig-1/retry-failed", "control_migrationjob"),
    ("delete", "jobs/mig-1", "control_migrationjob"),
    ("post", "search", "search_index"),
]
REFUSED = (401, 403)


def test_each_call_needs_its_permission_and_no_other(api: Api, settings: Any) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "drf_spectacular"]
    settings.TEMPLATES = [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    ]
    settings.STATIC_URL = "/static/"

    def answers(client: APIClient) -> list[int]:
        return [getattr(client, method)(f"{ROOT}/{path}").status_code for method, path, _ in CALLS]

    assert set(answers(APIClient())) <= set(REFUSED)
    for needed in (*ALL, None):
        user = User.objects.create_user(f"only {needed}")
        user.user_permissions.set(Permission.objects.filter(codename=needed))
        client = APIClient()
        client.force_authenticate(user)
        for status, (method, called, permission) in zip(answers(client), CALLS, strict=True):
            assert (status not in REFUSED) == (permission == needed), (needed, method, called)


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
    assert not WorkerSlot.objects.filter(name="passer-by").exists()
    api.get("jobs")
    assert WorkerSlot.objects.filter(name="passer-by", last_seen_at__isnull=False).exists()


def test_the_schema_is_openapi_3_1_with_an_example_of_every_error(api: Api) -> None:
    schema = api.get("schema").json()
    assert schema["openapi"].startswith("3.1")
    operations = [item for calls in schema["paths"].values() for item in calls.values()]
    assert len(operations) == 13
    for item in operations:
        assert "Needs the permission" in item["description"]
        assert {"400", "401", "403", "429", "503"} <= set(item["responses"])
        for status, answer in item["responses"].items():
            assert answer["description"]
            for content in answer.get("content", {}).values():
                assert content.get("examples") or item["operationId"] == "migrationGetSchema", (
                    status
                )
        if "requestBody" in item:
            assert item["requestBody"]["content"]["application/json"]["examples"]


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
    assert len(names) == 13
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


def test_spectacular_has_nothing_to_say(database: FreshDatabase) -> None:
    done = in_a_host(
        database, "-m", "django", "spectacular", "--validate", "--fail-on-warn", "--file=/dev/null"
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
