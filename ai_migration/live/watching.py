"""What each model's changes mean to the index: found once, so that a save asks nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.apps import apps
from django.db.models import Model

from ai_migration.entities import registry
from ai_migration.entities.config.schema import Operation
from ai_migration.entities.entity import Entity
from ai_migration.entities.relations import Dependency, dependencies, names_of, own_fields
from ai_migration.entities.resolving import examine_entity
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.outbox import Change
from ai_migration.indexing.triggers.standing import installed
from ai_migration.live.suspension import is_suspended


@dataclass(frozen=True)
class Own:
    """An entity type whose rows a model has.

    Attributes:
        entity: The entity type.
        key: Attribute of an instance that is the entity's primary key.
        fields: Names of the fields that matter; None: any may.
    """

    entity: Entity
    key: str
    fields: frozenset[str] | None

    def change(self, instance: Model) -> Change:
        """Return the change of an instance."""
        return Change(self.entity.name, self.entity.key.to_entity_id(getattr(instance, self.key)))

    def follows(
        self, operation: Operation, using: str, update_fields: Iterable[str] | None = None
    ) -> bool:
        """Return whether an operation on some of the fields (default: all) is recorded here, and
        not by a trigger of the database it is made in."""
        return _follows(self.entity, self.fields, operation, using, update_fields)


@dataclass(frozen=True)
class Related:
    """An entity type that reads rows of a model.

    Attributes:
        entity: The entity type.
        dependency: What it reads of them.
        fields: Names of the fields that matter, as ``update_fields`` has them; None: any may.
    """

    entity: Entity
    dependency: Dependency
    fields: frozenset[str] | None

    def changes(self, values: Iterable[object]) -> list[Change]:
        """Return the changes of rows with these values of the key; None is read by no entity."""
        path = self.dependency.path
        return [
            Change(
                self.entity.name, str(value) if path else self.entity.key.to_entity_id(value), path
            )
            for value in dict.fromkeys(values)
            if value is not None
        ]

    def follows(self, using: str, update_fields: Iterable[str] | None = None) -> bool:
        """Return whether a change of some of the fields (default: all) is recorded here, and not by
        a trigger of the database it is made in."""
        return _follows(self.entity, self.fields, "update", using, update_fields)


@dataclass(frozen=True)
class Watch:
    """What the changes of one model mean."""

    own: Sequence[Own] = ()
    related: Sequence[Related] = ()


@dataclass
class _Found:
    own: list[Own] = field(default_factory=list)
    related: list[Related] = field(default_factory=list)


def watches() -> dict[type[Model], Watch]:
    """Return the models whose changes matter, with what they mean. Entity types with faults are
    left out: the system checks report them. No query is made."""
    found: dict[type[Model], _Found] = defaultdict(_Found)
    models = list(apps.get_models(include_auto_created=True))
    for entity in _entities():
        fields = names_of(entity.model, own_fields(entity))
        for model in models:
            if (key := _key_in(model, entity.model)) is not None:
                found[model].own.append(Own(entity, key, fields))
        for each in dependencies(entity):
            for model in models:
                if _shares_table(model, each.model) or issubclass(model, each.model):
                    names = names_of(each.model, each.fields)
                    found[model].related.append(Related(entity, each, names))
    return {model: Watch(tuple(f.own), tuple(f.related)) for model, f in found.items()}


def _follows(
    entity: Entity,
    fields: frozenset[str] | None,
    operation: Operation,
    using: str,
    changed: Iterable[str] | None,
) -> bool:
    """Return whether an operation is recorded that changes some fields (None: any), of which those
    in ``fields`` matter (None: any)."""
    matters = fields is None or changed is None or not fields.isdisjoint(changed)
    return (
        matters
        and entity.definition.follows(operation)
        and not is_suspended(entity.name)
        and not installed(entity.name, using)
    )


def _entities() -> Iterator[Entity]:
    try:
        definitions = registry.discover().definitions.values()
    except AIMigrationError:
        return
    for definition in definitions:
        if not definition.model or not definition.indexable:
            continue
        entity = examine_entity(definition)
        if isinstance(entity, Entity):
            yield entity


def _shares_table(one: type[Model], other: type[Model]) -> bool:
    """Return whether rows of one model are rows of the other: a proxy, or another model of the same
    table."""
    return one._meta.db_table == other._meta.db_table


def _key_in(model: type[Model], watched: type[Model]) -> str | None:
    """Return the attribute of a model's instances that is the key of a watched row; None: its rows
    are no such rows. A child's row is a row of its parents too, and a parent's may have a child."""
    if _shares_table(model, watched):
        return "pk"
    if issubclass(model, watched):
        return str(getattr(watched._meta.pk, "attname", "pk"))
    if issubclass(watched, model):
        return "pk"
    return None
