"""Whether the triggers of an entity type are there: asked with each save, looked up seldom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from django.core.signals import setting_changed
from django.db import Error

from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.resolving import examine_entity
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.triggers.plans import identifier, parts_of, plan_of
from ai_migration.models.leases import our_database
from ai_migration.models.sql.tenants import schema_of
from ai_migration.models.sql.triggers import triggers_of

LOOK_AGAIN = 60.0
"""Seconds until triggers are looked for again: another process may have installed some."""
LOOK_AGAIN_STANDING = 10.0
"""The same where there are some: it may have removed them, and then nobody records."""

_known: dict[tuple[str, str | None], tuple[float, frozenset[str]]] = {}
"""When they were looked for, and the entity types that have all of theirs, by database alias and
schema."""


def installed(entity_type: str, using: str) -> bool:
    """Return whether triggers put all changes of an entity type in the queue, as its present config
    wants it: then nothing else need.

    Args:
        entity_type: The entity type.
        using: Alias of the database in which rows are changed.
    """
    if using != our_database():
        return False
    key = (using, schema_of(using))
    looked, types = _known.get(key, (float("-inf"), frozenset()))
    if time.monotonic() - looked > (LOOK_AGAIN_STANDING if types else LOOK_AGAIN):
        types = frozenset(_complete(using))
        _known[key] = (time.monotonic(), types)
    return entity_type in types


def forget(**_: object) -> None:
    """Look for triggers again."""
    _known.clear()


def _complete(using: str) -> Iterator[str]:
    """Yield the entity types that have the triggers of their present config."""
    triggers = triggers_of(using)
    active: set[str] = set()
    if triggers is not None:
        with suppress(Error):  # a save never fails because of this
            active = {each.name for each in triggers.found() if each.is_active}
    present = {parts[0] for name in active if (parts := parts_of(name))}
    if not present or triggers is None:
        return
    for name, definition in registry.discover().definitions.items():
        if definition.model and identifier(name) in present:
            entity = examine_entity(definition)
            with suppress(AIMigrationError):
                if isinstance(entity, Entity) and plan_of(entity, triggers, using).names <= active:
                    yield name


setting_changed.connect(forget, dispatch_uid="ai_migration.triggers")
