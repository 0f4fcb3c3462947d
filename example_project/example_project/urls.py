"""Pages of the example project."""

from __future__ import annotations

from django.contrib import admin  # noqa: TID251  (a project, not the library)
from django.urls import path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
