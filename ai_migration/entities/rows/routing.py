"""Which database rows and their relations are read from, where routers send reads to a replica."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import router
from django.db.models import Model

_is_pinned = ContextVar("ai_migration_reads_where_written", default=False)


class ReadsWhereWritten:
    """A database router, put before those of ``DATABASE_ROUTERS``: it decides nothing, except
    within :func:`reads_where_written`."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Where the model is written, while reads are pinned."""
        return router.db_for_write(model, **hints) if _is_pinned.get() else None


@contextmanager
def reads_where_written() -> Iterator[None]:
    """Within the block, queries that name no database run where their model is written.

    A property of a row that follows a relation would else read it from a replica: an older
    value than the index may have, kept as if it were the newest.
    """
    token = _is_pinned.set(True)
    try:
        yield
    finally:
        _is_pinned.reset(token)


def install() -> None:
    """Let :func:`reads_where_written` have the first word in this process; twice is once."""
    routers: list[Any] = router.routers
    if not any(isinstance(each, ReadsWhereWritten) for each in routers):
        routers.insert(0, ReadsWhereWritten())
