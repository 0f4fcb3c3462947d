"""No messages at all: workers poll the queue."""

from __future__ import annotations

from ai_migration.dispatch import Dispatcher


class NullDispatcher(Dispatcher):
    """For projects that run ``ai_migration worker``, or only the foreground command."""

    def wake(self) -> None:
        """Do nothing: a polling worker finds the entry by itself."""
