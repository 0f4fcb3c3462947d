"""Look-ups of filters: checked against their fields before a database sees them.

Databases refuse different values, and only when the statement runs, if at all. Values refused here
are refused on each of them, with the same message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

from django.db.models import (
    BinaryField,
    BooleanField,
    CharField,
    DateField,
    DateTimeField,
    DecimalField,
    DurationField,
    Field,
    FloatField,
    GenericIPAddressField,
    IntegerField,
    JSONField,
    Model,
    Q,
    TextField,
    TimeField,
    UUIDField,
)
from django.db.models.constants import LOOKUP_SEP

from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.entities.filtering.moments import instant_of, parse_moment
from ai_migration.entities.keys import MAX_INTEGER
from ai_migration.types import JSONValue

MAX_VALUES = 10_000
"""Values one look-up may list: they are stored with the job and sent with each range, and
SQLite takes 32,766 in one statement."""
MAX_PATTERN = 10_000
"""Characters of a pattern: SQLite takes 50,000 bytes, and a character has up to four."""
MAX_DIGITS = 1_000
"""Digits of a decimal number, before or after the point."""

_ORDERED = ("gt", "gte", "lt", "lte")
_COMPARISONS = ("exact", *_ORDERED)
_LISTS = ("in", "range")
_TEXTS = ("iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith")
_PARTS = ("year", "month", "day")
LOOKUPS = frozenset([*_COMPARISONS, *_LISTS, *_TEXTS, "isnull", "date", *_PARTS])

_DAY, _WHOLE = DateField(), IntegerField()
"""Look-ups of a part of a date."""
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NO_TEXT = (BooleanField, BinaryField, DurationField)
"""Fields that are not text, nor anything a database writes as text."""


def condition(model: type[Model], field: ResolvedField, lookup: str, value: Any) -> Q:
    """Return the condition of a look-up; strings, as from a command line, are converted to its
    type.

    Args:
        model: The model of the rows.
        field: The field to compare.
        lookup: One of :data:`LOOKUPS`.
        value: The value to compare with.

    Raises:
        InvalidRequestError, ValidationError, ValueError, TypeError: The value does not fit.
    """
    where = f"{field.path}__{lookup}"
    column = _column(model, field)
    is_json = isinstance(column, JSONField) or bool(field.keys)
    if isinstance(value, Model):
        value = value.pk
    if isinstance(value, Mapping):
        raise ValueError("write a value, or several")
    if lookup == "isnull":
        return Q(**{where: _truth(column, value)})
    if isinstance(column, BinaryField):
        raise ValueError("bytes are compared with nothing: use isnull")
    if lookup in _LISTS:
        read = _json_scalar if is_json else _reader(column)
        return Q(**{where: [read(column, item) for item in several(lookup, value)]})
    if value is None:
        return Q(**{where: None})
    if is_json:
        return _json_condition(field, where, lookup, value)
    if lookup in _TEXTS:
        return Q(**{where: _pattern(column, value)})
    if lookup in _PARTS:
        return Q(**{where: _whole(_WHOLE, value)})
    if lookup == "date":
        return Q(**{where: _day(_DAY, value)})
    return Q(**{where: _reader(column)(column, value)})


def typed(model: type[Model], field: ResolvedField, value: Any) -> tuple[Any, Any]:
    """Return the column of a field, and a value of it in its type; None as the column where values
    have no type but their own.

    Raises:
        ValidationError, ValueError, TypeError: The value does not fit.
    """
    if isinstance(value, Model):
        value = value.pk
    column = None if field.kind is FieldKind.ATTRIBUTE else _column(model, field)
    if column is None or isinstance(column, JSONField):
        return None, value
    if value is None or isinstance(column, BinaryField):
        return column, value
    if isinstance(value, Mapping):
        raise ValueError("write one value")
    read = _reader(column)
    if field.kind is FieldKind.MANY:
        return column, [read(column, item) for item in value]
    return column, read(column, value)


def require_storable(value: object) -> None:
    """Refuse text and numbers that no database takes, at any depth.

    Raises:
        ValueError: It holds such a value.
    """
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            require_storable(item)
        return
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError("it is not a finite number")
        return
    text = str(value)
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    text.encode()  # lone surrogates: no database takes them


def _column(model: type[Model], field: ResolvedField) -> Field[Any, Any] | None:
    """Return the column to compare, for a relation its key; None for a key of a JSON value."""
    column: Any = field.field
    if column is None and not (field.keys or field.is_annotation):  # a relation, seen from behind
        found: Any = None
        for name in field.path.split(LOOKUP_SEP):
            found = (found.related_model if found else model)._meta.get_field(name)
        column = found.target_field
    while column is not None and column.is_relation:
        column = column.target_field
    return column  # type: ignore[no-any-return]


# Values, each in the type of its column


def _reader(column: Field[Any, Any] | None) -> Callable[[Any, Any], Any]:
    """Return the function that reads a value for a column; unknown fields take it as it is."""
    for kind, read in _READERS:
        if isinstance(column, kind):
            return read
    return lambda column, value: value


def _truth(column: Any, value: Any) -> bool:
    truth = _TRUTH.get(str(value).lower()) if isinstance(value, str | int) else None
    if truth is None:
        raise ValueError("write true or false")
    return truth


def _moment(column: Any, value: Any) -> Any:
    """Read a date or time for a date-time field as an instant, the same for every user."""
    if not isinstance(value, str | date):
        raise ValueError("write a date, or a date with time")
    moment = parse_moment(value, column.name)
    return None if moment is None else instant_of(moment, column, column.name)


def _day(column: Any, value: Any) -> Any:
    if not isinstance(value, str | date):
        raise ValueError("write a date")
    return column.to_python(value)


def _parsed(column: Any, value: Any) -> Any:
    if isinstance(value, bool | float | list | tuple):
        raise ValueError("write text")
    return column.to_python(value)


def _length(column: Any, value: Any) -> Any:
    if not isinstance(value, str | timedelta):
        raise ValueError("write a duration, such as 1 12:00:00 or P1DT12H")
    length: timedelta = column.to_python(value)
    if abs(length) // timedelta(microseconds=1) > MAX_INTEGER:
        raise ValueError("the duration is too long")
    return length


def _address(column: Any, value: Any) -> str:
    return str(ip_address(value if isinstance(value, str) else ""))


def _whole(column: Any, value: Any) -> Any:
    """Return a whole number that a database can compare; Django handles fractions."""
    number = _number(column, value) if isinstance(value, float) else None
    if number is None:
        number = column.to_python(_scalar(column, value))
    if abs(number) > MAX_INTEGER:
        raise ValueError("the number is too large")
    return number


def _number(column: Any, value: Any) -> float:
    number = float(_scalar(column, value))
    if not math.isfinite(number):
        raise ValueError("it is not a finite number")
    return number


def _decimal(column: Any, value: Any) -> Decimal:
    if isinstance(value, float):
        _number(column, value)
    number: Decimal = column.to_python(_scalar(column, value))
    if not number.is_finite():
        raise ValueError("it is not a finite number")
    if abs(number.adjusted()) > MAX_DIGITS or len(number.as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"the number has more than {MAX_DIGITS:,} digits")
    return number


def _scalar(column: Any, value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        raise ValueError("write one value")
    return value


_READERS: tuple[tuple[type[Field[Any, Any]], Callable[[Any, Any], Any]], ...] = (
    (BooleanField, _truth),
    (DateTimeField, _moment),
    (DateField, _day),
    (TimeField, _parsed),
    (DurationField, _length),
    (UUIDField, _parsed),
    (GenericIPAddressField, _address),
    (IntegerField, _whole),
    (FloatField, _number),
    (DecimalField, _decimal),
    (CharField, _scalar),
    (TextField, _scalar),
)
"""The first that fits is used."""


def several(lookup: str, value: Any) -> list[Any]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple | set | frozenset):
        raise ValueError("write several values, with commas")
    if len(items) > MAX_VALUES:
        raise ValueError(f"it lists {len(items):,} values: at most {MAX_VALUES:,} are possible")
    if lookup == "range" and len(items) != 2:
        raise ValueError("write the first and the last value")
    listed = [item.strip() if isinstance(item, str) else item for item in items]
    return [item.pk if isinstance(item, Model) else item for item in listed if item is not None]


def _pattern(column: Field[Any, Any] | None, value: Any) -> Any:
    if column is not None and not isinstance(column, tuple(kind for kind, _ in _READERS)):
        return value  # an unknown field, such as an array
    if isinstance(column, _NO_TEXT):
        raise ValueError("its field is not text")
    if not isinstance(value, str):
        raise ValueError("it takes text: write it in quotes")
    if len(value) > MAX_PATTERN:
        raise ValueError(f"the text has {len(value):,} characters: at most {MAX_PATTERN:,}")
    return value


# JSON, whose values have no type but their own


def _json_condition(field: ResolvedField, where: str, lookup: str, value: Any) -> Q:
    if lookup == "contains":  # of values, not of text
        return Q(**{where: _json(value)})
    if lookup in _TEXTS:
        return Q(**{where: _pattern(None, value)})
    if lookup in _ORDERED:
        value = _json_scalar(None, value)
    if not field.keys or not isinstance(value, str) or lookup not in _COMPARISONS:
        return Q(**{where: _json(value)})
    number = number_in(value)
    if lookup in _ORDERED:
        return Q(**{where: value if number is None else number})
    text = Q(**{where: value})
    return text if number is None else text | Q(**{where: number})


def number_in(text: str) -> bool | int | float | None:
    """Return the number, true or false that a text from a command line stands for; None if it is
    text."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return _json(value) if isinstance(value, bool | int | float) else None


def _json_scalar(column: Any, value: Any) -> JSONValue:
    return _json(_scalar(column, value))


def _json(value: Any) -> JSONValue:
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity; to find it as a text, use iexact")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError("the number is too large")
    return value
