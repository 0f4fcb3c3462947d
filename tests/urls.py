"""The pages of the tests."""

from __future__ import annotations

from django.contrib import admin  # noqa: TID251  (a project, not the library)
from django.urls import URLPattern, URLResolver, path

urlpatterns: list[URLPattern | URLResolver] = [path("admin/", admin.site.urls)]
