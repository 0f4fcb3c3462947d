"""The app of the documentation entries."""

from __future__ import annotations

from django.apps import AppConfig


class PydocsConfig(AppConfig):
    """Documentation of Python packages, to search in."""

    name = "pydocs"
    verbose_name = "Python documentation"
