"""Filters of a migration: checked against the entity type, stored as JSON, applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import EmptyResultSet, FieldError, ValidationError
from django.db import connections
from django.db.models import BooleanField, DateTimeField, Field, IntegerField, Model, Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.entities.keys import MAX_INTEGER
from ai_migration.exceptions import InvalidRequestError
from ai_migration.types import JSONValue, MigrationFilters

MAX_ENTITY_IDS = 10_000
"""Ids one migration may name: filters are stored with the job and sent with each range."""

_COMPARISONS = ("exact", "gt", "gte", "lt", "lte")
_LISTS = ("in", "range")
_TEXTS = ("iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith")
LOOKUPS = frozenset(
    [*_COMPARISONS, *_LISTS, *_TEXTS, "isnull", "date", "year", "month", "day"],
)
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def dump_filters(filters: MigrationFilters) -> dict[str, JSONValue]:
    """Filters as a job keeps them.

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


def apply_filters(entity: Entity, rows: QuerySet[Any], filters: MigrationFilters) -> QuerySet[Any]:
    """The rows that match. Explicit ids are not applied here: they are fed as such.

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
        require_printable(value)
        condition = _condition(field, lookup, value, name)
        base = rows if field.is_annotation else entity.model._base_manager.using(rows.db)
        matching = base.filter(condition)
        _compile(matching)
    except (FieldError, ValidationError, ValueError, TypeError, ArithmeticError) as error:
        words = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise InvalidRequestError(
            f"The filter {name}={str(value)[:50]!r} does not fit: {words}", field="filters"
        ) from error
    if field.kind is FieldKind.MANY:  # joining would repeat rows
        return rows.filter(pk__in=matching.values("pk"))
    return rows.filter(condition)


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


def _condition(field: ResolvedField, lookup: str, value: JSONValue, name: str) -> Q:
    """Strings, as they come from a command line, in the type a look-up takes."""
    where = f"{field.path}__{lookup}"
    if isinstance(value, Mapping):
        raise ValueError("write a value, or several")
    if lookup in _LISTS:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple | set | frozenset):
            raise ValueError("write several values, with commas")
        typed = [_typed(field.field, _stripped(item), name) for item in items]
        if lookup == "range" and len(typed) != 2:
            raise ValueError("write the first and the last value")
        return Q(**{where: typed})
    if lookup == "isnull" or isinstance(field.field, BooleanField):
        truth = _TRUTH.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(truth, bool | None) or (truth is None and value is not None):
            raise ValueError("write true or false")
        return Q(**{where: truth})
    if field.keys and isinstance(value, str) and lookup in _COMPARISONS:
        number = _json_scalar(value)
        if lookup != "exact":
            return Q(**{where: value if number is None else number})
        text = Q(**{where: value})
        return text if number is None else text | Q(**{where: number})
    return Q(**{where: _typed(field.field, value, name) if lookup in _COMPARISONS else value})


def _stripped(item: Any) -> Any:
    return item.strip() if isinstance(item, str) else item


def _typed(field: Field[Any, Any] | None, value: Any, name: str) -> Any:
    """Dates and times for a date-time field are instants, whoever asks; whole numbers are
    such that a database can compare."""
    target: Any = field
    while target is not None and target.is_relation:
        target = target.target_field
    if isinstance(target, DateTimeField) and isinstance(value, str | date):
        try:
            moment = parse_moment(value, name)
            return None if moment is None else instant_of(moment, target, name)
        except InvalidRequestError as error:
            raise InvalidRequestError(error.message, field="filters") from error
    if isinstance(target, IntegerField) and isinstance(value, str | int):
        number = target.to_python(value)
        if abs(number) > MAX_INTEGER:
            raise ValueError("the number is too large")
        return number
    return value


def _json_scalar(text: str) -> bool | int | float | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, bool | int | float) else None


def require_printable(value: object) -> None:
    """Refuse text that no database takes, however deep it stands.

    Raises:
        ValueError: Says what it holds.
    """
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            require_printable(item)
        return
    text = str(value)
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    text.encode()  # lone surrogates: no database takes them


def _compile(rows: QuerySet[Any]) -> None:
    """Some values are refused when the statement is made only: find out now."""
    try:
        rows.query.get_compiler(connection=connections[rows.db]).as_sql()
    except EmptyResultSet:
        return


def _storable(name: str, value: object) -> JSONValue:
    """A look-up's value as JSON; what it was is told by its field."""
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


def instant_of(moment: date | datetime, field: Field[Any, Any], name: str) -> date | datetime:
    """A bound in the type of the field: an aware instant, or a date. What names no time
    zone is meant in the settings' one, so that every process means the same."""
    zone = timezone.get_default_timezone()
    try:
        if not isinstance(field, DateTimeField):
            if not isinstance(moment, datetime):
                return moment
            local = moment.astimezone(zone) if timezone.is_aware(moment) else moment
            # A day counts as its first instant: before noon it is "before", not "after".
            return local.date() + timedelta(days=local.time() > time.min)
        instant = moment if isinstance(moment, datetime) else datetime.combine(moment, time.min)
        if timezone.is_aware(instant):
            instant = instant.astimezone(UTC)  # raises at either end of time, as a database would
        if timezone.is_aware(instant) == settings.USE_TZ:
            return instant
        convert = timezone.make_aware if settings.USE_TZ else timezone.make_naive
        return convert(instant, zone)
    except (OverflowError, ValueError) as error:
        raise InvalidRequestError(
            f"{name}: {moment.isoformat()} is out of range", field=name
        ) from error
