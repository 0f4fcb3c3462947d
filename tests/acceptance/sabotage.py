"""What a test does to a process it is about to kill: crash points, and faults put into the
code, to show that the comparison sees them. Nothing of it is reachable from the product."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from types import FrameType
from typing import Any
from unittest import mock

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from ai_migration.models.sql import apart

PLACES = {
    *("start_migration", "tick", "take_slot", "feed", "claim", "read_batch", "embed"),
    *("write_batch", "finish_job", "release"),
}
"""Functions a crash point is named after: the innermost that is running."""


class CrashPoints:
    """Counts the instants between what a process does to its databases, and sends the
    process a signal at the one it is told.

    Args:
        at: The instant, counted from 1; 0: never.
        place: Only instants of this place count; empty: all.
        signal: SIGKILL, or SIGSTOP to freeze there.
    """

    def __init__(
        self, at: int = 0, place: str = "", signal: signal.Signals = signal.SIGKILL
    ) -> None:
        self.at = at
        self.place = place
        self.signal = signal
        self.seen: list[str] = []
        self._counted = 0

    def reach(self, what: str) -> None:
        """An instant: die here, or note it and go on."""
        place = _place()
        self.seen.append(f"{place}: {what}")
        self._counted += self.place in ("", place)
        if self._counted == self.at and self.place in ("", place):
            os.kill(os.getpid(), self.signal)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Reach a point before each statement, before each commit and after it."""
        global _points
        commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

        def watched_commit(connection: BaseDatabaseWrapper) -> None:
            self.reach("before COMMIT")
            commit(connection)
            self.reach("after COMMIT")

        def execute(run: Callable[..., Any], sql: str, *arguments: Any) -> Any:
            self.reach(str(sql))
            return run(sql, *arguments)

        def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
            if execute not in connection.execute_wrappers:
                connection.execute_wrappers.append(execute)

        connection_created.connect(watch)
        _points = self
        try:
            with (
                mock.patch.object(BaseDatabaseWrapper, "_commit", watched_commit),
                # Who watches does not make sessions differ: rows are read as without it.
                mock.patch.object(apart, "_tells_sessions", return_value=False),
                mock.patch.object(apart, "_is_ours", return_value=True),
            ):
                yield
        finally:
            _points = None
            connection_created.disconnect(watch)


_points: CrashPoints | None = None


def point(what: str) -> None:
    """An instant outside the database."""
    if _points is not None:
        _points.reach(what)


def _place() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in PLACES:
            return frame.f_code.co_name
        frame = frame.f_back
    return "elsewhere"


# Faults


@contextmanager
def no_fence() -> Iterator[None]:
    """Writes no longer ask whether the lease and the entries are still the writer's."""
    from ai_migration.indexing import queue
    from ai_migration.models import QueueEntry
    from ai_migration.models.leases import Lease

    def owned(lease: Lease, entry_ids: Sequence[int]) -> Any:
        return QueueEntry.objects.using(lease.using).filter(pk__in=entry_ids)

    with (
        mock.patch.object(queue, "owned", owned),
        mock.patch.object(Lease, "renew"),
    ):
        yield


@contextmanager
def no_transaction() -> Iterator[None]:
    """The statements that write a batch commit one by one."""
    from ai_migration.indexing import writing

    with mock.patch.object(writing, "transaction", mock.Mock(atomic=lambda **_: nullcontext())):
        yield


@contextmanager
def vectors_afterwards(seconds: float = 0.0) -> Iterator[None]:
    """The vectors leave the transaction of the ledger: they are written after it.

    Args:
        seconds: How long after it.
    """
    from ai_migration.indexing import writing

    write = writing._write_vectors

    def write_later(outcome: Any, newer: set[str]) -> None:
        using = outcome.plan.target.store.using

        def write_now() -> None:
            time.sleep(seconds)
            write(outcome, newer)

        transaction.on_commit(write_now, using=using)

    with mock.patch.object(writing, "_write_vectors", write_later):
        yield


FAULTS: dict[str, Callable[[], Any]] = {
    "": nullcontext,
    "no fence": no_fence,
    "no transaction": no_transaction,
    "vectors afterwards": vectors_afterwards,
    "vectors long afterwards": partial(vectors_afterwards, 1.0),
}
