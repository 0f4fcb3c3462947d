"""Worker processes to be killed, forked from a server that has Django ready: real
processes and real kills, without the half second it takes to start one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

TIMEOUT = 60.0
"""Seconds to wait for anything; generous, because nothing here is timed."""
_LOOK_EVERY = 0.01

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.acceptance.prepared"])


@dataclass(frozen=True)
class Orders:
    """What a victim does.

    Attributes:
        url: The database `default`.
        other_url: The database `other`.
        settings: AI_MIGRATION.
        start: Keyword arguments of the MigrationRequest to start first; None: only work.
        crash_at: The instant it gets the signal at, counted from 1; 0: never.
        place: Only instants of this place count; empty: all.
        signal: Which signal.
        fault: What is broken in it; see `sabotage.FAULTS`.
        listing: Where the instants it went through are written.
    """

    url: str
    other_url: str
    settings: dict[str, Any]
    start: dict[str, Any] | None = None
    crash_at: int = 0
    place: str = ""
    signal: signal.Signals = signal.SIGKILL
    fault: str = ""
    listing: Path | None = None


def run(orders: Orders) -> int | None:
    """Carry orders out in a process of its own; its exit code, -9 when it was killed."""
    with started(orders) as process:
        process.join(TIMEOUT)
        return process.exitcode


@contextmanager
def started(orders: Orders) -> Iterator[ForkServerProcess]:
    """A process that carries orders out; killed at the end at the latest."""
    process = _context.Process(target=_obey, args=(orders,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_until(
    condition: Callable[[], object],
    what: str,
    limit: float = TIMEOUT,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait for a condition, and fail when it does not come. What counts is how often it was
    looked at: a machine that stands still for a minute makes nobody late."""
    for _ in range(round(limit / _LOOK_EVERY)):
        if condition():
            return
        meanwhile()
        time.sleep(_LOOK_EVERY)
    raise AssertionError(f"waited in vain: {what}")


def is_frozen(process: ForkServerProcess) -> bool:
    """Whether the process was stopped with SIGSTOP."""
    assert process.pid is not None
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def work(start: dict[str, Any] | None) -> None:
    """Start a migration, if asked to, and work until nothing is left."""
    from ai_migration import MigrationRequest, migration_service
    from ai_migration.engine.worker import run_worker

    if start is not None:
        migration_service.start_migration(MigrationRequest(**start))
    run_worker(should_stop=lambda: False, until_idle=True)


def _obey(orders: Orders) -> None:
    from django.conf import settings

    from tests.acceptance.sabotage import FAULTS, CrashPoints
    from tests.databases import _connected

    settings.AI_MIGRATION = orders.settings
    points = CrashPoints(orders.crash_at, orders.place, orders.signal)
    with (
        _connected(orders.url, orders.other_url),
        points.watching(),
        FAULTS[orders.fault](),
    ):
        work(orders.start)
    if orders.listing is not None:
        orders.listing.write_text("\n".join(line.replace("\n", " ") for line in points.seen))
    os._exit(0)
