"""What `ai_migration doctor` finds, and that it says what to do."""

from __future__ import annotations

import json
import re
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections
from django.db.models import F
from django.utils import timezone

from ai_migration import enqueue, tasks
from ai_migration.dispatchers import _django_q_diagnosis as diagnosis
from ai_migration.dispatchers.django_q import DjangoQDispatcher
from ai_migration.engine.holders import holder_name
from ai_migration.engine.insight.diagnosis import diagnose
from ai_migration.engine.insight.freshness import Freshness
from ai_migration.engine.insight.heartbeats import (
    CANARY,
    SUPERVISOR,
    beat,
    is_cluster_alive,
    is_worker_alive,
    send_canary,
)
from ai_migration.engine.insight.metrics import Tally, add_to_minute
from ai_migration.engine.rounds import supervise
from ai_migration.findings import Finding, Level
from ai_migration.management.doctor import examine
from ai_migration.models import EngineMetrics, MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import acquire
from ai_migration.models.sql import clock
from ai_migration.types import EntryStatus, JobStatus
from tests.databases import FreshDatabase
from tests.integration.odd_models import drop_table
from tests.integration.support import Project, finish, make_articles, start
from tests.integration.test_django_q import PATH
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

HOURS = timedelta(hours=2)


def errors(findings: list[Finding] | None = None) -> list[str]:
    """The facts that have to be acted upon; what is none advises nothing to be done at once."""
    found = diagnose(0) if findings is None else findings
    assert all(each.advice for each in found if each.level is not Level.OK), found
    assert not any(each.advice for each in found if each.level is Level.OK), found
    return [f"{each.name}: {each.fact}" for each in found if each.level is Level.ERROR]


def facts() -> str:
    return "\n".join(f"{each.level} {each.name}: {each.fact}" for each in diagnose(0))


def age(*, by: timedelta = HOURS) -> None:
    """Let time pass for all that is."""
    for slot_time in ("last_seen_at", "woken_at", "lease_expires_at"):
        WorkerSlot.objects.update(**{slot_time: F(slot_time) - by})
    MigrationJob.objects.update(last_updated_at=F("last_updated_at") - by)
    QueueEntry.objects.update(created_at=F("created_at") - by)


# Our tables


def test_a_fresh_project_is_well(project: Project) -> None:
    assert errors() == []
    assert "no tick yet" in facts()
    assert "no worker is busy" in facts()


def test_the_supervisor_leaves_its_name(project: Project) -> None:
    supervise()
    assert f"ok supervisor: last tick 0 s ago by {holder_name()}" in facts()
    assert "no worker is busy" in facts(), "a supervisor is not a worker"
    age()
    assert errors() == [], "without a cluster, workers look after each other"


def test_workers_and_their_leases(project: Project) -> None:
    assert acquire("worker-1", "here:1")
    assert "ok worker: worker-1 held by here:1, seen 0 s ago, lease for 1 min" in facts()
    age(by=timedelta(seconds=90))
    assert "the next tick ends its lease" in facts()
    age()
    (error,) = errors()
    assert "worker-1 held by here:1" in error
    assert "and was not ended" in error
    supervise()
    assert errors() == []


def test_a_running_job_that_nobody_works_for(project: Project) -> None:
    make_articles(2)
    job = start()
    assert errors() == [], "it has just begun"
    age()
    (error,) = errors()
    assert error.startswith(
        f"job: {job.pk} (article) is RUNNING, and no worker has worked on it for 2 h"
    )
    assert "ai_migration worker" in next(each.advice for each in diagnose(0) if each.advice)
    lease = acquire("worker-1", "here:1")
    assert lease
    assert errors() == []
    lease.release()
    assert errors() == [], "between two slices nobody holds a slot"


def test_a_throttled_job_is_well_and_says_until_when(project: Project) -> None:
    make_articles(2)
    start()
    age()
    until = timezone.now() + timedelta(seconds=90)
    MigrationJob.objects.update(throttled_until=until, throttle_reason="the provider said so")
    assert errors() == []
    assert "throttled for 1 min" in facts()
    assert "the provider said so" in facts()


def test_a_job_that_waits_although_a_place_is_free(project: Project) -> None:
    make_articles(2)
    project.set(MAX_CONCURRENT_JOBS=1)
    start()
    MigrationJob.objects.update(status="PENDING")
    age()
    (error,) = errors()
    assert "PENDING for 2 h 00 min, and a place is free" in error


