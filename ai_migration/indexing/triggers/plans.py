"""The tables that triggers watch for an entity type, and the names of those triggers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from django.db import router
from django.db.models import CharField, Field, IntegerField, Model, TextField, UUIDField

from ai_migration.entities.config.schema import OperationName
from ai_migration.entities.entity import Entity
from ai_migration.entities.relations import Dependency, dependencies, own_fields
from ai_migration.exceptions import TriggersRefusedError
from ai_migration.models.sql.dialects.base import COLLECTIONS, QUEUE
from ai_migration.models.sql.triggers.base import (
    PREFIX,
    Event,
    KeyColumn,
    KeyKind,
    Triggers,
    Via,
    WatchedTable,
)

_OPERATIONS: Mapping[Event, OperationName] = {
    Event.INSERT: "create",
    Event.UPDATE: "update",
    Event.DELETE: "delete",
}
_KINDS: Mapping[type[Field[Any, Any]], KeyKind] = {
    IntegerField: KeyKind.INTEGER,
    UUIDField: KeyKind.UUID,
    CharField: KeyKind.TEXT,
    TextField: KeyKind.TEXT,
}
_NAME = re.compile(
    rf"{PREFIX}(?P<type>[a-z0-9_]*_[0-9a-f]{{8}})_(?P<definition>[0-9a-f]{{8}})_\d+[a-z]?"
)


@dataclass(frozen=True)
class TriggerPlan:
    """The triggers of one entity type.

    Attributes:
        entity_type: The entity type.
        tables: The tables they watch.
        triggers: The triggers of the database.
    """

    entity_type: str
    tables: tuple[WatchedTable, ...]
    triggers: Triggers

    @cached_property
    def definition(self) -> str:
        """What tells these triggers from those of another config."""
        quoted = {table: self.triggers.quoted(table) for table in self._places}
        return _hash("\n".join(self._statements("", quoted)))

    @property
    def names(self) -> set[str]:
        """The names of the triggers."""
        return {
            name
            for watched, beginning in self._named(self._beginning)
            for name in self.triggers.names(watched, beginning)
        }

    def statements(self) -> list[str]:
        """Return the statements that create the triggers."""
        return self._statements(self._beginning, self.triggers.places(self._places))

    def unfit(self) -> Mapping[str, str]:
        """Return the tables that cannot have triggers, each with the reason."""
        return self.triggers.unfit([watched.table for watched in self.tables])

    @property
    def identity(self) -> tuple[str, str]:
        """What :func:`parts_of` returns for each of them."""
        return identifier(self.entity_type), self.definition

    @property
    def _beginning(self) -> str:
        return f"{PREFIX}{'_'.join(self.identity)}_"

    @property
    def _places(self) -> list[str]:
        return [QUEUE, COLLECTIONS, *(table for each in self.tables for table in each.tables)]

    def _statements(self, beginning: str, places: Mapping[str, str]) -> list[str]:
        return [
            statement
            for watched, name in self._named(beginning)
            for statement in self.triggers.statements(watched, name, places)
        ]

    def _named(self, beginning: str) -> Iterator[tuple[WatchedTable, str]]:
        for number, watched in enumerate(self.tables):
            yield watched, f"{beginning}{number}"


def identifier(entity_type: str) -> str:
    """Return an entity type as the names of its triggers have it."""
    words = re.sub(r"[^a-z0-9]+", "_", entity_type.lower())[:20]
    return f"{words}_{_hash(entity_type)}"


def parts_of(name: str) -> tuple[str, str] | None:
    """Return what :func:`identifier` gave for a trigger's entity type, and its definition; None:
    the trigger is not ours."""
    match = _NAME.fullmatch(name)
    return (match["type"], match["definition"]) if match else None


def plan_of(entity: Entity, triggers: Triggers, using: str) -> TriggerPlan:
    """Return the triggers of an entity type.

    Args:
        entity: The entity type.
        triggers: Those of the database of our tables.
        using: Its alias.

    Raises:
        TriggersRefusedError: It cannot have triggers; says why.
    """
    events = {event for event, name in _OPERATIONS.items() if entity.definition.follows(name)}
    if not events:
        raise _refused(
            entity,
            "its index follows no change: 'indexable', 'auto-process', 'auto-embedding' or "
            "'crud-operations' of its config say so",
        )
    _require_here(entity, entity.model, using)
    found = list(_own_tables(entity, events))
    if entity.definition.follows("update"):
        for each in dependencies(entity):
            _require_here(entity, each.model, using)
            found += _related_tables(entity, each)
    return TriggerPlan(entity.name, tuple(dict.fromkeys(found)), triggers)


def _own_tables(entity: Entity, events: Collection[Event]) -> Iterator[WatchedTable]:
    key = entity.key.fields
    return _tables(entity, entity.model, key, own_fields(entity), events, is_own=True)


def _related_tables(entity: Entity, each: Dependency) -> Iterator[WatchedTable]:
    key = next((f for f in each.model._meta.concrete_fields if f.attname == each.key), None)
    if key is None:
        raise _refused(
            entity, f"{each.path or each.model._meta.label} is related by more than one column"
        )
    # A new row under a key of its own is read by nobody yet; one that is gone was left before.
    is_read_later = each.path and key.primary_key and not key.is_relation
    events = {Event.UPDATE} if is_read_later else set(Event)
    return _tables(entity, each.model, (key,), each.fields, events, path=each.path)


def _tables(
    entity: Entity,
    model: type[Model],
    key: Sequence[Field[Any, Any]],
    names: Collection[str] | None,
    events: Collection[Event],
    *,
    path: str = "",
    is_own: bool = False,
) -> Iterator[WatchedTable]:
    """Yield the tables of a model's rows: more than one where it inherits from others."""
    child: Any = model._meta.concrete_model
    owner: Any = key[0].model
    columns: dict[Any, list[str] | None] = {child: [], owner: []}
    for field in child._meta.concrete_fields:
        if names is None:
            columns[field.model] = None
        elif field.attname in names:
            listed = columns.setdefault(field.model, [])
            if listed is not None:
                listed.append(field.column)
    keys = tuple(_key_column(entity, field) for field in key)
    for each, read in columns.items():
        here = set(events) if each in (child, owner) else {Event.UPDATE} & set(events)
        if here:
            yield WatchedTable(
                entity_type=entity.name,
                table=each._meta.db_table,
                identity=tuple(field.column for field in each._meta.pk_fields),
                key=keys,
                is_composite=len(keys) > 1,
                columns=None if read is None else tuple(sorted(read)),
                events=frozenset(here),
                path=path,
                is_own=is_own and each is owner,
                via=None if each is owner else _via(child, owner, each),
            )


