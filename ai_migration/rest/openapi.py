"""The description of the calls in OpenAPI: the models of requests and answers are the components,
and the examples of their fields make the examples."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar, get_args

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiRequest,
    OpenApiResponse,
    extend_schema,
)
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from rest_framework.exceptions import (
    NotAuthenticated,
    ParseError,
    PermissionDenied,
    Throttled,
    UnsupportedMediaType,
)

from ai_migration import exceptions
from ai_migration.jobs.report.documents import JOB_ID, example_of
from ai_migration.jobs.steer.states import STATES
from ai_migration.rest import errors as wire
from ai_migration.rest.access import access_of
from ai_migration.rest.requests import Body
from ai_migration.types import JobStatus

Call = TypeVar("Call", bound=Callable[..., Any])

_COMPONENTS = "#/components/schemas/"
_models: set[type[BaseModel]] = set()
"""The models of requests and answers."""

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": 255},
    OpenApiParameter.HEADER,
    description="A repeated request with the same key returns the first job.",
    examples=[OpenApiExample("a key", "nightly-2025-12-18")],
)
ALWAYS = ("not_authenticated", "permission_denied", "throttled", "ai_migration_error")
"""Errors of every call."""
WITH_BODY = ("parse_error", "body_too_large", "unsupported_media_type")
"""Errors of every call that has a body."""
_OURS = (
    exceptions.InvalidRequestError(
        "batchSize must be a whole number from 1 to 100000, not '0'", field="batch_size"
    ),
    exceptions.UnknownEntityTypeError("prodct", ["product"]),
    exceptions.UnknownJobError("mig-1"),
    exceptions.InvalidTransitionError(
        JOB_ID, "COMPLETED", "PAUSED", STATES[JobStatus.COMPLETED].advice
    ),
    exceptions.ConflictingJobError("product", JOB_ID, "RUNNING"),
    exceptions.RebuildRequiredError("The embedder of 'product' is another one now.", "product"),
    exceptions.IdempotencyConflictError("nightly", JOB_ID),
    exceptions.NotIndexedError(
        "'product' is not indexed yet. Run: manage.py migrate_ai_entities product"
    ),
    exceptions.FatalEmbedderError("The provider refused the key (401)."),
    exceptions.AIMigrationError(
        "The table of shop.Product cannot be read: the database does not answer: the connection is "
        "closed. Try again when it does"
    ),
)
_THEIRS = (
    ParseError("JSON parse error - Expecting value: line 1 column 1"),
    NotAuthenticated(),
    PermissionDenied(),
    wire.BodyTooLargeError(),
    UnsupportedMediaType("text/plain"),
    Throttled(20),
)
ERRORS: Mapping[str, tuple[int, dict[str, Any]]] = {
    document["errors"][0]["code"]: (error.status_code, document)
    for error in (*map(wire.translate, _OURS), *_THEIRS)
    for document in [wire.formatted(error)]
}
"""Status and document of an error by its code. 503: something has to be corrected, or to become
available again, first."""
_NULL = {"type": "null"}


class MigrationAutoSchema(AutoSchema):
    """A schema that works with any ``DEFAULT_SCHEMA_CLASS``, adds our components to the document it
    is part of, and names the permissions that a call needs."""

    def get_tags(self) -> list[str]:
        view: Any = self.view
        return [view.tag.value]

    def get_summary(self) -> str:
        """Return the first sentence of the description."""
        return super().get_description().split("\n")[0].partition(". ")[0].removesuffix(".")

    def get_description(self) -> str:  # type: ignore[override]
        needed = [f"`{name}`" for name in access_of(self.view.request, self.view).permissions]
        words = f"permission{'s' if len(needed) > 1 else ''} {' and '.join(needed)}"
        return f"{super().get_description()}\n\nNeeds the {words}."

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        made = super().get_operation(*args, **kwargs)
        if made is None:
            return None  # it is not described
        is_old = spectacular_settings.OAS_VERSION.startswith("3.0")
        for name, schema in components().items():
            shown, kind = as_3_0(schema) if is_old else schema, ResolvedComponent.SCHEMA
            self.registry.register_on_missing(ResolvedComponent(name, kind, shown, name))
        for content in made.get("requestBody", {}).get("content", {}).values():
            if "required" in components()[content["schema"]["$ref"].removeprefix(_COMPONENTS)]:
                made["requestBody"]["required"] = True
        return as_3_0(made) if is_old else made


class _Schemas(GenerateJsonSchema):
    """JSON schemas without titles of fields, and with the formats by which client generators choose
    types."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().float_schema(schema), "format": "double"}

    def int_schema(self, schema: Any) -> dict[str, Any]:
        made = super().int_schema(schema)
        return {**made, "format": "int64"} if made.get("maximum", 0) >= 2**31 else made


def _prefixed(schema: Any) -> Any:
    """Return a schema with references to our components, whose names differ from the host's."""
    pattern = f"(?<={_COMPONENTS})[A-Za-z]+"
    return json.loads(re.sub(pattern, lambda found: component_name(found[0]), json.dumps(schema)))


