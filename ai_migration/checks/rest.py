"""Checks of a host that includes the urls of the REST API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.urls import get_resolver

from ai_migration.checks import codes
from ai_migration.exceptions import MissingDependencyError

OBJECT = "ai_migration.rest"
_AUTH = ("django.contrib.auth", "django.contrib.contenttypes")
_DOCS = ("django.contrib.staticfiles", "drf_spectacular", "drf_spectacular_sidecar")


def check_rest(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the host; silent where the urls are not included."""
    return list(_check())


def _check() -> Iterator[CheckMessage]:
    try:
        is_included = "ai_migration" in get_resolver().app_dict
    except MissingDependencyError as error:
        yield codes.REST_LIBRARY.message(error.message, obj=OBJECT)
        return
    except Exception:  # Django's own check of the urls reports it better
        return
    if not is_included:
        return
    if missing := _missing(_AUTH):
        yield codes.REST_AUTH.message(f"it cannot be called without {missing}", obj=OBJECT)
    if missing := _missing(_DOCS):
        yield codes.REST_DOCS.message(f"its page 'docs' needs {missing}", obj=OBJECT)


def _missing(names: tuple[str, ...]) -> str:
    return ", ".join(name for name in names if not apps.is_installed(name))
