"""Filters of a search, in the form in which payloads have the values of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import CharField, DecimalField, TextField

from ai_migration.entities.config.schema import MetadataField
from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.entities.filtering.filters import unfit_filter
from ai_migration.entities.filtering.lookups import (
    LOOKUPS,
    number_in,
    require_storable,
    several,
    typed,
)
from ai_migration.entities.text import metadata_value
from ai_migration.exceptions import InvalidRequestError
from ai_migration.types import AnyOf, JSONValue

MAX_VALUES = 1_000
"""Values one filter of a search may list."""
_UNFIT = (InvalidRequestError, ValidationError, ValueError, TypeError, ArithmeticError)
"""Errors that refuse a value: ours, or Django's."""


def payload_filters(
    entity: Entity, filters: Mapping[str, Any], types: Mapping[str, str] | None = None
) -> dict[str, JSONValue]:
    """Return filters as stores take them: by the payload's key, a value or an :class:`AnyOf`.

    Args:
        entity: The entity type.
        filters: Values by metadata field, or several by ``field__in``. Text, as from a command
            line, is converted to the field's type.
        types: The declared types with which the payloads were written, by the payload's key;
            default: those of the config.

    Raises:
        InvalidRequestError: There is no such field or look-up, or a value does not fit.
    """
    wanted: dict[str, list[JSONValue]] = {}
    for name, value in filters.items():
        resolved, declared, lookup = _allowed(entity, name)
        kind = (types or {}).get(declared.name, declared.type)
        try:
            require_storable(value)
            values = several("in", value) if lookup == "in" else [value]
            if len(values) > MAX_VALUES:
                raise ValueError(f"it lists {len(values):,} values: at most {MAX_VALUES:,}")
            found = [made for item in values for made in _values(entity, resolved, kind, item)]
        except _UNFIT as error:
            raise unfit_filter(name, value, error) from error
        if declared.name in wanted:
            found = [item for item in wanted[declared.name] if _is_among(item, found)]
        wanted[declared.name] = found
    return {name: found[0] if len(found) == 1 else AnyOf(found) for name, found in wanted.items()}


def _allowed(entity: Entity, name: str) -> tuple[ResolvedField, MetadataField, str]:
    """Return the field of a filter, and its look-up."""
    known = {key: (f, m) for f, m in entity.metadata_fields for key in (f.path, m.name)}
    if name in known:
        return (*known[name], "exact")
    head, _, lookup = name.rpartition("__")
    if head in known and lookup in ("exact", "in"):
        return (*known[head], lookup)
    if head in known and lookup in LOOKUPS:
        raise InvalidRequestError(
            f"Searches compare for equality: {head}=…, or {head}__in=… for one of several values, "
            f"not {name!r}.",
            field="filters",
        )
    listed = ", ".join(declared.name for _, declared in entity.metadata_fields) or "none"
    raise InvalidRequestError(
        f"Entity type {entity.name!r} has no metadata field {name!r}. It has: {listed}.",
        field="filters",
    )


def _values(
    entity: Entity, field: ResolvedField, declared_type: str, value: Any
) -> Iterable[JSONValue]:
    """Yield what a payload has where a row has that value; text from a command line may stand for a
    number where the field has no type."""
    if field.kind is FieldKind.MANY and not isinstance(value, list | tuple):
        raise ValueError("the field has several values: give all of them, as a list")
    column, read = typed(entity.model, field, value)
    yield metadata_value(_as_read(column, read), declared_type)
    if column is None and isinstance(value, str) and field.name != entity.definition.tenant_field:
        number = number_in(value)
        yield from () if number is None else (number,)


def _as_read(column: Any, value: Any) -> Any:
    """Return a value as the database gives it back."""
    if isinstance(value, list):
        return [_as_read(column, item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, Decimal) and isinstance(column, DecimalField):
        stored = value.quantize(Decimal(1).scaleb(-column.decimal_places))
        return stored if stored == value else value
    if isinstance(column, CharField | TextField) and value is not None:
        return column.to_python(value)
    return value


def _is_among(value: JSONValue, values: Iterable[JSONValue]) -> bool:
    """Return whether a value is equal to one of others, in JSON."""
    is_bool = isinstance(value, bool)
    return any(isinstance(each, bool) is is_bool and each == value for each in values)