def test_a_job_that_waits_for_its_place(project: Project) -> None:
    project.config(
        """
        ai-entities:
          article: {model: testapp.Article, embeddable-fields: [title]}
          again: {model: testapp.Article, embeddable-fields: [title]}
        """
    )
    make_articles(2)
    project.set(MAX_CONCURRENT_JOBS=1)
    start()
    start("again")
    age()
    assert acquire("worker-1", "here:1")
    assert errors() == []
    assert "PENDING: MAX_CONCURRENT_JOBS (1) run" in facts()


def test_claims_of_the_dead(project: Project) -> None:
    make_articles(2)
    enqueue("article", [1])
    lease = acquire("worker-1", "here:1")
    assert lease
    QueueEntry.objects.update(
        status=EntryStatus.CLAIMED, claimed_by=lease.slot_id, fence=lease.token
    )
    assert errors() == []
    assert "1 entry is in progress" in facts()
    age()
    assert any("1 claimed entry belongs to a worker that died" in each for each in errors())
    supervise()
    assert not any("claimed" in each for each in errors())


def test_live_changes_that_nobody_takes(project: Project) -> None:
    make_articles(2)
    enqueue("article", [1])
    assert errors() == []
    age()
    (error,) = errors()
    assert "1 live change of article waits since 20" in error
    assert " UTC, and no worker was ever seen" in error
    held = acquire("worker-1", "here:1")
    assert held
    assert errors() == []
    assert "warning queue: 1 live change of article waits, the oldest for 2 h 00 min" in facts()
    QueueEntry.objects.update(created_at=F("created_at") + HOURS)
    assert "ok queue: 1 live change of article waits" in facts()
    held.release()
    assert errors() == [], "between two slices nobody holds a slot"
    age()
    (error,) = errors()
    assert "and no worker was seen for 2 h 00 min" in error
    QueueEntry.objects.update(available_at=timezone.now() + HOURS)
    assert errors() == [], "it is tried again later"


def test_check_says_that_nobody_takes_live_changes(project: Project) -> None:
    """With ``--database`` only: it asks the tables."""

    def found(*databases: str) -> list[Any]:
        messages = run_checks(tags=["ai_migration"], databases=list(databases))
        return [each for each in messages if each.id == "ai_migration.W060"]

    make_articles(2)
    enqueue("article", [1])
    assert found("default") == [], "it has just been made"
    age()
    assert found() == []
    (message,) = found("default")
    assert "1 live change of article waits since" in message.msg
    assert message.hint == "Start a worker: manage.py ai_migration worker."
    assert "W060" not in doctor()[1], "it says so itself"
    assert acquire("worker-1", "here:1")
    assert found("default") == []
    drop_table(QueueEntry)
    assert found("default") == [], "Django says that tables are missing"


def test_freshness_is_told(project: Project) -> None:
    assert "freshness" not in facts()
    slot = acquire("worker-1", "here:1")
    assert slot
    waits = Freshness.of([(timezone.now() - timedelta(seconds=1), 9)], timezone.now())
    waits += Freshness.of([(timezone.now() - timedelta(seconds=200), 1)], timezone.now())
    add_to_minute(slot.slot_id, Tally(batches=1, freshness=waits), slot.using)
    said = (
        r"10 live changes of the last hour: half searchable within (1|1.1|0.9\d) s, 95 % within 3"
    )
    assert re.search(said, facts())
    EngineMetrics.objects.update(minute=F("minute") - HOURS)
    assert "freshness" not in facts()


def test_fresh_work_without_a_worker_is_not_well(project: Project) -> None:
    make_articles(2)
    enqueue("article", [1])
    assert "warning queue: 1 live change of article waits" in facts()
    assert "and no worker is running" in facts()
    returncode, out = doctor()
    assert (returncode, "in order" in out) == (0, False)
    assert "Start a worker: manage.py ai_migration worker" in out
    QueueEntry.objects.all().delete()
    start()
    assert "is RUNNING, and no worker is running" in facts()
    assert "in order" not in doctor()[1]
    MigrationJob.objects.update(status="PENDING")
    assert "and no worker is running" in facts()
    assert acquire("worker-1", "here:1")
    assert "starts with the next tick" in facts()
    assert "no worker is running" not in facts()
    assert "in order" in doctor()[1]


