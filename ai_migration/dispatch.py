"""The contract by which lower layers wake the engine without importing it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from ai_migration.conf import get_settings
from ai_migration.exceptions import SettingsError
from ai_migration.findings import Diagnosis

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WakeUp:
    """A message: work in this slot, if its fencing token is still this one."""

    slot_id: int
    token: int

    @property
    def generation(self) -> int:
        """The token, by its name before 0.1."""
        return self.token


class Dispatcher(ABC):
    """Base of dispatchers, which have workers look at the queue; see the setting ``DISPATCHER``.

    Only :meth:`wake` has to be implemented. An instance is made, without arguments, each time one
    is needed. ``ai_migration.testing.DispatcherContract`` tests one.

    Attributes:
        supports_messages: Whether :meth:`send` and :meth:`send_canary` deliver to a cluster
            that runs ``ai_migration.tasks``.
        supports_schedules: Whether :meth:`install` makes a schedule of the supervisor's tick.
        schedules_app: Label of the app whose tables the schedule is kept in: ``migrate``
            installs it when they are made. Empty: it is not in tables.
    """

    supports_messages: ClassVar[bool] = False
    supports_schedules: ClassVar[bool] = False
    schedules_app: ClassVar[str] = ""

    @abstractmethod
    def wake(self) -> None:
        """Ask for a worker to look at the queue soon. Must not block: the row in the queue is
        the truth, this is only a hint."""

    def prepare(self) -> None:
        """Prepare this process before it forks workers; called once, at start."""
        return

    def is_stopping(self) -> bool:
        """Return whether the cluster of this process is being stopped."""
        return False

    def send(self, wake_up: WakeUp) -> None:
        """Deliver a message: ``ai_migration.tasks.run_slice`` is called with the two numbers, now
        or when the current transaction commits, once, twice or never; by default never."""
        return

    def send_canary(self, sent: int) -> None:
        """Have the cluster call ``ai_migration.tasks.canary(sent)``.

        Args:
            sent: When it is sent, microseconds by the database's clock.
        """
        return

    def install(self) -> bool:
        """Have ``ai_migration.tasks.supervise`` called every minute; may be called again.

        Returns:
            Whether anything was changed.
        """
        return False

    def check(self) -> list[CheckMessage]:
        """Return system checks of the dispatcher's requirements, without a query."""
        return []

    def diagnoses(self, wait: float) -> Sequence[Diagnosis]:
        """Return the diagnoses that ``ai_migration doctor`` adds to those of our tables.

        Args:
            wait: Seconds to wait for a cluster's answer; 0: ask nothing.
        """
        return []


def wake() -> None:
    """Wake the engine through the configured dispatcher.

    Never raises: the work is in the queue already, and the caller has not failed. Errors are
    logged; system checks report a wrong ``DISPATCHER``.
    """
    try:
        get_dispatcher().wake()
    except Exception:
        logger.exception("The worker could not be woken; it finds the work at its next look")


def get_dispatcher() -> Dispatcher:
    """Return an instance of the configured dispatcher.

    Raises:
        SettingsError: ``DISPATCHER`` cannot be imported, or is not a dispatcher.
    """
    path = get_settings().DISPATCHER
    where = f"AI_MIGRATION['DISPATCHER'] is {path!r}, which"
    try:
        made = import_string(path)
    except Exception as error:  # a module can raise anything while it is imported
        words = str(error) if isinstance(error, ImportError) else repr(error)
        raise SettingsError(f"{where} cannot be imported: {words}") from error
    if not (isinstance(made, type) and issubclass(made, Dispatcher)):
        raise SettingsError(f"{where} is not a subclass of ai_migration.dispatch.Dispatcher")
    try:
        return made()
    except Exception as error:
        raise SettingsError(f"{where} cannot be made: {error!r}") from error
