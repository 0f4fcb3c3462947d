"""Places where work is done, and what happens to them: somebody strikes, and what a host has
for such cases (systemd, cron, a health check) puts things right.

A site knows its victims by name. What it does after a strike is what docs/howto/cluster.md asks of
a host, and nothing else: no state of ours is touched.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import Protocol

import psutil
from django.db import connections

from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.queue import OPEN_ENTRIES
from ai_migration.types import EntryStatus
from tests.acceptance.clusters import BATCH, Clusters, is_over, kill_group
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World
from tests.commands import ROOT
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer

GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""
TICK = 2.0
"""Seconds from one run of cron to the next."""
UNHEALTHY = 20.0
"""Seconds without progress after which a cluster is replaced."""
LIMIT = 180.0
"""Seconds until a job that does not go on has failed. It takes a few."""


class Site(Protocol):
    """Where one job is worked for."""

    def begin(self) -> str:
        """Start the job, and the work; the job's id."""

    def strike(self, victim: str, number: signal.Signals) -> bool:
        """Send a signal to a victim, and restart what it ended. What SIGTERM has not ended
        in time gets SIGKILL; what was stopped goes on when its lease is over.

        Returns:
            Whether there was a victim; there is none when the job is over.
        """

    def tend(self) -> None:
        """What is done from time to time until the job is over."""

    def close(self) -> None:
        """End everything, so that nothing is written any more."""


class ClusterSite:
    """Clusters of django-q2 on PostgreSQL.

    Args:
        clusters: Starts them.
        postgres: The server of its world.
        redis: Its broker, if it is that.
    """

    def __init__(
        self, clusters: Clusters, postgres: PostgresServer, redis: RedisServer | None = None
    ) -> None:
        self._clusters = clusters
        self._postgres = postgres
        self._redis = redis
        self._stack = ExitStack()
        self._lease = float(clusters.world.settings["LEASE_SECONDS"])
        self._ticked = 0.0
        self._cron: subprocess.Popen[bytes] | None = None
        self._done = 0
        self._job = ""

    def begin(self) -> str:
        connections.close_all()
        self._clusters.manage("migrate", "django_q", "-v0")
        self._job = self._clusters.start_job()
        self._start_cluster()
        return self._job

    def strike(self, victim: str, number: signal.Signals) -> bool:
        processes = self._processes(victim)
        connections.close_all()
        _send(processes, number)
        if number == signal.SIGSTOP:
            self._wait_frozen(victim, processes)
            _send(processes, signal.SIGCONT)
        else:
            _end(processes)
            self._restart(victim)
        return bool(processes)

    def tend(self) -> None:
        """Cron runs the supervisor; a cluster that ended, or does nothing, is replaced."""
        now = time.monotonic()
        if now - self._ticked < TICK:
            return
        if self._cron is None or self._cron.poll() is not None:
            started = self._clusters.started("ai_migration", "supervise")
            self._cron = self._stack.enter_context(started)
        self._ticked = now
        done = MigrationJob.objects.get(pk=self._job).processed_entities
        if done != self._done:
            self._done, self._moved = done, now
        if self._cluster.poll() is not None or now - self._moved > UNHEALTHY:
            kill_group(self._cluster)
            self._start_cluster()

    def close(self) -> None:
        """The cluster ends what it has in hand; then all are killed."""
        self._cluster.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._cluster.wait(GRACE)
        self._stack.close()

    def _start_cluster(self) -> None:
        self._cluster = self._stack.enter_context(self._clusters.started())
        self._moved = time.monotonic()

    def _processes(self, victim: str) -> list[psutil.Process]:
        main = psutil.Process(self._cluster.pid)
        if victim == "database":
            return self._postgres.processes()
        if victim == "redis":
            assert self._redis is not None
            return [self._redis.process]
        if victim == "worker":
            return self._a_busy_one()
        wait_until(main.children, "a cluster that is up")
        if victim == "main":
            return [main]
        return main.children() if victim == "sentinel" else [main, *main.children(recursive=True)]

    def _a_busy_one(self) -> list[psutil.Process]:
        """A worker that has batches in hand, unless the job is over."""
        found: list[psutil.Process] = []

        def look() -> bool:
            claimed = QueueEntry.objects.filter(status=EntryStatus.CLAIMED).values("claimed_by")
            slots = WorkerSlot.objects.filter(pk__in=claimed).exclude(lease_expires_at=None)
            for holder in slots.values_list("holder", flat=True)[:1]:
                with suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(_pid(holder)))
            return bool(found) or is_over(self._job)

        wait_until(look, "a worker at work", LIMIT, self.tend)
        return found

    def _wait_frozen(self, victim: str, processes: list[psutil.Process]) -> None:
        """Until the lease is over, and others have done what the victim had in hand: unless
        it holds locks that they wait for."""
        if victim in {"database", "redis"}:
            time.sleep(self._lease + 1)
            return  # nobody can do anything
        pids = {process.pid for process in processes}
        slots = WorkerSlot.objects.exclude(lease_expires_at=None).values_list("pk", "holder")
        mine = [slot for slot, holder in slots if _pid(holder) in pids]
        in_hand = list(QueueEntry.objects.filter(claimed_by__in=mine, status=EntryStatus.CLAIMED))
        if victim == "group":
            self._start_cluster()
        time.sleep(self._lease + 1)
        entries = QueueEntry.objects.filter(pk__in=[entry.pk for entry in in_hand])
        ends = time.monotonic() + 2 * GRACE
        while time.monotonic() < ends and entries.filter(status__in=OPEN_ENTRIES).exists():
            self.tend()
            time.sleep(0.1)

    def _restart(self, victim: str) -> None:
        if victim == "database":
            self._postgres.restart()
        elif victim == "redis":
            assert self._redis is not None
            self._redis.start()
        elif victim != "worker":
            self._start_cluster()


class ForegroundSite:
    """The foreground command on SQLite, and a worker beside it while it is frozen.

    Args:
        world: Where.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._stack = ExitStack()
        self._job = ""

    def begin(self) -> str:
        connections.close_all()
        self._process = self._start(
            "migrate_ai_entities", "article", "--batch-size", str(BATCH), "--noinput"
        )
        wait_until(MigrationJob.objects.exists, "a job")
        self._job = str(MigrationJob.objects.values_list("pk", flat=True).get())
        return self._job

    def strike(self, victim: str, number: signal.Signals) -> bool:
        wait_until(self._is_working, "somebody at work", meanwhile=self.tend)
        processes = [psutil.Process(self._process.pid)]
        _send(processes, number)
        if number == signal.SIGSTOP:
            self._start("ai_migration", "worker", "--until-idle")
            time.sleep(float(self._world.settings["LEASE_SECONDS"]) + 2)
            _send(processes, signal.SIGCONT)
        else:
            _end(processes)
        return True

    def tend(self) -> None:
        if self._process.poll() is not None and not is_over(self._job):
            self._process = self._start("migrate_ai_entities", "--resume", self._job)

    def close(self) -> None:
        self._stack.close()

    def _is_working(self) -> bool:
        return is_over(self._job) or WorkerSlot.objects.exclude(lease_expires_at=None).exists()

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "django", *command],
                cwd=ROOT,
                env=self._world.database.environ(**self._world.settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        self._stack.callback(process.kill)
        return process


def _pid(holder: str) -> int:
    """The process that holds a slot."""
    return int(holder.rpartition(":")[2])


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _end(processes: list[psutil.Process]) -> None:
    """Wait for processes that got a signal; kill those that stay."""
    _, alive = psutil.wait_procs(processes, timeout=GRACE)
    _send(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=GRACE)
