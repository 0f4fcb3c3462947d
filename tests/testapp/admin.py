"""The rows of the tests in the admin: lists of ours link to them."""

from __future__ import annotations

from django.contrib import admin  # noqa: TID251  (a project, not the library)

from tests.testapp.models import Article

admin.site.register(Article)
