"""The urls of a host that has the REST API."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("api/ai/migration/", include("ai_migration.rest.urls"))]
