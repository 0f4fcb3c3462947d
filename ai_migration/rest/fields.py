"""Fields that take JSON's own types and nothing that looks like them; what is an acceptable
value is asked of the floors below, so that every shell says the same."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from ai_migration.entities.filtering.moments import parse_moment
from ai_migration.exceptions import InvalidRequestError
from ai_migration.jobs.values import MAX_COST, require_range

MAX_NAME = 255


class Component:
    """A field that is a component of its own in OpenAPI.

    Attributes:
        component: Its name there.
        openapi: Its schema.
    """

    component: str
    openapi: dict[str, Any]


class Text(serializers.CharField):
    """A string, as it is."""

    def __init__(self, **kwargs: Any) -> None:
        least = None if kwargs.get("allow_blank") else 1
        defaults = {"min_length": least, "max_length": MAX_NAME, "trim_whitespace": False}
        super().__init__(**{**defaults, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Choice(Component, serializers.ChoiceField):
    """One of some words.

    Args:
        component: What the enumeration is called in OpenAPI.
        values: The words.
    """

    def __init__(self, component: str, values: list[str], **kwargs: Any) -> None:
        self.component = component
        self.openapi = {"type": "string", "enum": values}
        super().__init__(values, **kwargs)
        self.error_messages["invalid_choice"] = f"Known values: {', '.join(values)}."


class Flag(serializers.BooleanField):
    """true or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input="")
        return data


class WholeNumber(serializers.IntegerField):
    """A whole number from 1 to ``most``."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=most, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        number = int(data) if isinstance(data, float) and data.is_integer() else data
        try:
            require_range(number, str(self.field_name), int(self.max_value or 1))
        except InvalidRequestError as error:
            raise _refused(error) from error
        return int(number)


class Money(Component, serializers.Field[Any, Any, Any, Any]):
    """An amount, as a number or a string; the service says whether it can be kept."""

    component = "Amount"
    openapi = {
        "anyOf": [
            {"type": "number", "minimum": 0.01, "maximum": MAX_COST},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
        ]
    }
    default_error_messages = {"invalid": "Write an amount, such as 12.50."}

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, int | float | str):
            self.fail("invalid")
        return str(data)[:MAX_NAME]


class Moment(Component, serializers.Field[Any, Any, Any, Any]):
    """A date, or a date with time, in ISO 8601."""

    component = "Moment"
    openapi = {
        "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]
    }

    def to_internal_value(self, data: Any) -> date | datetime | None:
        try:
            return parse_moment(data, str(self.field_name))
        except InvalidRequestError as error:
            raise _refused(error) from error


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "array", "items": {}}]
        },
    }
)
class EntityIds(serializers.Field[Any, Any, Any, Any]):
    """Primary keys. Which of them are keys of the model, the service says."""

    default_error_messages = {
        "invalid": "Write a list of primary keys: numbers, strings, or lists for composite ones."
    }

    def to_internal_value(self, data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list):
            self.fail("invalid")
        for item in data:
            if isinstance(item, bool) or not isinstance(item, str | int | list):
                self.fail("invalid")
        return tuple(data)


class Object(serializers.DictField):
    """A JSON object, whose keys stay as they are."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        return data


def _refused(error: InvalidRequestError) -> ValidationError:
    return ValidationError([ErrorDetail(error.message, error.code)])
