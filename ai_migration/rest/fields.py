"""Values that clients send: JSON's own types and nothing that only looks like them. The floors
below decide what is acceptable, so that all shells agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    Strict,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from typing_extensions import TypeAliasType

from ai_migration.entities.filtering.moments import parse_moment
from ai_migration.exceptions import InvalidRequestError
from ai_migration.jobs.values import MAX_COST, require_range
from ai_migration.types import UpTo

MAX_NAME = 255
_Value = TypeVar("_Value")


def refused(words: str, code: str = "invalid") -> PydanticCustomError:
    """Return the error for a refused value. Its message is not formatted: it may repeat the
    value."""
    return PydanticCustomError("refused", "refused", {"detail": ErrorDetail(words, code)})


def _ask(check: Callable[..., _Value], *args: Any) -> _Value:
    try:
        return check(*args)
    except InvalidRequestError as error:
        raise refused(error.message, error.code) from None


@dataclass(frozen=True)
class WholeNumber(UpTo):
    """A whole number from 1 to ``most``."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        bounded = core_schema.int_schema(ge=1, le=self.most)
        return core_schema.with_info_before_validator_function(self._checked, bounded)

    def _checked(self, value: Any, info: ValidationInfo) -> Any:
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        _ask(require_range, number, to_camel(str(info.field_name)), self.most)
        return number


def _amount(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refused("Write an amount, such as 12.50.")
    return str(value)[:MAX_NAME]


def _moment(value: Any, info: ValidationInfo) -> Any:
    return _ask(parse_moment, value, to_camel(str(info.field_name)))


def _entity_ids(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(
        isinstance(item, str | int | list) and not isinstance(item, bool) for item in value
    ):
        raise refused(
            "Write a list of primary keys: numbers, strings, or lists for composite ones."
        )
    return tuple(value)


Words = Annotated[str, Strict(), Field(pattern=r"^[^\x00]*$")]
"""A string, as it is, without a NUL, which no database accepts."""
Text = Annotated[Words, StringConstraints(min_length=1)]
Name = Annotated[Text, StringConstraints(max_length=MAX_NAME)]
Flag = Annotated[bool, Strict()]
Amount = TypeAliasType(
    "Amount",
    Annotated[
        str,
        PlainValidator(_amount),
        WithJsonSchema(
            {
                "description": "An amount of money.",
                "anyOf": [
                    {"type": "number", "minimum": 0.01, "maximum": MAX_COST},
                    {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
                ],
            }
        ),
    ],
)
Moment = TypeAliasType(
    "Moment",
    Annotated[
        Any,
        PlainValidator(_moment),
        WithJsonSchema(
            {
                "description": "A date, or a date with time, in ISO 8601.",
                "anyOf": [
                    {"type": "string", "format": "date"},
                    {"type": "string", "format": "date-time"},
                ],
            }
        ),
    ],
)
EntityIds = Annotated[
    tuple[Any, ...],
    PlainValidator(_entity_ids),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "array", "items": {}}]
            },
        }
    ),
]
Object = dict[str, Any]


class Ordering(StrEnum):
    """The orders of a list: newest first, or oldest first."""

    NEWEST = "-createdAt"
    OLDEST = "createdAt"


_THEIRS: Mapping[str, tuple[type[serializers.Field[Any, Any, Any, Any]], str]] = {
    "missing": (serializers.Field, "required"),
    "string_type": (serializers.CharField, "invalid"),
    "string_too_short": (serializers.CharField, "blank"),
    "string_too_long": (serializers.CharField, "max_length"),
    "bool_type": (serializers.BooleanField, "invalid"),
    "dict_type": (serializers.DictField, "not_a_dict"),
    "int_parsing": (serializers.IntegerField, "invalid"),
    "int_parsing_size": (serializers.IntegerField, "max_string_length"),
    "greater_than_equal": (serializers.IntegerField, "min_value"),
    "less_than_equal": (serializers.IntegerField, "max_value"),
}
"""The errors of pydantic, with the field of the REST framework that has a message for each, in the
client's language."""
_OURS = {
    "string_pattern_mismatch": ("null_characters_not_allowed", "Null characters are not allowed."),
    "string_unicode": (
        "surrogate_characters_not_allowed",
        "Surrogate characters are not allowed: U+{code_point:X}.",
    ),
    "enum": ("invalid_choice", "Known values: {known}."),
    "model_type": ("invalid", "Write a JSON object."),
}


def errors_of(error: ValidationError) -> dict[str, Any]:
    """Return the errors of each field in the format of the REST framework."""
    details: dict[str, Any] = {}
    for each in error.errors(include_url=False):
        *path, name = map(str, each["loc"])
        at = details
        for step in path:
            at = at.setdefault(step, {})
        at.setdefault(name, []).append(_detail(each))
    return details


def _detail(error: ErrorDetails) -> ErrorDetail:
    value, facts = error["input"], error.get("ctx", {})
    if value is None and error["type"] != "missing":
        return ErrorDetail(str(serializers.Field.default_error_messages["null"]), "null")
    if "detail" in facts:
        detail: ErrorDetail = facts["detail"]
        return detail
    code, words = _OURS.get(error["type"], ("invalid", "Not a valid value."))
    if error["type"] in _THEIRS:
        field, code = _THEIRS[error["type"]]
        words = str(field.default_error_messages[code])
    surrogates = (ord(char) for char in str(value)[:MAX_NAME] if "\ud800" <= char <= "\udfff")
    words = words.format(
        **facts,
        min_value=facts.get("ge"),
        max_value=facts.get("le"),
        known=str(facts.get("expected")).replace("'", "").replace(" or ", ", "),
        input_type=type(value).__name__,
        code_point=next(surrogates, 0),
    )
    return ErrorDetail(words, code)
