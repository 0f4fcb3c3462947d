"""Comparisons of verifies, two at a time, beside the thread that claims and writes.

A comparison waits for rows of the source, of the ledger and of the store: meanwhile the other one
computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial

from ai_migration.engine.slices.reading import ReadAhead
from ai_migration.engine.slices.verifying import Part, compare
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.sql.apart import is_reproducible
from ai_migration.stores import stores


class Comparisons:
    """Claimed entries that wait, and those that are compared.

    Args:
        using: Database alias of our tables.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._lines = (ReadAhead[Part](using), ReadAhead[Part](using))
        self._waiting: deque[tuple[QueueEntry, MigrationJob, EntityReader]] = deque()

    def __enter__(self) -> Comparisons:
        return self

    def __exit__(self, *exc: object) -> None:
        for line in self._lines:
            line.__exit__(*exc)

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._lines))

    @property
    def futures(self) -> list[Future[Part]]:
        """What is being compared."""
        return [future for line in self._lines for future in line.futures]

    def add(self, entry: QueueEntry, job: MigrationJob, reader: EntityReader) -> None:
        """Let an entry wait for its turn."""
        self._waiting.append((entry, job, reader))

    def go_on(self, is_wanted: Callable[[str], bool]) -> list[QueueEntry]:
        """Begin with what waits, as far as there is room.

        Args:
            is_wanted: Whether a job is still running.

        Returns:
            The entries of jobs that are not, to be requeued.
        """
        dropped = []
        for line in self._lines:
            while self._waiting and not line:
                entry, job, reader = self._waiting.popleft()
                if not is_wanted(job.pk):
                    dropped.append(entry)
                    continue
                # Stores of others need not bear two threads; a database has a connection for each.
                alias = getattr(stores[job.collection.store], "using", None)
                line.submit(
                    [entry],
                    reader,
                    partial(compare, entry, job, reader, using=self._using),
                    may_be_apart=alias is not None and is_reproducible(alias),
                )
        return dropped

    def take_done(self) -> Iterator[tuple[QueueEntry, Future[Part]]]:
        """Yield what was compared."""
        for line in self._lines:
            for [entry], future in line.take_done():
                yield entry, future

    def cancel(self) -> list[QueueEntry]:
        """Cancel what has not begun; return its entries."""
        entries = [entry for entry, _, _ in self._waiting]
        self._waiting.clear()
        return entries + [entry for line in self._lines for entry in line.cancel()]