def _via(child: Any, owner: Any, other: Any) -> Via:
    """Return how the row of one table of a model leads to the row in the table of the key."""
    return Via(owner._meta.db_table, _link(child, owner, other), _link(child, other, owner))


def _link(child: Any, one: Any, other: Any) -> str:
    """Return the column of one table of a model by which it is joined to another."""
    link = child._meta.get_ancestor_link(other) if one is child else None
    return str((link or one._meta.pk).column)


def _key_column(entity: Entity, field: Any) -> KeyColumn:
    target = field
    while target.is_relation:
        target = target.target_field
    if not hasattr(target, "from_db_value"):  # it may make anything of a value
        for kind in type(target).__mro__:
            if kind in _KINDS:
                return KeyColumn(field.column, _KINDS[kind])
    raise _refused(
        entity,
        f"{field.name!r} of {field.model._meta.label} is a {type(target).__name__}, which SQL may "
        f"write in another way than an entity id has it",
    )


def _require_here(entity: Entity, model: type[Model], using: str) -> None:
    for alias in {router.db_for_write(model), entity.definition.using or using}:
        if alias != using:
            raise _refused(
                entity,
                f"the rows of {model._meta.label} are in the database {alias!r}, the queue in "
                f"{using!r}, and a trigger writes in its own only",
            )


def _refused(entity: Entity, reason: str) -> TriggersRefusedError:
    return TriggersRefusedError(entity.name, reason)


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()
