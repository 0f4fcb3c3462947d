"""Commands and pages that show jobs recover opportunistically."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from ai_migration.dispatch import Dispatcher, WakeUp
from ai_migration.engine import recovery
from ai_migration.engine.recovery import RECOVERY, recover_opportunistically
from ai_migration.indexing import queue
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import acquire, our_database
from ai_migration.types import EntryStatus
from tests.integration.support import Project, die, make_articles, start

SENT: list[WakeUp] = []


class Postbox(Dispatcher):
    """Keeps what it is to send."""

    supports_messages = True

    def wake(self) -> None:
        pass

    def send(self, wake_up: WakeUp) -> None:
        SENT.append(wake_up)


@pytest.fixture
def job(project: Project) -> MigrationJob:
    """A job whose worker died, and nobody works."""
    project.set(DISPATCHER=f"{__name__}.Postbox")
    SENT.clear()
    make_articles(3)
    job = start()
    feed(job.pk, our_database())
    abandon()
    return job


def abandon() -> None:
    WorkerSlot.objects.filter(name=RECOVERY).update(last_seen_at=F("last_seen_at") - MINUTE)
    taken = acquire("dead", "dead:1")
    assert taken is not None
    assert queue.claim(taken, 8)
    die()


MINUTE = timedelta(minutes=1)


def is_recovered() -> bool:
    return not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()


def test_looking_recovers_and_wakes(job: MigrationJob) -> None:
    recover_opportunistically()
    assert is_recovered()
    assert len(SENT) == 2


def test_it_happens_once_in_a_while_and_costs_nothing_between(job: MigrationJob) -> None:
    recover_opportunistically()
    QueueEntry.objects.update(status=EntryStatus.CLAIMED)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        recover_opportunistically()
    assert not is_recovered()
    assert len(queries) == 2
    assert all(query["sql"].startswith("SELECT") for query in queries)
    WorkerSlot.objects.update(last_seen_at=F("last_seen_at") - MINUTE)
    recover_opportunistically()
    assert is_recovered()


@pytest.mark.parametrize("arguments", [["jobs"], ["show", "JOB"], ["resume", "JOB"], ["supervise"]])
def test_commands_recover(job: MigrationJob, arguments: list[str], capsys: Any) -> None:
    call_command("ai_migration", *[job.pk if word == "JOB" else word for word in arguments])
    assert is_recovered()
    assert SENT


def test_it_waits_for_the_callers_transaction(job: MigrationJob) -> None:
    with transaction.atomic():
        recover_opportunistically()
        assert not is_recovered()
    assert is_recovered()


def test_it_never_fails(
    job: MigrationJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(recovery, "tick", fail)
    recover_opportunistically()
    assert not is_recovered()
    assert capsys.readouterr() == ("", "")
