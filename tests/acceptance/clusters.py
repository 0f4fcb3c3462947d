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

import psutil

from tests.acceptance.victims import TIMEOUT
from tests.acceptance.worlds import World
from tests.commands import ROOT

Q_CLUSTER = {
    "name": "tests",
    "orm": "default",
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
DISPATCHER = "ai_migration.dispatchers.django_q.DjangoQDispatcher"


@dataclass(frozen=True)
class Clusters:
    """Starts clusters and commands in a world.

    Attributes:
        world: The database and the settings.
        q_cluster: Q_CLUSTER.
    """

    world: World
    q_cluster: dict[str, Any] = field(default_factory=lambda: dict(Q_CLUSTER))

    def manage(self, *arguments: str) -> str:
        """Run a command; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """A cluster; all of it is killed at the end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"],
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
        return {**environ, "Q_CLUSTER_JSON": json.dumps(self.q_cluster)}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a cluster: main process, sentinel and workers at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of a cluster below its main one."""
    return psutil.Process(process.pid).children(recursive=True)
