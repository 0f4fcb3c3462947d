"""camelCase on the wire, snake_case in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

_MOST_UNKNOWN = 10
"""So many unknown fields are named: a body may hold a million."""


def camel_case(name: str) -> str:
    """``created_before`` → ``createdBefore``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class CamelCase(serializers.Serializer[Any]):
    """Its fields are in camelCase on the wire; what stands in their values is left alone. A
    field it does not know is refused: a typing error must not start something else."""

    takes_more = False
    """Whether fields of other names are welcome."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields = {}
        for name, field in super().get_fields().items():
            wire_name = camel_case(name)
            if wire_name != name and field.source is None:
                field.source = name
            fields[wire_name] = field
        return fields

    def to_internal_value(self, data: Any) -> Any:
        """The values by their names in Python.

        Raises:
            ValidationError: Says what is wrong with each field.
        """
        errors: dict[str, Any] = {}
        if isinstance(data, Mapping):
            words = f"There is no such field. Known fields: {', '.join(self.fields)}."
            unknown = [str(name)[:50] for name in data if name not in self.fields]
            errors = {
                name: [ErrorDetail(words, "unknown_field")] for name in unknown[:_MOST_UNKNOWN]
            }
        elif self.parent is not None:
            raise ValidationError([ErrorDetail("Write a JSON object.", "invalid")])
        try:
            values = super().to_internal_value(data)
        except ValidationError as error:
            raise ValidationError({**error.detail, **errors}) from error  # type: ignore[dict-item]
        if errors:
            raise ValidationError(errors)
        return values
