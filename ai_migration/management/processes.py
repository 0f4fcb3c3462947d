"""Several workers on one machine: a process each, supervised by this one.

Nothing of Django's models is imported here at the top: a new process imports this module
before its app registry is ready.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import time
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

_Counts: TypeAlias = "ctypes.Array[ctypes.c_longlong]"

logger = logging.getLogger("ai_migration")

_LOOK_EVERY = 0.2
_RESTART_AFTER = 1.0


def run_processes(slots: int, *, should_stop: Callable[[], bool], until_idle: bool) -> int:
    """Work in several processes until told to stop; one that dies is started again.

    Args:
        slots: The number of processes.
        should_stop: Called often; True ends each of them after its requests in flight.
        until_idle: Also end when each of them has found nothing to claim.

    Returns:
        The number of batches they wrote.
    """
    batches: _Counts = get_context("spawn").RawArray(ctypes.c_longlong, slots)
    working = {number: _start(number, batches, until_idle) for number in range(slots)}
    try:
        while working and not should_stop():
            connection.wait([process.sentinel for process in working.values()], _LOOK_EVERY)
            for number, process in list(working.items()):
                if process.exitcode is None:
                    continue
                del working[number]
                if process.exitcode or not until_idle:
                    logger.warning(
                        "Worker process %s ended with %s; another takes its place",
                        process.pid,
                        process.exitcode,
                    )
                    time.sleep(_RESTART_AFTER)
                    working[number] = _start(number, batches, until_idle)
    finally:
        for process in working.values():
            process.terminate()
        for process in working.values():
            process.join()
    return sum(batches)


def _start(number: int, batches: _Counts, until_idle: bool) -> SpawnProcess:
    arguments = (number, batches, until_idle, _schema())
    process = get_context("spawn").Process(target=_work, args=arguments)
    # A terminal's Ctrl-C reaches all processes; they shall hear of it from this one only.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _schema() -> str | None:
    """Return the schema this process works for, which the others take over."""
    from ai_migration.models.leases import our_database
    from ai_migration.models.sql.tenants import schema_of

    return schema_of(our_database())


def _work(number: int, batches: _Counts, until_idle: bool, schema: str | None) -> None:
    """Work in a new process, until the one that started it is gone."""
    import django

    django.setup()
    from django.db import connections

    from ai_migration.engine.slices.slice import SliceReport
    from ai_migration.engine.worker import run_worker, settle_in
    from ai_migration.management.foreground import Interrupt
    from ai_migration.models.leases import our_database
    from ai_migration.models.sql import tenants

    parent = parent_process()
    assert parent is not None
    interrupt = Interrupt()

    def count(report: SliceReport) -> None:
        batches[number] += report.batches

    with interrupt.caught():
        tenants.choose(our_database(), schema)
        connections.close_all()
        settle_in()
        run_worker(
            should_stop=lambda: interrupt.signal is not None or not parent.is_alive(),
            until_idle=until_idle,
            on_slice=count,
        )
