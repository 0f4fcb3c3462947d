"""`ai_migration doctor` and a real cluster: running, standing still, and stopped."""

from __future__ import annotations

import json
import os
import signal
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import F

from ai_migration.models import WorkerSlot
from tests.acceptance.clusters import DISPATCHER, ORM, Clusters
from tests.acceptance.victims import TIMEOUT, wait_until
from tests.acceptance.worlds import World
from tests.commands import Manage

TICK = "from django_q.tasks import async_task; async_task('ai_migration.tasks.supervise')"
PATIENT = f"--wait={TIMEOUT}"


@pytest.fixture
def clusters(world: World) -> Clusters:
    made = Clusters(world)
    connections.close_all()
    made.manage("migrate", "django_q", "-v0")
    return made


@pytest.fixture
def ask(world: World, manage: Manage, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the doctor; its exit code and what it finds to be acted upon."""
    monkeypatch.setenv("Q_CLUSTER_JSON", json.dumps(ORM))

    def doctor(*arguments: str) -> tuple[int, list[str]]:
        settings = {**world.settings, "DISPATCHER": DISPATCHER}
        done = manage("ai_migration", "doctor", "--json", *arguments, ai_migration=settings)
        found = json.loads(done.stdout).get("findings", [])
        return done.returncode, [each["name"] for each in found if each["level"] == "error"]

    return doctor


def age(name: str) -> None:
    """As if a row's last sign of life had been some time ago."""
    ago = timedelta(minutes=8)
    WorkerSlot.objects.filter(name=name).update(
        woken_at=F("woken_at") - ago, last_seen_at=F("last_seen_at") - ago
    )


def forget_canary() -> None:
    """As if none had been sent."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_q_ormq")
    WorkerSlot.objects.filter(name="canary").delete()


@pytest.mark.gate
@pytest.mark.vendors("postgresql")
def test_a_cluster_that_runs_stands_still_and_is_stopped(clusters: Clusters, ask: Any) -> None:
    assert ask("--wait=0.1") == (1, ["canary"]), "it was never started"
    forget_canary()  # however long the start takes: it would be late
    with clusters.started() as cluster:
        clusters.manage("shell", "-v0", "-c", TICK)
        wait_until(WorkerSlot.objects.filter(name="supervisor").exists, "the tick")
        assert ask(PATIENT) == (0, [])
        assert ask("--heartbeat=cluster") == (0, [])
        os.killpg(cluster.pid, signal.SIGSTOP)
        age("canary")
        assert ask("--wait=0.1") == (1, ["canary"])
        assert ask("--heartbeat=cluster") == (1, [])
        os.killpg(cluster.pid, signal.SIGCONT)
        assert ask(PATIENT) == (0, [])
    age("canary")
    age("supervisor")
    assert ask("--wait=0.1") == (1, ["supervisor", "canary"])
    assert ask("--heartbeat=cluster") == (1, [])


@pytest.mark.gate
@pytest.mark.vendors("sqlite", gate=["postgresql"])
@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.gate)]
)
def test_the_heartbeat_of_a_worker(world: World, manage: Manage, signum: signal.Signals) -> None:
    def is_alive() -> bool:
        asked = manage(
            "ai_migration", "doctor", "--heartbeat", "worker", ai_migration=world.settings
        )
        return asked.returncode == 0

    assert not is_alive()
    with manage.watched("ai_migration", "worker", ai_migration=world.settings) as process:
        wait_until(is_alive, "the worker")
        process.send_signal(signum)
        process.wait()
    wait_until(lambda: not is_alive(), "the end of the lease")
