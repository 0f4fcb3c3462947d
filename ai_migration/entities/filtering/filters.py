"""Filters of a migration: checked against the entity type, stored as JSON, applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet, FieldError, ValidationError
from django.db import NotSupportedError, connections
from django.db.models import Model, QuerySet

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import ResolvedField
from ai_migration.entities.filtering.lookups import LOOKUPS, condition, require_storable
from ai_migration.entities.filtering.moments import instant_of, parse_moment
from ai_migration.entities.sources import matching
from ai_migration.exceptions import InvalidRequestError, shown
from ai_migration.types import JSONValue, MigrationFilters

MAX_ENTITY_IDS = 10_000
"""Ids one migration may name: filters are stored with the job and sent with each range."""
_WORDS = 200
"""Characters of a reason, at most, since it may repeat the value."""
UNFIT = (
    InvalidRequestError,
    FieldError,
    ValidationError,
    ValueError,
    TypeError,
    ArithmeticError,
    NotSupportedError,
)
"""Errors that refuse a look-up: ours, Django's, or Django's for the database in use."""


def dump_filters(filters: MigrationFilters) -> dict[str, JSONValue]:
    """Return filters as a job stores them.

    Raises:
        InvalidRequestError: A look-up's value cannot be stored.
    """
    dumped: dict[str, JSONValue] = {}
    if filters.created_before is not None:
        dumped["created_before"] = filters.created_before.isoformat()
    if filters.created_after is not None:
        dumped["created_after"] = filters.created_after.isoformat()
    if filters.entity_ids:
        dumped["entity_ids"] = [str(item) for item in filters.entity_ids]
    if filters.lookups:
        dumped["lookups"] = {name: _storable(name, item) for name, item in filters.lookups.items()}
    return dumped


def load_filters(dumped: Mapping[str, JSONValue]) -> MigrationFilters:
    """The inverse of :func:`dump_filters`."""
    return MigrationFilters(
        created_before=parse_moment(dumped.get("created_before"), "created_before"),
        created_after=parse_moment(dumped.get("created_after"), "created_after"),
        entity_ids=tuple(dumped.get("entity_ids", ())),
        lookups=dumped.get("lookups", {}),
    )


def apply_filters(entity: Entity, rows: QuerySet[Any], filters: MigrationFilters) -> QuerySet[Any]:
    """Return the rows that match. Explicit ids are not applied here: they are fed as such.

    Raises:
        InvalidRequestError: A look-up is not allowed or its value does not fit.
    """
    for name, lookup, moment in (
        ("created_before", "lt", filters.created_before),
        ("created_after", "gte", filters.created_after),
    ):
        if moment is not None:
            field = entity.created_at
            if field is None or field.field is None:
                raise InvalidRequestError(
                    f"Entity type {entity.name!r} has no date to filter by: set its "
                    f"'created-at-field'",
                    field=name,
                )
            bound = instant_of(moment, field.field, name)
            rows = rows.filter(**{f"{field.path}__{lookup}": bound})
    for name, value in filters.lookups.items():
        rows = _look_up(entity, rows, name, value)
    return rows


def _look_up(entity: Entity, rows: QuerySet[Any], name: str, value: JSONValue) -> QuerySet[Any]:
    field, lookup = _allowed(entity, name)
    try:
        require_storable(value)
        wanted = condition(entity.model, field, lookup, value)
        base = rows if field.is_annotation else entity.model._base_manager.using(rows.db)
        compile_only(base.filter(wanted))
    except UNFIT as error:
        raise unfit_filter(name, value, error) from error
    return matching(rows, field, wanted)


def unfit_filter(name: str, value: object, error: Exception) -> InvalidRequestError:
    """Return the error of a look-up that is refused.

    Args:
        name: The filter.
        value: Its value.
        error: The reason.
    """
    words = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
    reason = words.partition("\n")[0][:_WORDS]
    return InvalidRequestError(
        f"The filter {name}={shown(value)} does not fit: {reason}", field="filters"
    )


def _allowed(entity: Entity, name: str) -> tuple[ResolvedField, str]:
    by_name: dict[str, ResolvedField] = {}
    for field in entity.filterable_fields:
        by_name[field.name] = by_name[field.path] = field
    if name in by_name:
        return by_name[name], "exact"
    head, _, lookup = name.rpartition("__")
    if head in by_name and lookup in LOOKUPS:
        return by_name[head], lookup
    allowed = ", ".join(field.name for field in entity.filterable_fields) or "none"
    raise InvalidRequestError(
        f"Entity type {entity.name!r} cannot be filtered by {name!r}. Database fields among its "
        f"'metadata-fields': {allowed}.",
        field="filters",
    )


def compile_only(rows: QuerySet[Any]) -> None:
    """Compile the statement: some values are refused only then."""
    try:
        rows.query.get_compiler(connection=connections[rows.db]).as_sql()
    except EmptyResultSet:
        return


def _storable(name: str, value: object) -> JSONValue:
    """Return a look-up's value as JSON; its field restores the type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Model):
        return _storable(name, value.pk)
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return [_storable(name, item) for item in value]
    raise InvalidRequestError(
        f"The filter {name!r} has a {type(value).__name__}, which cannot be stored with a job",
        field="filters",
    )
