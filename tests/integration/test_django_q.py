"""The dispatcher of django-q2: its checks, its schedule, and when its messages are sent."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import transaction

from ai_migration import tasks
from ai_migration.dispatch import WakeUp, get_dispatcher, wake
from ai_migration.dispatchers import django_q as dispatcher_module
from ai_migration.dispatchers.django_q import DjangoQDispatcher
from ai_migration.exceptions import SettingsError
from ai_migration.models import WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
from tests.integration.support import Project, make_articles, progress, start

PATH = "ai_migration.dispatchers.django_q.DjangoQDispatcher"


@pytest.fixture
def sent(conf: Any, monkeypatch: pytest.MonkeyPatch) -> list[WakeUp]:
    """What was put in the queue of tasks."""
    sent: list[WakeUp] = []

    def put(task: str, *arguments: int, name: str) -> None:
        if task == dispatcher_module.TASK:
            sent.append(WakeUp(*arguments))

    monkeypatch.setattr(dispatcher_module, "_put", put)
    return sent


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    is_installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name == "django_q" or is_installed(name))


def codes() -> list[str]:
    return [str(message.id).rpartition(".")[2] for message in DjangoQDispatcher().check()]


@pytest.mark.vendors("sqlite")
def test_good_settings_have_nothing_to_say(project: Project, conf: Any, installed: None) -> None:
    assert codes() == []


@pytest.mark.vendors("sqlite")
def test_an_app_that_is_not_installed_is_an_error(project: Project, conf: Any) -> None:
    assert codes() == ["E121"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"TIMEOUT": None}, ["W121"]),
        ({"TIMEOUT": 20}, ["W121"]),
        ({"RETRY": 100}, ["W122"]),
        ({"RETRY": 300, "QUEUE_LIMIT": 50}, ["W122"]),
        ({"ACK_FAILURES": False}, ["W123"]),
        ({"MAX_ATTEMPTS": 0}, ["W123"]),
        ({"GUARD_CYCLE": 0.3}, ["W124"]),
    ],
)
@pytest.mark.vendors("sqlite")
def test_what_bites_is_found(
    project: Project,
    conf: Any,
    installed: None,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    found: list[str],
) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(conf, name, value)
    assert codes() == found


def test_a_broker_that_reconnects_for_each_look(
    database: FreshDatabase, conf: Any, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "ORM", "default")
    assert codes() == (["W125"] if database.vendor == "postgresql" else [])


@pytest.mark.vendors("sqlite")
def test_a_cluster_that_does_not_exist(
    project: Project,
    conf: Any,
    installed: None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.set(CLUSTER="migrations")
    assert codes() == ["W126"]
    settings.Q_CLUSTER = {"name": "shop", "ALT_CLUSTERS": {"migrations": {"workers": 1}}}
    assert codes() == []
    monkeypatch.setenv("Q_CLUSTER_NAME", "nobody")
    assert codes() == ["W126"]
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "cluster_name": "nobody"}
    assert codes() == []


@pytest.mark.vendors("sqlite")
def test_the_cluster_that_runs_our_tasks_is_examined(
    project: Project, conf: Any, installed: None, settings: Any
) -> None:
    """Its own workers, queue_limit and time-out, where ALT_CLUSTERS has them."""
    project.set(CLUSTER="migrations")
    for own, found in (
        ({"workers": 1}, []),
        ({"workers": 4, "retry": 100}, ["W122"]),
        ({"workers": 20, "timeout": 10, "retry": 3000}, ["W121"]),
        ({"workers": 1, "queue_limit": 50}, ["W122"]),
    ):
        settings.Q_CLUSTER = {"name": "shop", "ALT_CLUSTERS": {"migrations": own}}
        assert codes() == found, own


@pytest.mark.vendors("sqlite")
def test_the_checks_of_a_dispatcher_are_run_by_django(
    project: Project, conf: Any, settings: Any
) -> None:
    from ai_migration.checks.settings import check_settings

    project.set(DISPATCHER=PATH)
    assert [message.id for message in check_settings()] == ["ai_migration.E121"]


@pytest.mark.vendors("sqlite")
def test_a_missing_library_names_the_extra(
    project: Project, conf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "django_q.conf", None)
    project.set(DISPATCHER=PATH)
    with pytest.raises(SettingsError, match=r"django-ai-migration\[q2\]"):
        get_dispatcher()


def test_a_message_commits_with_the_work_where_the_broker_shares_the_database(
    project: Project, sent: list[WakeUp], conf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set(DISPATCHER=PATH)
    monkeypatch.setattr(conf, "ORM", our_database())
    with transaction.atomic():
        DjangoQDispatcher().send(WakeUp(1, 2))
        assert sent == [WakeUp(1, 2)], "the task is a row of this transaction"


def test_a_message_waits_for_the_commit_elsewhere(
    project: Project, sent: list[WakeUp], conf: Any
) -> None:
    project.set(DISPATCHER=PATH)
    with transaction.atomic():
        wake()
        assert not sent
    assert len(sent) == 1


def test_a_broker_that_is_away_fails_nobodys_transaction(
    project: Project, sent: list[WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wake_up: WakeUp) -> None:
        raise ConnectionError("Redis is away")

    project.set(DISPATCHER=PATH)
    monkeypatch.setattr(dispatcher_module, "_put", refuse)
    make_articles(2)
    with transaction.atomic():
        job = start()
    assert progress(job).status == JobStatus.RUNNING


def test_tasks_work_and_never_raise(
    project: Project, sent: list[WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set(DISPATCHER=PATH, SLICE_SECONDS=0.3)
    make_articles(12)
    job = start(batch_size=4)
    assert tasks.supervise() >= 0
    done = 0
    while sent:
        message = sent.pop(0)
        done += tasks.run_slice(message.slot_id, message.token)
        assert tasks.run_slice(message.slot_id, message.token) == 0, "twice is once"
    assert done >= 3
    assert progress(job).status == JobStatus.COMPLETED

    def fail(*args: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("ai_migration.engine.slots.work", fail)
    monkeypatch.setattr("ai_migration.engine.rounds.tick", fail)
    monkeypatch.setattr("ai_migration.engine.insight.heartbeats.welcome_canary", fail)
    assert (tasks.run_slice(1, 1), tasks.supervise()) == (0, 0)
    tasks.canary(0)


def test_the_supervisor_from_cron_is_the_same_tick(project: Project, sent: list[WakeUp]) -> None:
    """When the scheduler of the cluster stands still, or the broker lost all messages."""
    project.set(DISPATCHER=PATH)
    make_articles(2)
    start()
    sent.clear()
    WorkerSlot.objects.update(woken_at=None)
    call_command("ai_migration", "supervise", stdout=StringIO())
    assert len(sent) == 2


def test_a_dispatcher_without_messages_needs_none(project: Project) -> None:
    make_articles(2)
    start()
    assert tasks.supervise() == 0
    assert not WorkerSlot.objects.filter(name__startswith="cluster").exists()