def test_a_command_in_the_foreground_takes_live_changes_of_its_own_type_only(
    project: Project,
) -> None:
    project.config(
        """
        ai-entities:
          article: {model: testapp.Article, embeddable-fields: [title]}
          again: {model: testapp.Article, embeddable-fields: [title]}
        """
    )
    make_articles(2)
    start()
    enqueue("article", [1])
    enqueue("again", [1])
    enqueue("again", [2])
    age()
    assert acquire("foreground-1", "here:1")
    (error,) = errors()
    assert "2 live changes of again wait since" in error
    assert "no worker was ever seen" in error


@pytest.mark.usefixtures("installed")
def test_a_cluster_that_is_alive_takes_fresh_work(project: Project) -> None:
    make_articles(2)
    WorkerSlot.objects.filter(name=CANARY).delete()
    enqueue("article", [1])
    assert "warning queue: 1 live change of article waits" in facts()
    returns()
    assert "ok queue: 1 live change of article waits" in facts()


def test_entries_that_come_back_again_and_again(project: Project) -> None:
    make_articles(2)
    enqueue("article", [1])
    assert "claims" not in facts()
    QueueEntry.objects.update(claims=4)
    assert "warning queue: entry" in facts()
    assert "4 unfinished claims, 0 failed attempts" in facts()
    QueueEntry.objects.update(claims=0, attempts=3, error="no answer")
    assert "3 failed attempts: no answer" in facts()
    QueueEntry.objects.update(status=EntryStatus.FAILED)
    assert "warning queue: 1 live change was given up, the last with: no answer" in facts()
    assert errors() == []


def test_an_index_with_more_or_less_than_there_are_rows(project: Project) -> None:
    assert "ok index: article: 0 indexed of 0 rows; not indexed" in facts()
    make_articles(3)
    job = start()
    assert "index:" not in facts(), "it is on its way"
    finish(job)
    assert "ok index: article: 3 indexed of 3 rows; config unchanged" in facts()
    Article.objects.all().delete()
    assert (
        "warning index: article: 3 indexed of 0 rows; config unchanged; "
        "3 more indexed than there are rows" in facts()
    )
    drop_table(Article)
    assert "the table of testapp.Article cannot be read" in facts()
    assert errors() == []
    MigrationJob.objects.update(status=JobStatus.FAILED)
    project.article("title", "nothing")
    assert "index:" not in facts(), "the checks say so"


# The command


