"""Permission to search an entity type, by the setting ``SEARCH_PERMISSION``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias

from django.core.exceptions import PermissionDenied
from django.utils.module_loading import import_string

from ai_migration.conf import get_settings
from ai_migration.exceptions import SettingsError

SearchPermission: TypeAlias = Callable[[object, str], bool]
"""``(user, entity_type) -> bool``."""


def may_search(user: object, entity_type: str) -> bool:
    """Return whether a user who may search at all may search this entity type; always True where
    nothing is set.

    Args:
        user: The user who asks.
        entity_type: The requested name, which may be unknown.

    Raises:
        SettingsError: The setting gives no answer: the search is refused.
    """
    permission = search_permission()
    if permission is None:
        return True
    path = get_settings().SEARCH_PERMISSION
    try:
        answer: object = permission(user, entity_type)
    except PermissionDenied:
        return False
    except Exception as error:
        raise _wrong(path, f"raised {type(error).__name__}") from error
    if not isinstance(answer, bool):
        raise _wrong(path, f"gave a {type(answer).__name__}, not True or False")
    return answer


def search_permission() -> SearchPermission | None:
    """Return the function that the setting names, if it names one.

    Raises:
        SettingsError: It cannot be imported, or not be called with a user and an entity type.
    """
    path = get_settings().SEARCH_PERMISSION
    if path is None:
        return None
    try:
        found = import_string(path)
    except Exception as error:  # a module can raise anything while it is imported
        words = str(error) if isinstance(error, ImportError) else repr(error)
        raise _wrong(path, f"cannot be imported: {words}") from error
    if not callable(found):
        raise _wrong(path, "cannot be called")
    if inspect.iscoroutinefunction(found):
        raise _wrong(path, "is a coroutine: write a plain function")
    try:
        inspect.signature(found).bind(None, "")
    except TypeError as error:
        raise _wrong(path, f"does not take a user and an entity type: {error}") from error
    except ValueError:  # its arguments are unknown
        pass
    return found  # type: ignore[no-any-return]


def _wrong(path: str | None, problem: str) -> SettingsError:
    return SettingsError(f"AI_MIGRATION['SEARCH_PERMISSION'] is {path!r}, which {problem}")
