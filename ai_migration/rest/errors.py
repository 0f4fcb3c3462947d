"""Every error in one shape, for these views only: the host's other views stay as they are."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from pydantic.alias_generators import to_camel
from rest_framework.exceptions import APIException, ErrorDetail, ParseError, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from ai_migration import exceptions
from ai_migration.jobs.report.documents import Document, example_of, told

STATUSES: dict[type[exceptions.AIMigrationError], HTTPStatus] = {
    exceptions.InvalidRequestError: HTTPStatus.BAD_REQUEST,
    exceptions.InputRefusedError: HTTPStatus.BAD_REQUEST,
    exceptions.UnknownEntityTypeError: HTTPStatus.NOT_FOUND,
    exceptions.UnknownJobError: HTTPStatus.NOT_FOUND,
    exceptions.InvalidTransitionError: HTTPStatus.CONFLICT,
    exceptions.ConflictingJobError: HTTPStatus.CONFLICT,
    exceptions.IdempotencyConflictError: HTTPStatus.CONFLICT,
    exceptions.RebuildRequiredError: HTTPStatus.CONFLICT,
    exceptions.NotIndexedError: HTTPStatus.CONFLICT,
    exceptions.FatalEmbedderError: HTTPStatus.BAD_GATEWAY,
    exceptions.AIMigrationError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of each error; one that is not listed has that of its base class."""

_ATTRS = {
    "created_before": "filters.createdBefore",
    "created_after": "filters.createdAfter",
    "entity_ids": "filters.entityIds",
    "idempotency_key": "Idempotency-Key",
    "before": "cursor",
    "after": "cursor",
    "order": "ordering",
}
"""The name of a request's field in the API, where it is not just its name in camelCase."""


class ServiceError(APIException):
    """An error of the service, as the framework raises it."""

    def __init__(self, error: exceptions.AIMigrationError) -> None:
        super().__init__(error.message, error.code)
        kind = next(kind for kind in type(error).__mro__ if kind in STATUSES)
        self.status_code = STATUSES[kind]
        self.wait = getattr(error, "retry_after", None)


class BodyTooLargeError(APIException):
    """The body is larger than ``DATA_UPLOAD_MAX_MEMORY_SIZE``."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "body_too_large"


class ErrorRenderer(JSONRenderer):
    """JSON in ASCII: an error may repeat half a surrogate pair from the request, which UTF-8
    lacks."""

    ensure_ascii = True


class ProblemRenderer(ErrorRenderer):
    """RFC 9457, https://www.rfc-editor.org/rfc/rfc9457."""

    media_type = "application/problem+json"


class ErrorType(StrEnum):
    """The kind of error; a validation error is about fields."""

    VALIDATION_ERROR = "validation_error"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"


class ErrorItem(Document):
    """One error."""

    code: str = told("A code for programs.", "invalid_request")
    detail: str = told("The message, with what to do.", "It is wrong.")
    attr: str | None = told("The field at fault, if any.", None)


class Error(Document):
    """The errors of a refused call."""

    type: ErrorType = told("The kind of error.", "client_error")
    errors: list[ErrorItem] = told("The errors.", [example_of(ErrorItem)])


class Problem(Document):
    """The errors as RFC 9457 has them, for clients that accept `application/problem+json`."""

    type: str = told("Always the same.", "about:blank")
    title: str = told("The name of the status.", "Bad Request")
    status: int = told("The status.", 400)
    detail: str = told("The message of the first error.", "It is wrong.")
    code: str = told("A code for programs.", "invalid_request")
    errors: list[ErrorItem] = told("The errors.", [example_of(ErrorItem)])


def translate(error: exceptions.AIMigrationError) -> APIException:
    """Return the framework's exception for an error of the service."""
    if not isinstance(error, exceptions.InvalidRequestError):
        return ServiceError(error)
    words = [ErrorDetail(error.message, error.code)]
    attr = error.field and _ATTRS.get(error.field, to_camel(error.field))
    return ValidationError({attr: words} if attr else words)


def formatted(error: APIException) -> dict[str, Any]:
    """Return an error in the shape of our answers."""
    context: Any = {}  # the formatter keeps it, and does not read it
    document: dict[str, Any] = ExceptionFormatter(error, context, error).run()
    return document


def problem(status: int, data: dict[str, Any]) -> dict[str, Any]:
    """Return an error as a problem document; ``errors`` are included."""
    first = data["errors"][0]
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": first["detail"],
        "code": first["code"],
        "errors": data["errors"],
    }


class MigrationExceptionHandler(ExceptionHandler):
    """Handles our errors and Django's refusals of a request, besides those the library knows."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, exceptions.AIMigrationError):
            return translate(exc)
        if isinstance(exc, RequestDataTooBig):
            return BodyTooLargeError()
        if isinstance(exc, SuspiciousOperation | BadRequest):
            return ParseError()
        return super().convert_known_exceptions(exc)

    def format_exception(self, exc: APIException) -> dict[str, Any]:
        return formatted(exc)

    def get_response(self, exc: APIException, data: dict[str, Any]) -> Response:
        """Return JSON, or a problem document if the client accepts one."""
        request = self.context["request"]
        renderer = ErrorRenderer()
        if request is not None and ProblemRenderer.media_type in request.headers.get("Accept", ""):
            renderer, data = ProblemRenderer(), problem(exc.status_code, data)
        response = super().get_response(exc, data)
        if request is not None:
            request.accepted_renderer = renderer
            request.accepted_media_type = renderer.media_type
        return response


def handle_exception(exc: Exception, context: Any) -> Response | None:
    """Handle an exception of our views."""
    return MigrationExceptionHandler(exc, context).run()