def doctor(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("ai_migration", "doctor", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_says_what_to_do(project: Project) -> None:
    returncode, out = doctor()
    assert returncode == 0
    assert out.endswith("Rows and index were counted, not compared with each other.\n")
    make_articles(1)
    start()
    age()
    returncode, out = doctor()
    assert returncode == 1
    lines = out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith("ERROR    job: ")]
    assert lines[number + 1].strip().startswith("Start a worker")
    returncode, out = doctor("--json")
    assert returncode == 1
    document = json.loads(out)
    assert not document["healthy"]
    assert {"name", "fact", "advice", "level"} == set(document["findings"][0])


@pytest.mark.vendors("sqlite")
def test_warnings_are_said_and_break_nothing(project: Project, settings: Any) -> None:
    project.set(DISPATCHER="nope.Nope")
    (finding,) = [each for each in examine(0) if each.level is Level.ERROR]
    assert finding.name == "check ai_migration.E005"
    assert doctor()[0] == 1
    project.set(DISPATCHER="ai_migration.dispatchers.none.NullDispatcher")
    project.article(chunking={"size": 100, "overlap": 90})
    returncode, out = doctor()
    assert returncode == 0
    assert "warning  check ai_migration.W020: " in out
    settings.SILENCED_SYSTEM_CHECKS = ["ai_migration.W020"]
    assert "W020" not in doctor()[1]


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
@pytest.mark.vendors("sqlite")
def test_seconds_that_are_none(project: Project, value: str) -> None:
    from django.core.management import CommandError

    with pytest.raises(CommandError, match="is not a number from 0 to 3600"):
        doctor(f"--wait={value}")


def test_heartbeats(project: Project) -> None:
    assert not is_worker_alive()
    assert doctor("--heartbeat", "worker")[0] == 1
    assert acquire("worker-1", "elsewhere:1")
    assert not is_worker_alive(), "on another host"
    assert acquire("worker-2", holder_name())
    assert doctor("--heartbeat", "worker") == (0, "The worker is alive.\n")
    assert doctor("--heartbeat", "cluster") == (1, "No sign of the cluster.\n")
    beat(SUPERVISOR)
    assert not is_cluster_alive(), "cron may have been it"
    beat(CANARY)
    assert doctor("--heartbeat", "cluster", "--json") == (0, '{"healthy": true}\n')
    age()
    assert not is_worker_alive()
    assert not is_cluster_alive()


# django-q2


@pytest.fixture
def installed(
    database: FreshDatabase, project: Project, conf: Any, settings: Any, monkeypatch: Any
) -> None:
    """django-q2 with its tables, and its broker in our database."""
    monkeypatch.setattr(conf, "ORM", "default")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_q"]
    project.set(DISPATCHER=PATH)
    call_command("migrate", "django_q", verbosity=0)
    supervise()


def tasks_in_queue() -> list[str]:
    from django_q.models import OrmQ

    return [str(each.func()) for each in OrmQ.objects.order_by("pk")]


def schedules() -> Any:
    from django_q.models import Schedule

    return Schedule.objects


@pytest.mark.usefixtures("installed")
def test_a_cluster_that_ticks_is_well() -> None:
    returns()
    assert errors() == []
    assert "a task came back after 0 s" in facts()


@pytest.mark.usefixtures("installed")
def test_a_tick_that_does_not_come() -> None:
    returns()
    WorkerSlot.objects.filter(name=SUPERVISOR).update(last_seen_at=F("last_seen_at") - HOURS)
    (error,) = errors()
    assert "supervisor: last tick 2 h 00 min ago" in error
    schedules().update(next_run=timezone.now() - HOURS)
    assert "schedule: the supervisor was to run 2 h 00 min ago" in errors()
    beat(SUPERVISOR)
    assert errors() == [], "it catches up with what it missed"
    WorkerSlot.objects.filter(name=SUPERVISOR).delete()
    assert errors() == ["schedule: the supervisor was to run 2 h 00 min ago"]
    schedules().update(next_run=timezone.now())
    assert errors() == [], "the cluster has just been started"


@pytest.mark.usefixtures("installed")
def test_a_schedule_that_is_missing_or_not_ours(project: Project) -> None:
    returns()
    project.set(CLUSTER="migrations")
    assert errors() == ["schedule: the supervisor's schedule was changed, or is another cluster's"]
    DjangoQDispatcher().install()
    assert errors() == []
    schedules().update(next_run=None)
    assert errors() == ["schedule: the supervisor's schedule has no next run"]
    schedules().all().delete()
    assert errors() == ["schedule: the supervisor has no schedule"]
    DjangoQDispatcher().install()
    assert errors() == []


BROKEN = [
    {"args": "1, two"},
    {"args": "(1"},
    {"kwargs": "[1]"},
    {"kwargs": "{1: 2}"},
    {"kwargs": "{'func': 2}"},
    {"kwargs": "{'q_options': 3}"},
    {"schedule_type": "C", "cron": "every now and then"},
]
READABLE = [
    {"args": "1, 'two'"},
    {"args": "1"},
    {"kwargs": "a=1, b='two'"},
    {"kwargs": "{'a': 1}"},
    {"kwargs": "nonsense("},  # taken for none
    {"kwargs": "{'q_options': {'group': 'g'}}"},
    {"schedule_type": "D"},
    {"schedule_type": "O", "cron": "not looked at"},
]


@pytest.mark.usefixtures("installed")
@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    "values",
    [
        *(pytest.param(values, id=str(values)) for values in (BROKEN[0], READABLE[0])),
        *(
            pytest.param(values, id=str(values), marks=pytest.mark.gate)
            for values in (*BROKEN[1:], *READABLE[1:])
        ),
    ],
)
def test_one_schedule_that_cannot_be_read_blocks_all(values: dict[str, Any]) -> None:
    """The scheduler itself says which: what it blocks is what the doctor finds."""
    from django_q.brokers import get_broker
    from django_q.models import OrmQ
    from django_q.scheduler import scheduler

    returns()
    OrmQ.objects.all().delete()
    schedules().create(func="math.floor", name="nightly")
    schedules().filter(name="nightly").update(**values)
    schedules().update(next_run=timezone.now() - timedelta(seconds=1))
    found = errors()
    scheduler(get_broker())
    is_blocked = tasks.__name__ + ".supervise" not in tasks_in_queue()
    assert is_blocked == bool(found)
    assert is_blocked == (values in BROKEN)
    assert all("schedule 'nightly' (id " in each for each in found)


