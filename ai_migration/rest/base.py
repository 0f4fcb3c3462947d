"""The base of all views. The host has to set nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar

from django.urls import reverse
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ai_migration.engine.recovery import recover_opportunistically
from ai_migration.rest.access import Access, HasPermission, ScopeThrottle
from ai_migration.rest.errors import handle_exception
from ai_migration.rest.openapi import MigrationAutoSchema
from ai_migration.rest.parsing import AlwaysJSON, BoundedJSONParser


class Tag(StrEnum):
    """The groups of calls in OpenAPI, each with its description."""

    description: str

    def __new__(cls, value: str, description: str) -> Tag:
        tag = str.__new__(cls, value)
        tag._value_, tag.description = value, description
        return tag

    JOBS = "Migration jobs", "Start, watch and control migrations."
    INDEX = "Migration index", "What is indexed, and search in it."
    SCHEMA = "Migration schema", "The description of these calls."


class MigrationView(APIView):
    """Base of a call. Authentication is the host's, ``DEFAULT_AUTHENTICATION_CLASSES``."""

    tag: ClassVar[Tag] = Tag.JOBS
    access: ClassVar[Mapping[str, Access]]
    """By method; a method that is not listed is refused."""

    permission_classes = (HasPermission,)
    throttle_classes = (ScopeThrottle,)
    parser_classes = (BoundedJSONParser,)
    renderer_classes: Sequence[type[BaseRenderer]] = (JSONRenderer,)
    content_negotiation_class = AlwaysJSON
    metadata_class = None
    versioning_class = None
    schema = MigrationAutoSchema()

    def get_exception_handler(self) -> Callable[[Exception, Any], Response | None]:
        return handle_exception

    def link(self, name: str, *args: str) -> str:
        """Return the path of another call, wherever and as often as the urls are included."""
        match = self.request.resolver_match
        current = match.namespace if match else None
        return reverse(f"ai_migration:{name}", args=args, current_app=current)

    @property
    def user_name(self) -> str:
        """The name of the user who calls, for the audit log."""
        return str(self.request.user.get_username())


class RecoveringView(MigrationView):
    """A call that shows or steers jobs; it triggers opportunistic recovery."""

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code < 400:
            recover_opportunistically()
        return answer
