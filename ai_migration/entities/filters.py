"""Filters of a migration: checked against the entity type, stored as JSON, applied."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldError, ValidationError
from django.db.models import BooleanField, Field, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.exceptions import InvalidRequestError
from ai_migration.types import JSONValue, MigrationFilters

MAX_ENTITY_IDS = 10_000
"""Ids one migration may name: filters are stored with the job and sent with each range."""

LOOKUPS = frozenset(
    ["exact", "iexact", "in", "gt", "gte", "lt", "lte", "isnull", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "range", "date", "year", "month", "day"]
)


def dump_filters(filters: MigrationFilters) -> dict[str, JSONValue]:
    """Filters as a job keeps them."""
    dumped: dict[str, JSONValue] = {}
    if filters.created_before is not None:
        dumped["created_before"] = filters.created_before.isoformat()
    if filters.created_after is not None:
        dumped["created_after"] = filters.created_after.isoformat()
    if filters.entity_ids:
        dumped["entity_ids"] = [str(item) for item in filters.entity_ids]
    if filters.lookups:
        dumped["lookups"] = dict(filters.lookups)
    return dumped


def load_filters(dumped: Mapping[str, JSONValue]) -> MigrationFilters:
    """The inverse of :func:`dump_filters`."""
    return MigrationFilters(
        created_before=parse_moment(dumped.get("created_before"), "created_before"),
        created_after=parse_moment(dumped.get("created_after"), "created_after"),
        entity_ids=tuple(dumped.get("entity_ids", ())),
        lookups=dumped.get("lookups", {}),
    )


def parse_moment(value: object, field: str) -> date | datetime | None:
    """A date or a date with time, from ISO 8601.

    Raises:
        InvalidRequestError: It is neither.
    """
    if value is None or isinstance(value, date):
        return value
    try:
        parsed = parse_date(str(value)) or parse_datetime(str(value))
    except ValueError:
        parsed = None
    if parsed is None:
        raise InvalidRequestError(
            f"{field}: {str(value)[:50]!r} is no date. Write it like 2024-01-31 or "
            f"2024-01-31T12:00:00+00:00.",
            field=field,
        )
    return parsed


def apply_filters(
    entity: Entity, rows: QuerySet[Any], filters: MigrationFilters
) -> QuerySet[Any]:
    """The rows that match. Explicit ids are not applied here: they are fed as such.

    Raises:
        InvalidRequestError: A look-up is not allowed or its value does not fit.
    """
    if filters.created_before is not None or filters.created_after is not None:
        field = entity.created_at
        if field is None or field.field is None:
            raise InvalidRequestError(
                f"Entity type {entity.name!r} has no date to filter by: set its "
                f"'created-at-field'",
                field="created_before" if filters.created_before else "created_after",
            )
        if filters.created_before is not None:
            rows = rows.filter(**{f"{field.path}__lt": _bound(filters.created_before, field)})
        if filters.created_after is not None:
            rows = rows.filter(**{f"{field.path}__gte": _bound(filters.created_after, field)})
    for name, value in filters.lookups.items():
        rows = _look_up(entity, rows, name, value)
    return rows


def _look_up(entity: Entity, rows: QuerySet[Any], name: str, value: JSONValue) -> QuerySet[Any]:
    field, lookup = _allowed(entity, name)
    if "\0" in str(value):
        raise InvalidRequestError(f"The filter {name!r} holds a NUL character", field="filters")
    try:
        condition = {f"{field.path}__{lookup}": _typed(field.field, lookup, value)}
        if field.kind is FieldKind.MANY:  # joining would repeat rows
            matching = entity.model._base_manager.using(rows.db).filter(**condition)
            return rows.filter(pk__in=matching.values("pk"))
        return rows.filter(**condition)
    except (FieldError, ValidationError, ValueError, TypeError) as error:
        words = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise InvalidRequestError(
            f"The filter {name}={str(value)[:50]!r} does not fit: {words}", field="filters"
        ) from error


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
        f"Entity type {entity.name!r} cannot be filtered by {name!r}. Its 'filterable-fields': "
        f"{allowed}.",
        field="filters",
    )


def _typed(field: Field[Any, Any] | None, lookup: str, value: JSONValue) -> Any:
    """Strings, as they come from a command line, in the type a look-up takes."""
    if not isinstance(value, str):
        return value
    truth = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if lookup in {"in", "range"}:
        return [item.strip() for item in value.split(",")]
    if lookup == "isnull" or isinstance(field, BooleanField):
        if value.lower() not in truth:
            raise ValueError("write true or false")
        return truth[value.lower()]
    return value


def _bound(moment: date | datetime, field: ResolvedField) -> date | datetime:
    """The bound in the type of the field: an aware instant, or a date."""
    assert field.field is not None
    if field.field.get_internal_type() == "DateField":
        return moment.date() if isinstance(moment, datetime) else moment
    instant = moment if isinstance(moment, datetime) else datetime.combine(moment, time.min)
    if timezone.is_aware(instant) == settings.USE_TZ:
        return instant
    return timezone.make_aware(instant) if settings.USE_TZ else timezone.make_naive(instant)
