"""A real browser on a real server: skipped where Chromium or Playwright is not installed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.cache import cache
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import connections

from tests.browser.site import Site
from tests.databases import FreshDatabase
from tests.integration.support import Project

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log_message(self, format: str, *args: Any) -> None:
        return None


class Server(ThreadedWSGIServer):
    """Closes the connections of each request's thread."""

    daemon_threads = False

    def close_request(self, request: Any) -> None:
        connections.close_all()
        super().close_request(request)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    # Playwright keeps an event loop in this thread, which Django would take for async code.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def project(database: FreshDatabase, settings: Any, tmp_path: Path) -> Project:
    """Entity type `article`, in the settings of the test."""
    made = Project(settings, tmp_path)
    made.set(RETRY_DELAY_SECONDS=0.0005)
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    made.article(filterable_fields=["status", "price"])
    cache.clear()
    return made


@pytest.fixture
def site(browser: Any, project: Project) -> Iterator[Site]:
    """The admin, served; whatever a page complains of fails the test."""
    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(StaticFilesHandler(WSGIHandler()))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    opened = Site(browser, f"http://127.0.0.1:{server.server_port}")
    try:
        yield opened
    finally:
        opened.close()
        server.shutdown()
        server.server_close()
        thread.join()
    assert opened.complaints == []


@pytest.fixture
def users(project: Project) -> dict[str, User]:
    """Who works here."""
    made = {}
    for name, permissions in {
        "operator": ["view", "start", "control"],
        "visitor": ["view"],
    }.items():
        user = User.objects.create_user(name, password="secret", is_staff=True)
        codes = [f"{permission}_migrationjob" for permission in permissions]
        user.user_permissions.set(Permission.objects.filter(codename__in=codes))
        made[name] = user
    return made
