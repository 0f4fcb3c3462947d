"""Connections of other threads: whether they can do what this thread's connection does.

In Django each thread has its own connections. What was set on a session (a search path, a role, a
setting that policies read), what a backend keeps with it (a tenant) and what the project attaches
to it belong to this thread alone, and cannot be looked up to be copied. So another thread is used
only where there is nothing to copy; otherwise the work is done in this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import ReferenceType

from django.db import connections
from django.db.backends.signals import connection_created

CONNECTIONS = 3
"""Connections a worker has open at once, at most: its own, one of the thread that reads ahead,
and one of the thread that builds an index."""

_DJANGOS = ("django.db.backends.", "django.contrib.gis.db.backends.")
_DEFAULT_POOL = 4
"""The default ``min_size`` of psycopg's pool, and so of ``max_size``."""

_are_own = ContextVar("ai_migration_own_sessions", default=False)


@contextmanager
def own_sessions() -> Iterator[None]:
    """Note that the sessions of this thread are as they were opened, if none is open yet. A worker
    begins with it; it holds within the block."""
    is_unused = all(each.connection is None for each in connections.all(initialized_only=True))
    token = _are_own.set(_are_own.get() or is_unused)
    try:
        yield
    finally:
        _are_own.reset(token)


def is_reproducible(using: str) -> bool:
    """Return whether a connection opened by another thread is certain to find and do what this
    thread's does.

    Args:
        using: Database alias.
    """
    connection = connections[using]
    return (
        _are_own.get()
        and not connection.in_atomic_block
        and is_djangos(type(connection))
        and all(map(_is_ours, connection.execute_wrappers))
        and not _tells_sessions()
    )


def is_djangos(backend: type) -> bool:
    """Return whether a class of connections is Django's own. Others may keep state that is unknown
    here."""
    return backend.__module__.startswith(_DJANGOS)


def pool_size(using: str) -> int | None:
    """Return the size of a database's connection pool; None: it has no pool."""
    pool = connections[using].settings_dict.get("OPTIONS", {}).get("pool")
    if not pool:
        return None
    options = pool if isinstance(pool, dict) else {}
    return int(options.get("max_size") or options.get("min_size", _DEFAULT_POOL))


def _is_ours(wrapper: object) -> bool:
    return type(wrapper).__module__.startswith("ai_migration.")


def _tells_sessions() -> bool:
    """Return whether anything but Django listens for new connections, to set something on them."""
    for _, receiver, *_ in connection_created.receivers:
        found = receiver() if isinstance(receiver, ReferenceType) else receiver
        if found is not None and not found.__module__.startswith("django."):
            return True
    return False
