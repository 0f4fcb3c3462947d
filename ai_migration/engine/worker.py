"""A worker: takes a slot and runs slice after slice."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Collection
from functools import partial

from django.db import connections

from ai_migration.engine.holders import holder_name
from ai_migration.engine.readiness import require_ready
from ai_migration.engine.slices.slice import Slice, SliceReport
from ai_migration.engine.upkeep.indexes import IndexBuilder
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.engine.upkeep.sweeps import sweep
from ai_migration.exceptions import OwnershipLostError
from ai_migration.indexing.queue import live_is_due
from ai_migration.models.leases import Lease, acquire
from ai_migration.models.sql.apart import own_sessions
from ai_migration.models.sql.outages import UNAVAILABLE, is_outage

logger = logging.getLogger("ai_migration")

MAX_SLOTS = 1000
_IDLE_SECONDS = 1.0
"""The longest time between two rounds of a worker without work."""
_LOOK_EVERY = 0.2
"""Seconds between its looks for live changes meanwhile: one query each."""
_RECONNECT_SECONDS = 2.0


def run_worker(
    *,
    should_stop: Callable[[], bool],
    only_jobs: Collection[str] | None = None,
    only_live: bool = False,
    until_idle: bool = False,
    name: str = "worker",
    on_slice: Callable[[SliceReport], None] = lambda report: None,
) -> None:
    """Work until told to stop. Outlives a restart of the database.

    Args:
        should_stop: Called often; True ends the work after the requests in flight.
        only_jobs: Work for these jobs only.
        only_live: Index live changes only.
        until_idle: Also end when there is nothing to claim now: entries that wait for a job that is
            not RUNNING, for a retry or for a limit are left.
        name: Name of the slot; a number is added.
        on_slice: Called after each slice.

    Raises:
        TenantError: The connection is in a schema that our tables are not in.
        SettingsError: A pool gives fewer connections than a worker needs.
    """
    with own_sessions():
        require_ready()
        make_slice = partial(
            Slice, should_stop=should_stop, only_jobs=only_jobs, only_live=only_live
        )
        is_complete = only_jobs is None and not only_live
        _work(should_stop, make_slice, is_complete, until_idle, name, on_slice)


def _work(
    should_stop: Callable[[], bool],
    make_slice: Callable[[Lease], Slice],
    is_complete: bool,
    until_idle: bool,
    name: str,
    on_slice: Callable[[SliceReport], None],
) -> None:
    lease: Lease | None = None
    broken: Lease | None = None
    builder = IndexBuilder()
    was_called = False  # by a live change
    try:
        while not should_stop():
            try:
                if broken is not None:  # its claimed entries need not wait for the lease
                    broken.release()
                    broken = None
                tick()
                if is_complete:
                    builder.look()
                    sweep(at_most_every=60.0)
                lease = lease or take_slot(name)
                report = make_slice(lease).run()
            except OwnershipLostError as error:
                logger.warning("%s", error)
                lease = None
                continue
            except UNAVAILABLE as error:
                words = "does not answer" if is_outage(error) else "refuses"
                logger.warning("The database %s; trying again: %s", words, error)
                connections.close_all()
                broken, lease = lease or broken, None
                _sleep(_RECONNECT_SECONDS, should_stop)
                continue
            on_slice(report)
            if report.is_idle and until_idle:
                builder.wait(should_stop)
                return
            if report.is_idle or not report.batches:
                seconds = min(report.wait or _IDLE_SECONDS, _IDLE_SECONDS)
                # One it could not take is locked, as until its transaction ends.
                watches = is_complete and (report.batches or not was_called)
                was_called = _rest(seconds, should_stop, lease.using if watches else None)
    finally:
        if lease is not None:
            release(lease)


def _rest(seconds: float, should_stop: Callable[[], bool], using: str | None) -> bool:
    """Wait until the next round, or until a live change can be claimed; return whether one can.

    Args:
        seconds: Until the next round.
        should_stop: Called often; True ends the rest.
        using: Database alias of the queue; None: look for no live changes.
    """
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not should_stop():
        _sleep(min(left, _LOOK_EVERY), should_stop)
        try:
            if using is not None and live_is_due(using):
                return True
        except UNAVAILABLE:
            return False  # the next round deals with it
    return False


def settle_in() -> None:
    """Prepare a process that only works: the garbage collector need not examine what is loaded by
    now again and again. (A tenth of the time of a run that finds nothing to do.)"""
    gc.collect()
    gc.freeze()


def take_slot(name: str) -> Lease:
    """Take the first free slot of that name: ``worker-1``, ``worker-2``, …

    Raises:
        OwnershipLostError: All of them are taken.
    """
    holder = holder_name()
    for number in range(1, MAX_SLOTS + 1):
        lease = acquire(f"{name}-{number}", holder)
        if lease is not None:
            return lease
    raise OwnershipLostError(f"All {MAX_SLOTS} slots called {name!r} are taken")


def release(lease: Lease) -> None:
    """Release the slot; if the database does not answer, the lease runs out by itself."""
    try:
        lease.release()
    except UNAVAILABLE:
        logger.warning("The worker slot could not be released; its lease runs out by itself")


def _sleep(seconds: float, should_stop: Callable[[], bool]) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not should_stop():
        time.sleep(min(0.1, max(0.0, ends - time.monotonic())))
