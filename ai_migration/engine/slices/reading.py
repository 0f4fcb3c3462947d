"""Reads batches ahead, on a thread of its own, while the worker's thread writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

from django.db import connections, router

from ai_migration.entities.entity import Entity
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.models import QueueEntry
from ai_migration.models.sql.apart import is_reproducible
from ai_migration.models.sql.dialects import dialect

Work = TypeVar("Work")


class ReadAhead(Generic[Work]):
    """A line of batches to be read, one after the other.

    The thread has database connections of its own, and works while this one waits for the
    database server. Without a server batches are read at once instead: SQLite runs in this
    process and passes the interpreter lock back and forth for each row, so that a second
    thread makes both slower (measured: twice). Batches are also read at once where another thread
    might read other rows than this one: its connection may differ from this one's, or the project's
    code decides which rows there are and what is in them.

    Args:
        using: Database alias of our tables.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        is_apart = dialect(using).has_server and is_reproducible(using)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="read") if is_apart else None
        self._line: deque[tuple[list[QueueEntry], Future[Work]]] = deque()

    def __enter__(self) -> ReadAhead[Work]:
        if self._executor is not None:  # connecting takes a while: meanwhile entries are claimed
            self._executor.submit(lambda: connections[self._using].ensure_connection())
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()
        if self._executor is not None:
            self._executor.submit(connections.close_all)
            self._executor.shutdown()

    def __len__(self) -> int:
        return len(self._line)

    @property
    def futures(self) -> list[Future[Work]]:
        """The batches that are being read, or wait to be."""
        return [future for _, future in self._line]

    @property
    def entries(self) -> list[list[QueueEntry]]:
        """The entries of these batches."""
        return [entries for entries, _ in self._line]

    def submit(
        self,
        entries: list[QueueEntry],
        reader: EntityReader,
        work: Callable[[Entity], Work],
        *,
        may_be_apart: bool = True,
    ) -> None:
        """Start work for entries: on the thread, or at once.

        Args:
            entries: The entries.
            reader: The reader of their entity type.
            work: Takes the entity type, as the thread has to see it.
            may_be_apart: Whether the work itself allows another thread.
        """
        executor = None if reader.runs_project_code or not may_be_apart else self._executor
        entity = reader.entity
        if executor is not None:
            entity = entity.as_routed()  # routers may look at the thread they are asked in
            aliases = {self._using, entity.source.using, router.db_for_write(entity.model)}
            if not all(map(is_reproducible, aliases)):
                executor = None
        if executor is not None:
            future = executor.submit(copy_context().run, work, entity)
        else:
            future = Future()
            try:
                future.set_result(work(entity))
            except Exception as error:
                future.set_exception(error)
        self._line.append((entries, future))

    def take_done(self) -> Iterator[tuple[list[QueueEntry], Future[Work]]]:
        """Yield the batches that were read, in the order they were started."""
        while self._line and self._line[0][1].done():
            yield self._line.popleft()

    def cancel(self) -> list[QueueEntry]:
        """Cancel what has not begun; return its entries."""
        cancelled = [(entries, future) for entries, future in self._line if future.cancel()]
        for pair in cancelled:
            self._line.remove(pair)
        return [entry for entries, _ in cancelled for entry in entries]
