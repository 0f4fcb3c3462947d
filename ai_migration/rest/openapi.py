"""How the calls are described in OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import (
    Direction,
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)

from ai_migration.rest import answers
from ai_migration.rest.access import access_of
from ai_migration.rest.camel_case import CamelCase
from ai_migration.rest.errors import ProblemRenderer, problem
from ai_migration.rest.examples import ALWAYS, ANSWERS, ERRORS, REQUESTS, WITH_BODY
from ai_migration.rest.fields import Component, Text

Call = TypeVar("Call", bound=Callable[..., Any])

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": 255},
    OpenApiParameter.HEADER,
    description="A start that is repeated with the same key returns the first job.",
    examples=[OpenApiExample("a key", "nightly-2025-12-18")],
)


class MigrationAutoSchema(AutoSchema):
    """Works whatever ``DEFAULT_SCHEMA_CLASS`` is, and says which permission a call needs."""

    def get_tags(self) -> list[str]:
        return ["migrations"]

    def get_description(self) -> str:  # type: ignore[override]
        needed = [f"`{name}`" for name in access_of(self.view.request, self.view).permissions]
        words = f"permission{'s' if len(needed) > 1 else ''} {' and '.join(needed)}"
        return f"{super().get_description()}\n\nNeeds the {words}."


class CamelCaseExtension(OpenApiSerializerExtension):
    """Our components have names that are not the host's; our bodies take no other fields."""

    target_class = CamelCase
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        return f"Migration{type(self.target).__name__}"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        schema: dict[str, Any]
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        if direction == "request":
            schema["additionalProperties"] = self.target.takes_more
        return schema


class ComponentExtension(OpenApiSerializerFieldExtension):
    """The library would name an enumeration by itself, and complain where the host has one of
    that name."""

    target_class = Component
    match_subclasses = True

    def get_name(self) -> str:
        return f"Migration{self.target.component}"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        return dict(self.target.openapi)


class TextExtension(OpenApiSerializerFieldExtension):
    """No text of ours holds a NUL: no database takes it."""

    target_class = Text
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer_field(
            self.target, direction, bypass_extensions=True
        )
        return {**schema, "pattern": r"^[^\x00]*$"}


def operation(
    operation_id: str,
    answer: Any,
    *,
    request: type[CamelCase] | None = None,
    parameters: Sequence[Any] = (),
    errors: Iterable[str] = (),
) -> Callable[[Call], Call]:
    """Describe a call.

    Args:
        operation_id: Its name; its examples stand under it. In the document it has a prefix, as
            our components have: a host's own call of that name keeps it.
        answer: The serializer of what it answers; None: nothing.
        request: The serializer of its body, if it has one.
        parameters: Of its query and its headers.
        errors: The codes of its own errors; what every call can answer is added.
    """
    status = HTTPStatus.OK if answer is not None else HTTPStatus.NO_CONTENT
    examples = []
    if operation_id in REQUESTS:
        examples.append(OpenApiExample("a request", REQUESTS[operation_id], request_only=True))
    if operation_id in ANSWERS:
        examples.append(
            OpenApiExample(
                "an answer",
                ANSWERS[operation_id],
                response_only=True,
                status_codes=[str(status.value)],
            )
        )
    codes = {"invalid_request", *errors, *ALWAYS, *(WITH_BODY if request else ())}
    return described(
        operation_id=f"migration{operation_id[:1].upper()}{operation_id[1:]}",
        request=request,
        parameters=list(parameters),
        responses={status.value: OpenApiResponse(answer, status.phrase), **_refusals(codes)},
        examples=examples,
    )


def described(**kwargs: Any) -> Callable[[Call], Call]:
    """``extend_schema`` that does not build on the host's ``DEFAULT_SCHEMA_CLASS``."""

    def decorate(call: Call) -> Call:
        call.schema = MigrationAutoSchema  # type: ignore[attr-defined]
        extended: Call = extend_schema(**kwargs)(call)
        return extended

    return decorate


def _refusals(codes: set[str]) -> dict[tuple[int, str], OpenApiResponse]:
    """The errors by status and media type, each with its examples."""
    described = {}
    for status in sorted({ERRORS[code].status for code in codes}):
        plain, problems = [], []
        for code in (code for code in ERRORS if code in codes and ERRORS[code].status == status):
            error = _error(code)
            plain.append(OpenApiExample(code, error))
            problems.append(OpenApiExample(code, problem(status, error)))
        phrase = HTTPStatus(status).phrase
        described[status, "application/json"] = OpenApiResponse(answers.Error, phrase, plain)
        described[status, ProblemRenderer.media_type] = OpenApiResponse(
            answers.Problem, phrase, problems
        )
    return described


def _error(code: str) -> dict[str, Any]:
    example = ERRORS[code]
    kind = "server_error" if example.status >= 500 else "client_error"
    return {
        "type": "validation_error" if code == "invalid_request" else kind,
        "errors": [{"code": code, "detail": example.detail, "attr": example.attr}],
    }