@pytest.mark.usefixtures("installed")
def test_schedules_of_other_clusters_block_nothing_of_ours(project: Project) -> None:
    returns()
    broken = schedules().create(func="math.floor", args="(", cluster="reports")
    assert errors() == []
    for cluster in (None, "default"):
        schedules().filter(pk=broken.pk).update(cluster=cluster)
        (error,) = errors()
        assert "schedule 'math.floor'" in error
    project.set(CLUSTER="reports")
    DjangoQDispatcher().install()
    assert errors() == []
    schedules().filter(pk=broken.pk).update(cluster="reports")
    assert len(errors()) == 1
    schedules().filter(pk=broken.pk).update(repeats=0)
    assert errors() == [], "it is switched off"


# The canary


def returns() -> None:
    """As a cluster has it return at once."""
    tasks.canary(clock.now_microseconds("default"))


def lose(sent: int) -> None:
    """As a broker does."""


def judged(send: Any, wait: float) -> Finding:
    (finding,) = diagnosis.Canary(send, wait).run()
    return finding


@pytest.mark.usefixtures("installed")
def test_the_supervisor_sends_one_canary_at_a_time() -> None:
    assert tasks_in_queue().count("ai_migration.tasks.canary") == 1
    supervise()
    assert tasks_in_queue().count("ai_migration.tasks.canary") == 1
    returns()
    supervise()
    assert tasks_in_queue().count("ai_migration.tasks.canary") == 2
    age()
    supervise()
    assert tasks_in_queue().count("ai_migration.tasks.canary") == 3, "it was lost"


def test_a_canary_that_comes_back(project: Project) -> None:
    assert judged(tasks.canary, 0).fact == "no task was sent yet"
    assert judged(tasks.canary, 5).fact == "a task came back after 0 s"
    assert judged(tasks.canary, 0).fact == "a task came back after 0 s"


def test_a_canary_that_does_not_come_back(project: Project) -> None:
    finding = judged(lose, 0.01)
    assert finding.level is Level.ERROR
    assert "last success: never" in finding.fact
    assert "qcluster" in finding.advice
    returns()
    finding = judged(lose, 0.01)
    assert finding.level is Level.OK, "it is busy, and has taken tasks a moment ago"
    age(by=timedelta(minutes=5))
    for wait in (0, 0.01):
        finding = judged(lose, wait)
        assert finding.level is Level.ERROR
        assert "last success: 5 min" in finding.fact
        assert "No cluster takes tasks" in finding.advice


def test_a_canary_that_comes_back_late(project: Project) -> None:
    send_canary(lose)
    tasks.canary(clock.now_microseconds("default") - 99_000_000)
    for wait in (0, 0.01):
        finding = judged(lose, wait)
        assert finding.level is Level.ERROR
        assert "Tasks wait for 1 min 39 s" in finding.advice
    returns()
    assert judged(tasks.canary, 5).fact == "a task came back after 0 s", "it is over"
    send_canary(lose)
    age(by=timedelta(seconds=45))
    assert judged(lose, 0).level is Level.ERROR, "it is away for too long already"


def test_one_that_was_lost_makes_room_for_another(project: Project) -> None:
    """What a killed cluster had fetched comes when `retry` is over, and says nothing then."""
    old: list[int] = []
    send_canary(old.append)
    age(by=timedelta(seconds=61))
    assert judged(tasks.canary, 5).fact == "a task came back after 0 s"
    tasks.canary(old[0] - 240_000_000)
    assert judged(lose, 0).level is Level.OK


def test_one_that_comes_back_while_another_is_waited_for(project: Project) -> None:
    """The cluster went on: what counts is how long a task takes now."""
    assert send_canary(lose)
    age(by=timedelta(seconds=50))

    def returns_late() -> None:
        tasks.canary(clock.now_microseconds("default") - 50_000_000)
        connections.close_all()

    later = threading.Timer(0.3, returns_late)
    later.start()
    finding = judged(tasks.canary, 60)
    later.join()
    assert finding.fact == "a task came back after 0 s"


def test_a_broker_that_takes_nothing(project: Project) -> None:
    def refuse(sent: int) -> None:
        raise ConnectionError("nobody listens")

    finding = judged(refuse, 1)
    assert finding.level is Level.ERROR
    assert "ConnectionError: nobody listens" in finding.fact
    assert judged(tasks.canary, 5).level is Level.OK, "it does not count as sent"