def component_name(model: str) -> str:
    """Return the name of a model's schema, which differs from those of the host: ``MigrationJob``,
    ``StartMigration``."""
    return model if "Migration" in model else f"Migration{model}"


@cache
def components() -> dict[str, Any]:
    """Return the schemas of the models, and of the models they contain."""
    modes: list[Any] = [
        (model, "validation" if issubclass(model, Body) else "serialization") for model in _models
    ]
    _, document = models_json_schema(
        modes, ref_template=f"{_COMPONENTS}{{model}}", schema_generator=_Schemas
    )
    made = {}
    for name, schema in _prefixed(document["$defs"]).items():
        schema.pop("title", None)
        made[component_name(name)] = schema
    return {name: made[name] for name in sorted(made) if not name.endswith("Query")}


def as_3_0(schema: Any) -> Any:
    """Return a schema for OpenAPI 3.0, which has neither null, nor lists of examples, nor a
    description beside a reference."""
    if isinstance(schema, list):
        return [as_3_0(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: as_3_0(item) for name, item in schema.items()}
    if isinstance(made.get("examples"), list):
        [made["example"]] = made.pop("examples")
    if isinstance(made.get("anyOf"), list) and _NULL in made["anyOf"]:
        [kind] = [item for item in made.pop("anyOf") if item != _NULL]
        made |= {**kind, "nullable": True}
    if "$ref" in made and len(made) > 1:
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made


def reference(model: Any) -> dict[str, Any]:
    """Return the schema of a model, of a list of one, or of any object."""
    if args := get_args(model):
        return {"type": "array", "items": reference(args[0])}
    if model is dict:
        return {"type": "object", "additionalProperties": {}}
    _models.add(model)
    return {"$ref": f"{_COMPONENTS}{component_name(model.__name__)}"}


def _example(model: Any, changes: Mapping[str, Any]) -> Any:
    if args := get_args(model):
        return [_example(args[0], changes)]
    return {**example_of(model), **changes}


def operation(
    operation_id: str,
    answer: Any,
    *,
    request: type[Body] | None = None,
    query: type[Body] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    errors: Iterable[str] = (),
    **example: Any,
) -> Callable[[Call], Call]:
    """Describe a call.

    Args:
        operation_id: Its name. In the document it has a prefix, as our components have, so that a
            host's own call of that name keeps it.
        answer: The model of its answer, a list of one, or ``dict``; None: no answer.
        request: The model of its body, if it has one.
        query: The model of its query, if it has one.
        parameters: Its headers.
        errors: The codes of its own errors; those of every call are added.
        example: The fields that differ in the example of its answer.
    """
    codes = {"invalid_request", *errors, *ALWAYS, *(WITH_BODY if request else ())}
    return described(
        operation_id=f"migration{operation_id[:1].upper()}{operation_id[1:]}",
        request=request and {"application/json": _request(request)},
        parameters=[*parameters, *(_parameters(query) if query else ())],
        responses={**_answer(answer, example), **_refusals(codes)},
    )


def described(**kwargs: Any) -> Callable[[Call], Call]:
    """``extend_schema`` that does not build on the host's ``DEFAULT_SCHEMA_CLASS``."""

    def decorate(call: Call) -> Call:
        call.schema = MigrationAutoSchema  # type: ignore[attr-defined]
        extended: Call = extend_schema(**kwargs)(call)
        return extended

    return decorate


def _answer(model: Any, changes: Mapping[str, Any]) -> dict[Any, OpenApiResponse]:
    if model is None:
        return {204: OpenApiResponse(None, HTTPStatus.NO_CONTENT.phrase)}
    examples = [] if model is dict else [OpenApiExample("an answer", _example(model, changes))]
    return {200: OpenApiResponse(reference(model), HTTPStatus.OK.phrase, examples)}


def _request(model: type[Body]) -> OpenApiRequest:
    return OpenApiRequest(
        reference(model), examples=[OpenApiExample("a request", example_of(model))]
    )


def _parameters(query: type[Body]) -> Iterable[OpenApiParameter]:
    _models.add(query)
    template = f"{_COMPONENTS}{{model}}"
    document = query.model_json_schema(ref_template=template, schema_generator=_Schemas)
    for name, schema in _prefixed(document["properties"]).items():
        if schema.get("default", ...) is None:
            del schema["default"]
        yield OpenApiParameter(name, schema, description=schema.pop("description"))


def _refusals(codes: set[str]) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the errors by status and media type, each with its examples."""
    described = {}
    for status in sorted({ERRORS[code][0] for code in codes}):
        plain = {
            code: each for code, (of, each) in ERRORS.items() if of == status and code in codes
        }
        problems = {code: wire.problem(status, each) for code, each in plain.items()}
        for media_type, model, documents in (
            ("application/json", wire.Error, plain),
            (wire.ProblemRenderer.media_type, wire.Problem, problems),
        ):
            described[status, media_type] = OpenApiResponse(
                reference(model),
                HTTPStatus(status).phrase,
                [OpenApiExample(code, each) for code, each in documents.items()],
            )
    return described
