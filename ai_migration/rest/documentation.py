"""The OpenAPI document, and the page that shows it: every file of it is served locally."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from django.templatetags.static import static
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

import ai_migration
from ai_migration.rest.access import VIEW
from ai_migration.rest.base import MigrationView, Tag
from ai_migration.rest.openapi import described, operation

_SETTINGS = {
    "TITLE": "django-ai-migration",
    "DESCRIPTION": "Start, watch and steer migrations, and search the index.",
    "VERSION": ai_migration.__version__,
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "",
    "SCHEMA_PATH_PREFIX_TRIM": False,
    "SCHEMA_PATH_PREFIX_INSERT": "",
    "CAMELIZE_NAMES": False,
    "PREPROCESSING_HOOKS": [],
    "POSTPROCESSING_HOOKS": [],
    "ENUM_NAME_OVERRIDES": {},
    "APPEND_COMPONENTS": {},
    "TAGS": [{"name": tag.value, "description": tag.description} for tag in Tag],
    "EXTERNAL_DOCS": {},
    "WEBHOOKS": [],
}
"""The settings of our document, whatever the host's own are."""

_lock = threading.Lock()


def openapi_document(server: str) -> dict[str, Any]:
    """Return our OpenAPI document.

    Args:
        server: The path our urls are included at.
    """
    with _lock:  # the library's settings are global: they are ours only meanwhile
        document = _document()
    return {**document, "servers": [{"url": server}]}


@cache
def _document() -> dict[str, Any]:
    with patched_settings(_SETTINGS):
        generator = SchemaGenerator(urlconf="ai_migration.rest.urls")
        document: dict[str, Any] = generator.get_schema(public=True)
    return document


class SchemaView(MigrationView):
    tag = Tag.SCHEMA
    access = {"GET": VIEW}

    @operation("getSchema", dict)
    def get(self, request: Request) -> Response:
        """Return this document, in OpenAPI 3.1."""
        return Response(openapi_document(request.path.rpartition("/")[0]))


class DocsView(MigrationView, SpectacularSwaggerSplitView):
    """Swagger UI. Needs drf_spectacular, drf_spectacular_sidecar and staticfiles installed."""

    access = {"GET": VIEW}
    renderer_classes = [TemplateHTMLRenderer]
    title = "django-ai-migration"

    @described(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        return answer

    def _get_schema_url(self, request: Request) -> str:
        return self.link("schema")

    @staticmethod
    def _swagger_ui_resource(filename: str) -> str:
        return static(f"drf_spectacular_sidecar/swagger-ui-dist/{filename}")

    @staticmethod
    def _swagger_ui_favicon() -> str:
        return static("drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png")
