"""Throttles for the setting ``THROTTLE``: each returns why jobs should wait, or None."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django.db import connections
from django.utils import timezone

from ai_migration.exceptions import SettingsError
from ai_migration.models.leases import our_database
from ai_migration.models.sql.dialects import PostgreSQL, dialect


class HoursOfDay:
    """Lets jobs work between two times of the day, in the time zone of the settings.

    Args:
        start: ``"22:00"``.
        end: ``"06:00"``; before ``start``: on the next day.
    """

    def __init__(self, start: str, end: str) -> None:
        self.start, self.end = _time_of_day(start), _time_of_day(end)
        if self.start == self.end:
            raise ValueError("start and end are the same")

    def __call__(self) -> str | None:
        now = datetime.now(timezone.get_default_timezone()).time()
        if self.contains(now):
            return None
        return f"it is not between {self.start:%H:%M} and {self.end:%H:%M}"

    def contains(self, moment: time) -> bool:
        """Return whether a time of the day is between the two; the end is not."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


class ReplicationLag:
    """Holds jobs while a standby of a PostgreSQL primary is behind.

    The role needs ``pg_monitor`` to see the lag of standbys.

    Args:
        max_seconds: The lag of the slowest, at most.
        using: Database alias of the primary; default: where our tables are.
    """

    def __init__(self, max_seconds: float = 10, using: str | None = None) -> None:
        self.max_seconds = _positive("max_seconds", max_seconds)
        self.using = _postgresql(using)

    def __call__(self) -> str | None:
        lag, is_hidden = _row(
            self.using,
            "SELECT max(extract(epoch FROM replay_lag)), bool_or(state IS NULL)"
            " FROM pg_stat_replication",
        )
        if is_hidden:
            raise SettingsError(
                f"The role of the database {self.using!r} may not see the lag of its standbys: "
                f"grant it pg_monitor, or remove ReplicationLag from THROTTLE"
            )
        if lag is None or lag <= self.max_seconds:
            return None
        return f"a standby is {lag:.0f} seconds behind, more than {self.max_seconds:g}"


class Connections:
    """Holds jobs while a PostgreSQL server has few connections left.

    Args:
        max_share: The share of ``max_connections`` that may be open.
        using: Database alias; default: where our tables are.
    """

    def __init__(self, max_share: float = 0.8, using: str | None = None) -> None:
        self.max_share = _positive("max_share", max_share)
        self.using = _postgresql(using)

    def __call__(self) -> str | None:
        # A role sees only the database of other roles' connections.
        [share] = _row(
            self.using,
            "SELECT count(*) / current_setting('max_connections')::float FROM pg_stat_activity"
            " WHERE datid IS NOT NULL",
        )
        if share <= self.max_share:
            return None
        return f"{share:.0%} of the connections are open, more than {self.max_share:.0%}"


def _row(using: str, query: str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()


def _postgresql(using: str | None) -> str:
    alias = using or our_database()
    if not isinstance(dialect(alias), PostgreSQL):
        raise ValueError(f"the database {alias!r} is {connections[alias].vendor}, not PostgreSQL")
    return alias


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be above 0")
    return value


def _time_of_day(text: str) -> time:
    moment = time.fromisoformat(text)
    if moment.tzinfo is not None:
        raise ValueError("a time of the day has no offset: it is in the settings' time zone")
    return moment
