"""Checks of AI_MIGRATION, and of the dispatcher, throttles and permission that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage

from ai_migration.checks import codes
from ai_migration.conf import SettingsFault, get_settings, settings_problems
from ai_migration.dispatch import get_dispatcher
from ai_migration.exceptions import SettingsError
from ai_migration.indexing.permission import search_permission
from ai_migration.pace.throttling import make_throttle

OBJECT = "AI_MIGRATION"

_CODES = {
    SettingsFault.NO_DICT: codes.NO_DICT,
    SettingsFault.UNKNOWN_KEY: codes.UNKNOWN_KEY,
    SettingsFault.WRONG_VALUE: codes.WRONG_VALUE,
    SettingsFault.NO_DEFAULT: codes.NO_DEFAULT,
}


def settings_are_valid() -> bool:
    """Return whether the other checks can run; if not, ``check_settings`` reports why."""
    return not settings_problems(_raw())


def check_settings(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """Report unknown keys, wrong values, missing aliases and wrong dotted paths."""
    problems = settings_problems(_raw())
    if problems:
        return [
            _CODES[item.fault].message(f"{item.message}.", hint=item.hint, obj=OBJECT)
            for item in problems
        ]
    return [
        *_check_dispatcher(),
        *_check_throttles(),
        *_check_search_permission(),
        *_check_query_cache(),
    ]


def _check_dispatcher() -> list[CheckMessage]:
    try:
        return get_dispatcher().check()
    except SettingsError as error:
        return [codes.DISPATCHER.message(error.message, obj=OBJECT)]


def _check_throttles() -> Iterator[CheckMessage]:
    for number, configured in enumerate(get_settings().THROTTLE):
        try:
            make_throttle(number, configured)
        except SettingsError as error:
            yield codes.THROTTLE.message(error.message, obj=OBJECT)


def _check_search_permission() -> Iterator[CheckMessage]:
    try:
        search_permission()
    except SettingsError as error:
        yield codes.SEARCH_PERMISSION.message(error.message, obj=OBJECT)


def _check_query_cache() -> Iterator[CheckMessage]:
    alias = get_settings().QUERY_CACHE
    if alias is not None and alias not in caches.settings:
        known = ", ".join(sorted(caches.settings))
        text = f"AI_MIGRATION['QUERY_CACHE'] is {alias!r}, which is not in CACHES: {known}."
        yield codes.QUERY_CACHE.message(text, obj=OBJECT)


def _raw() -> object:
    return getattr(settings, OBJECT, {})
