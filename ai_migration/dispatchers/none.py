"""No messages at all: workers poll the queue."""

from __future__ import annotations


class NullDispatcher:
    """For those who run ``ai_migration worker`` or only the foreground command."""

    def wake(self) -> None:
        """Nothing to do: a polling worker finds the entry by itself."""
