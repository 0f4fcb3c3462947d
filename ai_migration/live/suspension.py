"""Suspends the record of live changes, for imports that a migration follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ai_migration.entities import registry

_ALL = "*"
_suspended: ContextVar[frozenset[str]] = ContextVar("ai_migration_suspended", default=frozenset())


@contextmanager
def suspend_sync(*entity_types: str) -> Iterator[None]:
    """Within the block, record no live changes: for an import whose rows a migration indexes
    afterwards. Blocks can be nested; it holds for this thread or task alone, and not for database
    triggers.

    Args:
        entity_types: The entity types; none: all of them.

    Raises:
        UnknownEntityTypeError: No such entity type.
    """
    for name in entity_types:
        registry.get(name)
    token = _suspended.set(_suspended.get() | (frozenset(entity_types) or {_ALL}))
    try:
        yield
    finally:
        _suspended.reset(token)


def is_suspended(entity_type: str) -> bool:
    """Return whether changes of an entity type are not recorded here and now."""
    suspended = _suspended.get()
    return bool(suspended) and (_ALL in suspended or entity_type in suspended)
