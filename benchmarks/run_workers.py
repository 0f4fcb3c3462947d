"""One timed run of a job by worker processes: prints what it measured as JSON.

The time is from the first claim to the end of the job, by the database's clock: start-up of
the processes is not part of it. ``slots.py`` and ``providers.py`` call this.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from harness import MANAGE

DEADLINE = 600.0
"""Seconds to wait for anything."""


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("worker", "cluster", "pauses"))
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--pauses", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop then, though the job is not done")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
    import django

    django.setup()
    if options.what == "cluster":
        _manage("migrate", "django_q", "-v0")
    job = _start(options.batch_size)
    command = ["qcluster"] if options.what == "cluster" else ["ai_migration", "worker"]
    processes = 1 if options.what == "cluster" else options.slots
    with _running(command, processes):
        pauses = _pause_again_and_again(job, options.pauses)
        if options.seconds:
            time.sleep(options.seconds)
        else:
            _wait_for(lambda: _status(job) == "COMPLETED")
    print(json.dumps({**_measured(job), "pauses": pauses}))


def _start(batch_size: int) -> str:
    from ai_migration import MigrationRequest, migration_service

    return migration_service.start_migration(
        MigrationRequest(entity_type="product", batch_size=batch_size)
    ).pk


def _measured(job_id: str) -> dict[str, Any]:
    from django.db.models import Min

    from ai_migration.models import MigrationJob

    job = MigrationJob.objects.get(pk=job_id)
    if job.failed_entities:
        sys.exit(f"{job.failed_entities} rows failed")
    began = job.entries.aggregate(began=Min("claimed_at"))["began"]
    seconds = ((job.completed_at or job.last_updated_at) - began).total_seconds()
    return {
        "rows": job.processed_entities,
        "seconds": seconds,
        "wal_bytes": 0,
        "peak_memory": 0,
    }


def _pause_again_and_again(job: str, times: int) -> list[float]:
    """Seconds from each pause to the last write after it; 0.0 where there was none."""
    from ai_migration import migration_service

    rng = random.Random(1)
    found = []
    _wait_for(lambda: _processed(job) > 0)
    for _ in range(times):
        time.sleep(rng.uniform(0.3, 1.0))
        if _status(job) != "RUNNING":
            break
        migration_service.pause_migration(job)
        paused = last = time.perf_counter()
        before = _processed(job)
        while time.perf_counter() - last < 1.0:  # so long nothing was written: nothing more is
            now = _processed(job)
            if now != before:
                before, last = now, time.perf_counter()
            time.sleep(0.002)
        found.append(last - paused)
        migration_service.resume_migration(job)
    return found


def _processed(job: str) -> int:
    from ai_migration import migration_service

    return migration_service.get_job(job).processed_entities


def _status(job: str) -> str:
    from ai_migration import migration_service

    return str(migration_service.get_job(job).status)


def _wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > ends:
            sys.exit("Nothing happens")
        time.sleep(0.05)


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, str(MANAGE), *arguments], check=True, stdout=sys.stderr)


@contextmanager
def _running(command: list[str], processes: int) -> Iterator[None]:
    """A number of processes of a command, each in a group of its own."""
    started = [
        subprocess.Popen(
            [sys.executable, str(MANAGE), *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
