"""The contract by which a lower floor wakes the engine without knowing it."""

from __future__ import annotations

from typing import Protocol, cast

from django.utils.module_loading import import_string

from ai_migration.conf import get_settings
from ai_migration.exceptions import SettingsError


class Dispatcher(Protocol):
    """What the setting ``DISPATCHER`` names: something that can start a worker's slice."""

    def wake(self) -> None:
        """Ask for a worker to look at the queue soon. Must not raise, must not block:
        the row in the queue is the truth, this is only a hint."""


def wake() -> None:
    """Wake the engine through the configured dispatcher.

    Raises:
        SettingsError: ``DISPATCHER`` names nothing that can be imported.
    """
    get_dispatcher().wake()


def get_dispatcher() -> Dispatcher:
    """An instance of the configured dispatcher.

    Raises:
        SettingsError: ``DISPATCHER`` names nothing that can be imported.
    """
    path = get_settings().DISPATCHER
    try:
        return cast(Dispatcher, import_string(path)())
    except ImportError as error:
        raise SettingsError(
            f"AI_MIGRATION['DISPATCHER'] is {path!r}, which cannot be imported: {error}"
        ) from error
