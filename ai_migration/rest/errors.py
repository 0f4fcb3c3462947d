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
"""What each error is in HTTP; one that is not listed is what its base class is."""

_ATTRS = {
    "created_before": "filters.createdBefore",
    "created_after": "filters.createdAfter",
    "entity_ids": "filters.entityIds",
    "idempotency_key": "Idempotency-Key",
    "before": "cursor",
    "after": "cursor",
    "order": "ordering",
}
"""Where on the wire a field of a request stands, if not under its name in camelCase."""


class ServiceError(APIException):
    """What the service refused."""

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
    """An error may repeat what it was sent, half a surrogate pair too: UTF-8 has none."""

    ensure_ascii = True


class ProblemRenderer(ErrorRenderer):
    """RFC 9457, https://www.rfc-editor.org/rfc/rfc9457."""

    media_type = "application/problem+json"


class ErrorType(StrEnum):
    """Whose fault it is; a validation error is about fields."""

    VALIDATION_ERROR = "validation_error"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"


class ErrorItem(Document):
    """One thing that is wrong."""

    code: str = told("What kind of error it is.", "invalid_request")
    detail: str = told("What is wrong, and what to do.", "It is wrong.")
    attr: str | None = told("The field at fault, if one is.", None)


class Error(Document):
    """Why it was refused."""

    type: ErrorType = told("Whose fault it is.", "client_error")
    errors: list[ErrorItem] = told("What is wrong.", [example_of(ErrorItem)])


class Problem(Document):
    """The same as RFC 9457 has it, for those who take `application/problem+json`."""

    type: str = told("Always the same.", "about:blank")
    title: str = told("The status in words.", "Bad Request")
    status: int = told("The status.", 400)
    detail: str = told("The first of the errors.", "It is wrong.")
    code: str = told("What kind of error it is.", "invalid_request")
    errors: list[ErrorItem] = told("What is wrong.", [example_of(ErrorItem)])


def translate(error: exceptions.AIMigrationError) -> APIException:
    """The service's error in the framework's words."""
    if not isinstance(error, exceptions.InvalidRequestError):
        return ServiceError(error)
    words = [ErrorDetail(error.message, error.code)]
    attr = error.field and _ATTRS.get(error.field, to_camel(error.field))
    return ValidationError({attr: words} if attr else words)


def formatted(error: APIException) -> dict[str, Any]:
    """An error as we answer it."""
    context: Any = {}  # it is kept, and not looked at
    document: dict[str, Any] = ExceptionFormatter(error, context, error).run()
    return document


def problem(status: int, data: dict[str, Any]) -> dict[str, Any]:
    """An error as a problem document; ``errors`` stay beside it."""
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
    """Our errors and Django's refusals of a request beside what the library knows."""

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
        """JSON, or a problem document where the client takes one."""
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
    """The exception handler of our views."""
    return MigrationExceptionHandler(exc, context).run()
