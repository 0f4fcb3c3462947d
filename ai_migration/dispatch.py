"""The contract by which a lower floor wakes the engine without knowing it."""

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
    """What a message says: work in this slot, if its fencing token is still this one."""

    slot_id: int
    token: int

    @property
    def generation(self) -> int:
        """The token, by its name before 0.1."""
        return self.token


class Dispatcher(ABC):
    """Base of what the setting ``DISPATCHER`` names: it has workers look at the queue.

    Only :meth:`wake` has to be written. An instance is made, without arguments, each time one
    is needed. ``ai_migration.testing.DispatcherContract`` tests one.

    Attributes:
        supports_messages: Whether :meth:`send` and :meth:`send_canary` deliver to a cluster
            that runs ``ai_migration.tasks``.
        supports_schedules: Whether :meth:`install` makes a schedule of the supervisor's tick.
        schedules_app: Label of the app whose tables the schedule is kept in: ``migrate``
            installs it when they are made. Empty: they are no tables.
    """

    supports_messages: ClassVar[bool] = False
    supports_schedules: ClassVar[bool] = False
    schedules_app: ClassVar[str] = ""

    @abstractmethod
    def wake(self) -> None:
        """Ask for a worker to look at the queue soon. Must not block: the row in the queue is
        the truth, this is only a hint."""

    def prepare(self) -> None:
        """Do what has to be done before this process forks workers; called once, at start."""
        return

    def is_stopping(self) -> bool:
        """Whether the cluster this process works for is being stopped."""
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
        """Have ``ai_migration.tasks.supervise`` called every minute; twice is once.

        Returns:
            Whether anything was to be done.
        """
        return False

    def check(self) -> list[CheckMessage]:
        """System checks of what the dispatcher needs; without a query."""
        return []

    def diagnoses(self, wait: float) -> Sequence[Diagnosis]:
        """What ``ai_migration doctor`` looks at besides our tables.

        Args:
            wait: Seconds a cluster is given to answer; 0: ask it nothing.
        """
        return []


def wake() -> None:
    """Wake the engine through the configured dispatcher.

    Never raises: the work is in the queue already, and the caller has not failed. What went
    wrong is logged; a wrong ``DISPATCHER`` is a system check's error.
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
    if not (isinstance(made, type) and issubclass(made, Dispatcher)):
        raise SettingsError(f"{where} is no subclass of ai_migration.dispatch.Dispatcher")
    try:
        return made()
    except Exception as error:
        raise SettingsError(f"{where} cannot be made: {error!r}") from error
