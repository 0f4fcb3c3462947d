"""Checks of embedders and stores: each alias is made and runs its own checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage

from ai_migration.backends import BackendImportError, BackendRegistry, BackendTypeError
from ai_migration.checks import codes
from ai_migration.checks.settings import settings_are_valid
from ai_migration.embedders import embedders
from ai_migration.exceptions import MissingDependencyError, SettingsError
from ai_migration.redaction import redacted
from ai_migration.stores import stores

_REGISTRIES: tuple[BackendRegistry[Any], ...] = (embedders, stores)


def check_backends(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """Report backends that cannot be made, and run the checks of the others."""
    if not settings_are_valid():
        return []
    return [
        message
        for registry in _REGISTRIES
        for alias in registry
        for message in _check_alias(registry, alias)
    ]


def _check_alias(registry: BackendRegistry[Any], alias: str) -> Iterator[CheckMessage]:
    where = f"AI_MIGRATION[{registry.setting!r}][{alias!r}]"
    try:
        backend = registry[alias]
    except SettingsError as error:
        yield _code(error).message(error.message, obj=where)
        return
    try:
        messages = list(backend.check())
    except Exception as error:
        yield codes.BACKEND_CHECK.message(f"its check() raised {type(error).__name__}", obj=where)
        return
    for message in messages:
        if not isinstance(message, CheckMessage):
            text = f"its check() returned a {type(message).__name__}"
            yield codes.BACKEND_CHECK.message(text, obj=where)
            continue
        message.msg = redacted(str(message.msg))
        message.obj = message.obj or where
        yield message


def _code(error: SettingsError) -> codes.Code:
    if isinstance(error, BackendImportError):
        return codes.BACKEND_IMPORT
    if isinstance(error, BackendTypeError):
        return codes.BACKEND_TYPE
    if isinstance(error, MissingDependencyError):
        return codes.BACKEND_LIBRARY
    return codes.BACKEND_OPTIONS
