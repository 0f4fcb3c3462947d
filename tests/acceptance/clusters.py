"""Real clusters of django-q2, in process groups of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ai_migration.models import MigrationJob
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World
from tests.commands import ROOT

BATCH = 10
LOST_AFTER = 5
"""Seconds until a message is taken for lost: the product gives it a minute."""
Q_CLUSTER = {
    "name": "tests",
    "workers": 2,
    "timeout": 30,
    "retry": 120,
    "ack_failures": True,
    "max_attempts": 1,
    "queue_limit": 2,
    "bulk": 1,
    "poll": 0.2,
    "guard_cycle": 0.25,
}
ORM = {**Q_CLUSTER, "orm": "default"}
DISPATCHER = "ai_migration.dispatchers.django_q.DjangoQDispatcher"


@dataclass(frozen=True)
class Clusters:
    """Starts clusters and commands in a world.

    Attributes:
        world: The database and the settings.
        q_cluster: Q_CLUSTER.
        fault: What is broken in their processes; see `sabotage.FAULTS`.
    """

    world: World
    q_cluster: dict[str, Any] = field(default_factory=lambda: dict(ORM))
    fault: str = ""

    def manage(self, *arguments: str) -> str:
        """Run a command; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_job(self, entity_type: str = "article") -> str:
        """Start a job, and leave it to the cluster; its id."""
        command = ["migrate_ai_entities", entity_type, "--batch-size", str(BATCH)]
        return str(json.loads(self.manage(*command, "--detach", "--json"))["jobId"])

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A cluster, or another command; all of it is killed at the end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "django", *(command or ["qcluster"])],
            cwd=ROOT,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill_group(process)

    def _environ(self) -> dict[str, str]:
        settings = {**self.world.settings, "DISPATCHER": DISPATCHER}
        environ = self.world.database.environ(**settings)
        switches = {"fault": self.fault, "lost_after": LOST_AFTER}
        return {
            **environ,
            "Q_CLUSTER_JSON": json.dumps(self.q_cluster),
            "ACCEPTANCE_JSON": json.dumps(switches),
        }


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a cluster: main process, sentinel and workers at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def redis_broker(url: str) -> dict[str, Any]:
    """Q_CLUSTER with a Redis broker."""
    return {**Q_CLUSTER, "redis": url}


def is_over(job: str) -> bool:
    """Whether a job has ended, well or not."""
    return MigrationJob.objects.get(pk=job).is_finished


def wait_for_end(job: str) -> None:
    """Wait until a job has ended."""
    wait_until(lambda: is_over(job), "the end of the job")
