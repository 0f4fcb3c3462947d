"""Detects whether reading an entity type's rows runs code of the project.

Such code may look at the thread it runs in: a manager that filters by the tenant in a
``threading.local`` finds other rows in another thread, or none.
"""

from __future__ import annotations

from django.db.models import Manager, QuerySet
from django.db.models.manager import BaseManager

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField


def runs_project_code(entity: Entity) -> bool:
    """Return whether code other than Django's decides which rows there are, and their values."""
    managers = [
        entity.model._base_manager,
        getattr(entity.source.function(), "__self__", None),
    ]
    fields = [
        *entity.text_fields,
        *(field for field, _ in entity.context),
        *(field for field, _ in entity.metadata_fields),
        *entity.filterable_fields,
    ]
    columns = [*entity.key.fields, *(each.field for each in fields if each.field is not None)]
    return (
        not all(map(_is_plain, managers))
        or any(map(_is_computed, fields))
        or not all(_is_djangos(type(column)) for column in columns)
    )


def _is_computed(field: ResolvedField) -> bool:
    return field.kind is FieldKind.ATTRIBUTE


def _is_plain(manager: object) -> bool:
    """Return whether a manager gives rows as Django's own does; methods that it adds do not
    matter."""
    return (
        isinstance(manager, BaseManager)
        and _only_adds(type(manager), Manager)
        and _only_adds(manager._queryset_class, QuerySet)  # type: ignore[attr-defined]
    )


def _only_adds(cls: type, base: type) -> bool:
    """Return whether a subclass only adds to its base."""
    return all(
        not hasattr(base, name) or not callable(getattr(cls, name))
        for each in cls.__mro__
        if not _is_djangos(each)
        for name in vars(each)
        if not name.startswith("__") and name != "_queryset_class"
    )


def _is_djangos(cls: type) -> bool:
    return cls is object or cls.__module__.startswith("django.")
