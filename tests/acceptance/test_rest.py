"""The REST API as its users have it: a server, a cluster, PostgreSQL, and curl with the words
of docs/reference/rest.md."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.types import EntryStatus
from tests.acceptance.clusters import Clusters, is_over
from tests.acceptance.index_state import unsettled
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, write_articles
from tests.docs.pages import ROOT, blocks_of, commands_of
from tests.testapp.models import Article, Category

pytest.importorskip("rest_framework", reason="the REST extra is not installed")
pytestmark = [
    pytest.mark.gate,
    pytest.mark.vendors("postgresql"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
PAGE = ROOT / "docs" / "reference" / "rest.md"
ROWS = 1_600
_ID = re.compile(r"mig-[0-9a-f]{8}-[0-9a-f-]{27}")


class Caller:
    """Calls as the page does.

    Args:
        port: Of the server.
        token: Of the user.
    """

    def __init__(self, port: int, token: str) -> None:
        self._exports = (
            f"API=http://localhost:{port}/api/ai/migration; AUTH='Authorization: Token {token}'\n"
        )
        blocks = [block.body for block in blocks_of(PAGE) if block.language == "console"]
        self._words = [command for body in blocks for command, _ in commands_of(body)]

    def __call__(self, pattern: str, job: str = "", **replaced: str) -> Any:
        """Type the first command of the page that matches; what it answers.

        Args:
            pattern: In the command.
            job: Stands for the page's job.
            replaced: By what words of the command are replaced.
        """
        command = next(words for words in self._words if re.search(pattern, words))
        command = _ID.sub(job, command).replace('"product"', '"article"')
        for theirs, ours in replaced.items():
            command = command.replace(theirs, ours)
        done = subprocess.run(
            ["bash", "-c", self._exports + command], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout.split()


@pytest.fixture
def clusters(world: World, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    monkeypatch.setenv("REST", "yes")
    made = Clusters(dawdling(world, 0.02, WORKERS=2))
    write_articles(ROWS)
    Article.objects.update(price=30, category=Category.objects.create(name="Shoes", slug="shoes"))
    connections.close_all()
    made.manage("migrate", "-v0")
    return made


@pytest.fixture
def call(clusters: Clusters) -> Iterator[Caller]:
    """A caller of a server that runs; the user and the token are made as the page says."""
    [users] = [block.body for block in blocks_of(PAGE) if "create_user" in block.body]
    exec(compile(users, str(PAGE), "exec"), {})
    assert User.objects.get(username="ops").has_perm("ai_migration.search_index")
    token = re.findall(r"\b[0-9a-f]{40}\b", clusters.manage("drf_create_token", "ops"))[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with clusters.started("runserver", "--noreload", str(port)) as server:
        wait_until(lambda: server.poll() is not None or _listens(port), "the server")
        yield Caller(port, token)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_start_watch_pause_resume_cancel(clusters: Clusters, call: Caller) -> None:
    def processed() -> int:
        return int(call(r"API/jobs/mig-[\w-]+$", job)["progress"]["processed"])

    with clusters.started():
        started = call("API/start")
        job = started["id"]
        assert (started["entityType"], started["totalEntities"]) == ("article", ROWS)
        assert call("API/start")["id"] == job, "asked for again with its key"
        wait_until(processed, "some progress")

        assert call("/pause", job)["status"] == "PAUSED"
        claimed = QueueEntry.objects.filter(status=EntryStatus.CLAIMED)
        wait_until(lambda: not claimed.exists(), "the end of the batches in flight")
        done = processed()
        clusters.manage("ai_migration", "worker", "--until-idle")
        assert processed() == done < ROWS

        assert call("/resume", job)["rateLimit"] == 6000
        wait_until(lambda: processed() > done, "more progress")
        for _ in range(2):
            assert call("-X DELETE", job) == ["204"]
        assert call(r"API/jobs/mig-[\w-]+$", job)["status"] == "CANCELLED"

        again = call("API/start", **{"nightly-1": "nightly-2"})["id"]
        assert again != job
        wait_until(lambda: is_over(again), "the end of the job")
    assert not unsettled("article")
    progress = call(r"API/jobs/mig-[\w-]+$", again)
    assert (progress["status"], progress["progress"]["percentComplete"]) == ("COMPLETED", 100)
    failures = call("/failures", again)["results"]
    assert len(failures) == progress["progress"]["failed"] > 0
    assert {failure["code"] for failure in failures} == {"embedder_input"}
    steps = call("/events", job, **{"?limit=3": ""})["results"]
    assert [(step["actor"], step["to"]) for step in steps if step["actor"] == "ops"] == [
        ("ops", status) for status in ("PENDING", "PAUSED", "RUNNING", "CANCELLED")
    ]
    assert MigrationJob.objects.count() == 2
