"""While something that THROTTLE names gives a reason, jobs wait and live changes do not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from ai_migration import enqueue
from ai_migration.conf import get_settings
from ai_migration.exceptions import SettingsError
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.sql import clock
from ai_migration.pace import throttling
from ai_migration.throttles import Connections, ReplicationLag
from ai_migration.types import EntryStatus, JobStatus
from tests.databases import FreshDatabase
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    expected,
    finish,
    make_articles,
    progress,
    run_slice,
    start,
    stored,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

HERE = __name__
LOAD = f"{HERE}.load"
BUSY = "the database is busy"
said: list[str] = []
asked: list[str] = []


def load() -> str | None:
    asked.append("load")
    return said[0] if said else None


def breaks() -> str | None:
    asked.append("breaks")
    raise RuntimeError("the monitor does not answer")


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets what `load` says from now on, and lets no older answer count."""

    def say(*reason: str) -> None:
        said[:] = reason
        monkeypatch.setattr(throttling, "_throttles", None)
        MigrationJob.objects.update(throttled_until=None)

    said.clear()
    asked.clear()
    yield say
    said.clear()


def entries_left() -> int:
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    return QueueEntry.objects.filter(status=EntryStatus.PENDING).count()


def test_a_running_job_stops_claiming_says_why_and_goes_on(
    project: Project, say: Callable[..., None]
) -> None:
    project.set(THROTTLE=[LOAD])
    script = project.embedder(max_batch_size=1)
    make_articles(60)

    def react(texts: Sequence[str]) -> None:
        if not said:
            said.append(BUSY)
            throttling._throttles = None

    say()
    script.react = react
    job = start(batch_size=1)
    run_slice()
    held = progress(job)
    assert (held.status, held.throttle_reason) == (JobStatus.RUNNING, BUSY)
    assert held.throttled_until is not None
    assert 0 < held.processed < 60, "what was claimed is finished, and no more"
    assert entries_left()
    output = StringIO()
    call_command("ai_migration", "show", job.pk, stdout=output)
    assert BUSY in output.getvalue()

    run_slice()
    assert progress(job).processed == held.processed

    script.react = lambda texts: None
    say()
    assert finish(job).status == JobStatus.COMPLETED
    assert progress(job).throttle_reason == ""
    assert not script.paid_twice
    assert_in_line()


def test_live_changes_go_on(project: Project, say: Callable[..., None]) -> None:
    project.set(THROTTLE=[LOAD])
    make_articles(3)
    say(BUSY)
    job = start(batch_size=1)
    article = Article.objects.latest("pk")
    article.body = "changed"
    article.save()
    enqueue("article", [article.pk])
    run_slice()
    assert progress(job).processed == 0
    of = collection()
    assert stored(of) == {str(article.pk): expected(of)[str(article.pk)]}
    say()
    finish(job)
    assert_in_line()


def test_a_job_that_starts_meanwhile_waits_too(project: Project, say: Callable[..., None]) -> None:
    project.set(THROTTLE=[LOAD])
    make_articles(3)
    say(BUSY)
    run_slice()
    job = start(batch_size=1)
    run_slice()
    assert (progress(job).processed, progress(job).throttle_reason) == (0, BUSY)
    assert asked == ["load"], "the answer was still good"


def test_a_longer_wait_for_the_provider_stays(project: Project, say: Callable[..., None]) -> None:
    project.set(THROTTLE=[LOAD])
    make_articles(3)
    say(BUSY)
    job = start()
    MigrationJob.objects.update(throttled_until=clock.after(3600), throttle_reason="429")
    run_slice()
    assert progress(job).throttle_reason == "429"
    left = MigrationJob.objects.filter(throttled_until__gt=clock.after(1800))
    assert left.exists()


def test_who_is_asked_and_how_often(
    project: Project,
    say: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error is logged, stops no job, and does not keep the others from being asked."""
    monkeypatch.setattr(throttling, "ASK_EVERY", 3600)  # longer than the slowest run
    project.set(THROTTLE=[f"{HERE}.breaks", "nope.nope", LOAD, f"{HERE}.breaks"])
    make_articles(30)
    say()
    with caplog.at_level(logging.ERROR, "ai_migration"):
        assert finish(start(batch_size=1)).status == JobStatus.COMPLETED
    assert asked == ["breaks", "load", "breaks"]
    assert [record.name for record in caplog.records] == ["ai_migration"] * 3
    assert "nope.nope" in caplog.text
    assert "the monitor does not answer" in caplog.text
    say(BUSY)
    asked.clear()
    assert throttling.get_throttles().reason() == BUSY
    assert asked == ["breaks", "load"], "one reason is enough"


def test_what_was_said_fits_its_column(project: Project, say: Callable[..., None]) -> None:
    project.set(THROTTLE=[LOAD])
    make_articles(1)
    say("nul \0 " + "x" * 500)
    job = start()
    run_slice()
    assert progress(job).throttle_reason.startswith("nul  x")


# The given ones, on PostgreSQL


@pytest.mark.vendors("postgresql")
def test_open_connections(database: FreshDatabase) -> None:
    """Counted by a role that may see nothing of the others'."""
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE pg_signal_backend")
        cursor.execute("SELECT current_setting('max_connections')::int")
        [most] = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL")
        [now] = cursor.fetchone()
    throttle = Connections(max_share=(now + 2.5) / most)
    assert throttle() is None
    # More than are too many: those that earlier tests left may end meanwhile.
    opened = [psycopg.connect(database.url) for _ in range(8)]
    try:
        reason = throttle()
    finally:
        for each in opened:
            each.close()
    assert reason is not None
    assert "connections are open, more than" in reason


@pytest.mark.vendors("postgresql")
def test_a_job_waits_for_connections(project: Project) -> None:
    """As configured: by its path, with options."""
    few = {"BACKEND": "ai_migration.throttles.Connections", "OPTIONS": {"max_share": 0.0001}}
    project.set(THROTTLE=["ai_migration.throttles.ReplicationLag", few])
    make_articles(3)
    job = start()
    run_slice()
    assert "% of the connections are open" in progress(job).throttle_reason
    assert progress(job).processed == 0


@pytest.mark.vendors("postgresql")
def test_replication_lag(database: FreshDatabase) -> None:
    """Without standbys nobody is behind. A view in front of the server's own plays standbys."""
    throttle = ReplicationLag(max_seconds=10)
    assert throttle() is None
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA standbys")
        cursor.execute(
            "CREATE TABLE standbys.pg_stat_replication (replay_lag interval, state text)"
        )
        cursor.execute("SET search_path = standbys, pg_catalog, public")
        for lag, is_behind in ((None, False), ("10 s", False), ("1 min 15 s", True)):
            cursor.execute(
                "INSERT INTO standbys.pg_stat_replication VALUES (%s, 'streaming')", [lag]
            )
            assert (throttle() is not None) == is_behind, lag
        assert throttle() == "a standby is 75 seconds behind, more than 10"
        cursor.execute("INSERT INTO standbys.pg_stat_replication VALUES (NULL, NULL)")
    with pytest.raises(SettingsError, match="pg_monitor"):
        throttle()


@pytest.mark.vendors("sqlite")
def test_sqlite_has_neither(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.set(THROTTLE=["ai_migration.throttles.Connections"])
    assert throttling.get_throttles().reason() is None
    assert "'default' is sqlite, not PostgreSQL" in caplog.text
    assert get_settings().THROTTLE
