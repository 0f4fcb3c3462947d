"""Reads rows and their relations where they are written, if routers send reads to a replica."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import router
from django.db.models import Model

_is_pinned = ContextVar("ai_migration_reads_where_written", default=False)


class ReadsWhereWritten:
    """A database router before those of ``DATABASE_ROUTERS``, which decides only within
    :func:`reads_where_written`."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the database the model is written to, while reads are pinned."""
        return router.db_for_write(model, **hints) if _is_pinned.get() else None


@contextmanager
def reads_where_written() -> Iterator[None]:
    """Within the block, queries that name no database run where their model is written.

    Otherwise, a property of a row that follows a relation would read it from a replica: perhaps an
    older value than the index has, kept as if it were the newest.
    """
    token = _is_pinned.set(True)
    try:
        yield
    finally:
        _is_pinned.reset(token)


def install() -> None:
    """Put the router of :func:`reads_where_written` first in this process; may be called again."""
    routers: list[Any] = router.routers
    if not any(isinstance(each, ReadsWhereWritten) for each in routers):
        routers.insert(0, ReadsWhereWritten())
