"""The contract by which a lower floor wakes the engine without knowing it."""

from __future__ import annotations

import logging
from typing import Protocol, cast

from django.utils.module_loading import import_string

from ai_migration.conf import get_settings
from ai_migration.exceptions import SettingsError

logger = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """What the setting ``DISPATCHER`` names: something that can start a worker's slice.

    Optional methods: ``check()`` gives system checks, ``install()`` makes schedules,
    ``send(wake_up)`` and ``send_canary(sent)`` deliver messages, ``diagnoses(wait)`` adds to
    ``ai_migration doctor``.
    """

    def wake(self) -> None:
        """Ask for a worker to look at the queue soon. Must not raise, must not block:
        the row in the queue is the truth, this is only a hint."""


def wake() -> None:
    """Wake the engine through the configured dispatcher.

    Never raises: the work is in the queue already, and whoever put it there has not
    failed. What went wrong is logged; a wrong ``DISPATCHER`` is a system check's error.
    """
    try:
        get_dispatcher().wake()
    except Exception:
        logger.exception("The worker could not be woken; it finds the work at its next look")


def get_dispatcher() -> Dispatcher:
    """An instance of the configured dispatcher.

    Raises:
        SettingsError: ``DISPATCHER`` names nothing that can be imported, or no dispatcher.
    """
    path = get_settings().DISPATCHER
    where = f"AI_MIGRATION['DISPATCHER'] is {path!r}, which"
    try:
        made = import_string(path)
    except Exception as error:  # a module can raise anything while it is imported
        words = str(error) if isinstance(error, ImportError) else repr(error)
        raise SettingsError(f"{where} cannot be imported: {words}") from error
    try:
        dispatcher = made()
    except Exception as error:
        raise SettingsError(f"{where} cannot be made: {error!r}") from error
    if not callable(getattr(dispatcher, "wake", None)):
        raise SettingsError(f"{where} is no dispatcher: it has no method wake()")
    return cast(Dispatcher, dispatcher)
