"""Locks: of workers that froze within a transaction, and of two that want the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import F

from ai_migration import migration_service
from ai_migration.engine.slices import finishing
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.exceptions import InvalidTransitionError
from ai_migration.jobs.feed import collections
from ai_migration.models import WorkerSlot
from ai_migration.models.leases import lock, our_database
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
from tests.integration.support import (
    Project,
    assert_in_line,
    finish,
    lease,
    make_articles,
    progress,
    run,
    start,
)

pytestmark = pytest.mark.vendors("postgresql")


def until(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It never happens")


@contextmanager
def frozen(first: Callable[[], None]) -> Iterator[None]:
    """Somebody who stands still after the first statement of a transaction."""
    stands, moves = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with suppress(DatabaseError), transaction.atomic():
                first()
                stands.set()
                moves.wait()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        stands.wait()
        yield
    finally:
        moves.set()
        thread.join()


def give_up_after(seconds: int) -> None:
    """Fail instead of waiting for ever."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{seconds}s'")


def waiting_for_locks() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_tick_passes_over_a_worker_that_is_frozen_in_a_transaction(
    database: FreshDatabase,
) -> None:
    """Its lease ran out, and the row of its slot is locked."""
    dead, held = lease("dead"), lease("frozen")
    WorkerSlot.objects.update(lease_expires_at=F("lease_expires_at") - timedelta(hours=1))
    give_up_after(2)
    with frozen(held.renew):
        tick()
    assert WorkerSlot.objects.get(pk=dead.slot_id).lease_expires_at is None


@pytest.mark.parametrize("mutex", ["scheduler", "slots"])
def test_a_mutex_is_taken_from_whoever_is_frozen(project: Project, mutex: str) -> None:
    project.set(LEASE_SECONDS=1.0)
    give_up_after(20)
    with frozen(partial(lock, mutex, our_database())), transaction.atomic():
        lock(mutex, our_database())


def test_a_cancel_in_the_moment_a_rebuild_ends_waits_for_its_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lock the job and its collection: in one order, or they would never get there."""
    make_articles(3)
    run()
    job = start(rebuild=True)
    answers: list[Exception | None] = []

    def cancel() -> None:
        try:
            migration_service.cancel_migration(job.pk)
            answers.append(None)
        except Exception as error:
            answers.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=cancel)
    activate = collections.activate

    def activated(*arguments: object) -> None:
        activate(*arguments)  # type: ignore[arg-type]
        thread.start()
        until(waiting_for_locks)

    monkeypatch.setattr(finishing, "activate", activated)
    assert finish(job).status == JobStatus.COMPLETED
    thread.join()
    [answer] = answers
    assert isinstance(answer, InvalidTransitionError), answer
    assert progress(job).status == JobStatus.COMPLETED
    assert_in_line()
