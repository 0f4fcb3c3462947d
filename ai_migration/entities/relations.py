"""The rows of other tables that an entity type's text, metadata and filter read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import CASCADE, Field, Manager, Model

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField, resolve_field
from ai_migration.exceptions import EntityConfigError


@dataclass(frozen=True)
class Dependency:
    """Rows of a model that entities read: a change of one concerns the entities whose ``path``
    leads to the value of its column ``key``.

    Attributes:
        model: The model that is read, or that links to one: the through rows of a many-to-many
            relation.
        key: Attribute of that model.
        path: From the entity's model, as Django's queries write it; empty: ``key`` is the entity's
            own primary key.
        fields: Attributes of the model that are read; None: any may be.
        is_link: Whether the row links to entities, or to what leads to them, by its column: else
            others link to it, and a new one is read by none.
        is_cascade: Whether the entities are deleted with the row.
    """

    model: type[Model]
    key: str
    path: str
    fields: frozenset[str] | None
    is_link: bool = False
    is_cascade: bool = False


def own_fields(entity: Entity) -> frozenset[str] | None:
    """Return the columns of the entity's own model that decide its text, its metadata and whether
    it is indexed, by attribute name; None: any may."""
    if entity.definition.queryset or not _is_plain(entity.model):
        return None
    names: set[str] = set()
    for field in _read(entity):
        if field.kind is FieldKind.ATTRIBUTE or field.is_annotation:
            return None
        first = _steps(entity.model, field)[0]
        if isinstance(first, Field) and first.concrete and not first.many_to_many:
            names.add(first.attname)
    return frozenset(names)


def dependencies(entity: Entity) -> tuple[Dependency, ...]:
    """Return what the entity type reads of other tables: over the relations of its fields, its
    template and its filter, and what ``reindex-on`` adds. ``reindex-on: []`` switches it off."""
    extra = entity.definition.reindex_on
    if extra == ():
        return ()
    found: dict[tuple[type[Model], str, str], Dependency] = {}
    read = [each for field in _read(entity) for each in _along(entity, field)]
    for name in extra or ():
        read += _along(entity, reindexed_field(entity, name), ends_in_row=True)
    for each in read:
        where = (each.model, each.key, each.path)
        found[where] = _merged(found.get(where), each)
    return tuple(found.values())


def reindexed_field(entity: Entity, name: str) -> ResolvedField:
    """Return a field of ``reindex-on``.

    Raises:
        EntityConfigError: There is no such field, or it leads to no other table.
    """
    field = resolve_field(entity.model, name, entity_type=entity.name)
    if not any(step.is_relation for step in _steps(entity.model, field)):
        raise EntityConfigError(
            f"Entity type {entity.name!r}: 'reindex-on' names {name!r}, which leads to no other "
            f"table: changes of a row itself are always seen"
        )
    return field


def _is_plain(model: type[Model]) -> bool:
    """Return whether the default manager shows all rows."""
    manager: Any = model._default_manager
    return type(manager).get_queryset is Manager.get_queryset


def _read(entity: Entity) -> list[ResolvedField]:
    fields = [*entity.text_fields, *(field for field, _ in entity.context)]
    fields += [field for field, _ in entity.metadata_fields]
    fields += [condition.field for condition in entity.conditions]
    return list(dict.fromkeys(fields))


def _steps(model: type[Model], field: ResolvedField) -> list[Any]:
    """Return the model fields and relations along a field's path, as far as there are any."""
    steps = []
    current: Any = model
    for part in field.path.split("__"):
        if current is None:
            break
        try:
            step = current._meta.pk if part == "pk" else current._meta.get_field(part)
        except Exception:  # a property at its end, or a key of JSON
            break
        steps.append(step)
        current = step.related_model if step.is_relation else None
    return steps


def _along(
    entity: Entity, field: ResolvedField, *, ends_in_row: bool = False
) -> Iterator[Dependency]:
    """Yield a dependency for each table on the way of a field. A path that ends with a relation
    reads the key alone, unless it stands for the whole row."""
    steps = _steps(entity.model, field)
    path: list[str] = []
    is_cascade = True
    for position, step in enumerate(steps):
        if not step.is_relation or step.related_model is None:
            return
        here = "__".join(path)
        path.append(step.name)
        after = steps[position + 1] if position + 1 < len(steps) else None
        if step.many_to_many:
            is_cascade = False
            yield _through(step, here)
        elif object_id := getattr(step, "object_id_field_name", None):  # a generic relation
            is_cascade = False
            yield Dependency(step.related_model, object_id, here, None, is_link=True)
            continue
        elif step.one_to_many or (step.one_to_one and not step.concrete):
            is_cascade = False
            link = step.field  # the foreign key of the other model
            fields = _fields(after, link)
            yield Dependency(step.related_model, link.attname, here, fields, is_link=True)
            continue
        else:
            is_cascade = is_cascade and step.remote_field.on_delete is CASCADE
        if after is None and field.kind is not FieldKind.ATTRIBUTE and not ends_in_row:
            return
        key = _key_of(step)
        yield Dependency(
            step.related_model, key, "__".join(path), _fields(after), is_cascade=is_cascade
        )


def _through(step: Any, path: str) -> Dependency:
    """Return the dependency on the rows that link two models."""
    relation: Any = step if isinstance(step, Field) else step.field
    through = relation.remote_field.through
    is_forward = isinstance(step, Field)
    name = relation.m2m_field_name() if is_forward else relation.m2m_reverse_field_name()
    return Dependency(through, through._meta.get_field(name).attname, path, None, is_link=True)


def _key_of(step: Any) -> str:
    """Return the attribute of the related model that a path over a relation compares with."""
    if step.many_to_many or not isinstance(step, Field):
        return str(getattr(step.related_model._meta.pk, "attname", "pk"))
    target = getattr(step, "target_field", None)
    return str(getattr(target, "attname", "pk"))


def _fields(after: Any, *links: Any) -> frozenset[str] | None:
    """Return the columns that are read; None: any may be."""
    if after is None:
        return None
    names = {link.attname for link in links}
    if isinstance(after, Field) and after.concrete and not after.many_to_many:
        names.add(after.attname)
    return frozenset(names)


def _merged(one: Dependency | None, other: Dependency) -> Dependency:
    if one is None:
        return other
    fields = None
    if one.fields is not None and other.fields is not None:
        fields = one.fields | other.fields
    is_cascade = one.is_cascade and other.is_cascade
    is_link = one.is_link or other.is_link
    return Dependency(one.model, one.key, one.path, fields, is_link, is_cascade)


def names_of(model: type[Model], attributes: Iterable[str] | None) -> frozenset[str] | None:
    """Return attributes and field names, as ``update_fields`` may have either."""
    if attributes is None:
        return None
    wanted = set(attributes)
    names = {field.name for field in model._meta.concrete_fields if field.attname in wanted}
    return frozenset(wanted | names)
