"""Checks of embedders and stores: each alias is made and runs its own checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.db import Error

from ai_migration.backends import BackendImportError, BackendRegistry, BackendTypeError
from ai_migration.checks import codes
from ai_migration.checks.settings import settings_are_valid
from ai_migration.embedders import embedders
from ai_migration.exceptions import MissingDependencyError, SettingsError, StoreError
from ai_migration.models.leases import our_database
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


def check_servers(
    app_configs: object = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Run the checks of stores that ask their server."""
    if not databases or not settings_are_valid():
        return []
    return [message for alias in stores for message in _check_server(alias, databases)]


def _check_server(alias: str, databases: Sequence[str]) -> Iterator[CheckMessage]:
    try:
        store = stores[alias]
        if getattr(store, "using", our_database()) in databases:
            yield from _messages(store.check_server, _where(stores, alias))
    except SettingsError:
        return  # reported by check_backends


def _check_alias(registry: BackendRegistry[Any], alias: str) -> Iterator[CheckMessage]:
    where = _where(registry, alias)
    try:
        backend = registry[alias]
    except SettingsError as error:
        yield _code(error).message(error.message, obj=where)
        return
    yield from _messages(backend.check, where)


def _where(registry: BackendRegistry[Any], alias: str) -> str:
    return f"AI_MIGRATION[{registry.setting!r}][{alias!r}]"


def _messages(check: Callable[[], Iterable[object]], where: str) -> Iterator[CheckMessage]:
    """Run a backend's check, and return its messages without secrets."""
    try:
        messages = list(check())
    except (Error, StoreError):
        return  # no connection: Django or a job reports it
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
