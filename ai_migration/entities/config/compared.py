"""The values of ``filter``."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError


def _comparable(value: object) -> object:
    """Return a value that rows can be compared with, or several, in plain types."""
    if isinstance(value, list | tuple):
        return [_one_value(item) for item in value]
    return _one_value(value)


def _one_value(value: object) -> object:
    if isinstance(value, datetime):  # ruamel has a class of its own
        return datetime.fromisoformat(value.isoformat())
    if isinstance(value, Decimal | UUID):  # of a decorator
        return str(value)
    if value is None or isinstance(value, bool | int | float | str | date | time):
        return value
    raise PydanticCustomError(
        "filter_value", "should be a value, or a list of values, to compare a field with"
    )


_SCALARS = [{"type": name} for name in ("string", "number", "boolean", "null")]
Compared = Annotated[
    Any,
    BeforeValidator(_comparable),
    WithJsonSchema({"anyOf": [*_SCALARS, {"type": "array", "items": {"anyOf": _SCALARS}}]}),
]
