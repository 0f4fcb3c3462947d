"""Field names of a config, resolved against a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, ForeignObjectRel, JSONField, Model

from ai_migration.exceptions import EntityConfigError


class FieldKind(Enum):
    """How a field's value is read."""

    COLUMN = "column"
    """One value a row, joined into the row's query."""
    MANY = "many"
    """Several values a row, one extra query a batch."""
    ATTRIBUTE = "attribute"
    """A property or a method: needs model instances."""


@dataclass(frozen=True)
class ResolvedField:
    """One field of a config and where its value comes from.

    Attributes:
        name: As the config writes it.
        path: As Django writes it, ``category__name``.
        kind: How it is read.
        field: The model field at the end of the path; None for attributes and JSON keys.
        joins: Relations an attribute starts with, for ``select_related``.
    """

    name: str
    path: str
    kind: FieldKind
    field: Field[Any, Any] | None = None
    joins: str = ""


def resolve_field(model: type[Model], name: str, *, entity_type: str) -> ResolvedField:
    """Find what a name in a config stands for.

    Args:
        model: The entity type's model.
        name: A field, a path over relations (``category__name`` or ``category.name``),
            a key of a JSON field, a property or a method without arguments. camelCase
            stands for snake_case.
        entity_type: For the error message.

    Raises:
        EntityConfigError: There is no such thing; names the nearest one.
    """
    path = name.replace(".", "__")
    for candidate in dict.fromkeys((path, snake_case(path))):
        resolved = _walk(model, name, candidate)
        if resolved is not None:
            return resolved
    known = _names(model)
    close = get_close_matches(snake_case(path), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" It has: {', '.join(known)}."
    raise EntityConfigError(
        f"Entity type {entity_type!r}: {model._meta.label} has no field, property or "
        f"method {name!r}.{hint}"
    )


def snake_case(name: str) -> str:
    """``createdAt`` → ``created_at``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def text_columns(model: type[Model]) -> list[str]:
    """Names of the model's own text columns, to suggest in messages."""
    return [
        field.name
        for field in model._meta.concrete_fields
        if field.get_internal_type() in {"CharField", "TextField"} and not field.primary_key
    ]


def _walk(model: type[Model], name: str, path: str) -> ResolvedField | None:
    parts = path.split("__")
    current: type[Model] = model
    many = False
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        try:
            field = current._meta.pk if part == "pk" else current._meta.get_field(part)
        except FieldDoesNotExist:
            return _attribute(current, name, parts, position) if not many else None
        if isinstance(field, JSONField) and not is_last:
            return ResolvedField(name, path, FieldKind.MANY if many else FieldKind.COLUMN)
        if isinstance(field, ForeignObjectRel) or field.many_to_many or field.one_to_many:
            many = many or not field.one_to_one
        if field.is_relation:
            related = field.related_model
            if related is None or isinstance(related, str):  # a generic foreign key
                return None
            current = related
        elif not is_last:
            return None
        if is_last:
            kind = FieldKind.MANY if many else FieldKind.COLUMN
            return ResolvedField(name, path, kind, field if isinstance(field, Field) else None)
    return None


def _attribute(
    model: type[Model], name: str, parts: list[str], position: int
) -> ResolvedField | None:
    attribute = parts[position]
    if position != len(parts) - 1 or attribute.startswith("_") or not hasattr(model, attribute):
        return None
    joins = "__".join(parts[:position])
    return ResolvedField(name, "__".join(parts), FieldKind.ATTRIBUTE, None, joins)


def _names(model: type[Model]) -> list[str]:
    return sorted(field.name for field in model._meta.get_fields())
