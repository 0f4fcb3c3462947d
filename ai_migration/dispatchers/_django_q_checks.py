"""Checks of ``Q_CLUSTER``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from ai_migration.conf import get_settings
from ai_migration.models.sql.dialects import PostgreSQL, dialect

PROVIDER_SECONDS = 30
"""Seconds for a request that is in flight at the end of a slice."""
GUARD_CYCLES = (0.25, 0.5, 1)
"""The scheduler rounds other values to seconds, and tasks come late."""


def check_cluster() -> list[CheckMessage]:
    """Return the problems of the cluster's settings."""
    if not apps.is_installed("django_q"):
        return [
            Error(
                "The dispatcher is django-q2's, and 'django_q' is not in INSTALLED_APPS.",
                hint="Add 'django_q' to INSTALLED_APPS and run: manage.py migrate",
                id="ai_migration.E121",
            )
        ]
    return list(_findings())


@dataclass(frozen=True)
class _Cluster:
    """The settings of the cluster that runs our tasks."""

    timeout: int | None
    retry: int
    queue_limit: int
    bulk: int
    workers: int
    ack_failures: bool
    max_attempts: int
    guard_cycle: float
    orm: str | None

    @classmethod
    def ours(cls) -> _Cluster:
        """``Q_CLUSTER``, with what ``ALT_CLUSTERS`` has for the setting ``CLUSTER``."""
        from django_q.conf import Conf

        values = {each.name: getattr(Conf, each.name.upper()) for each in fields(cls)}
        own = (_configured().get("ALT_CLUSTERS") or {}).get(get_settings().CLUSTER) or {}
        if "workers" in own and "queue_limit" not in _configured():
            values["queue_limit"] = own["workers"] ** 2  # django-q2's default
        return cls(**{name: own.get(name, value) for name, value in values.items()})


def _findings() -> Iterator[CheckMessage]:
    ours = _Cluster.ours()
    shortest = math.ceil(get_settings().SLICE_SECONDS) + PROVIDER_SECONDS
    timeout = ours.timeout
    if timeout is None or timeout < shortest:
        yield _warning(
            f"Q_CLUSTER['timeout'] is {timeout}: a slice and one slow request take {shortest} s.",
            f"Set it to {shortest} or more: then only a task that hangs is ended.",
            id="ai_migration.W121",
        )
        timeout = max(shortest, timeout or 0)
    waiting = math.ceil((ours.queue_limit + ours.bulk) / max(1, ours.workers))
    retry = (timeout + 5) * (1 + waiting) + 15
    if (ours.retry or 0) < retry:
        yield _warning(
            f"Q_CLUSTER['retry'] is {ours.retry}: its clock runs while a task waits behind "
            f"{ours.queue_limit + ours.bulk} others, so that slow tasks are run twice.",
            f"Set it to {retry} or more, or make 'queue_limit' smaller.",
            id="ai_migration.W122",
        )
    if not ours.ack_failures or not ours.max_attempts:
        yield _warning(
            "Q_CLUSTER repeats a failing task for ever.",
            "Set 'ack_failures': True and 'max_attempts': 1; our tables keep the work.",
            id="ai_migration.W123",
        )
    if ours.guard_cycle not in GUARD_CYCLES:
        yield _warning(
            f"Q_CLUSTER['guard_cycle'] is {ours.guard_cycle}: schedules are checked every half "
            f"minute counted in cycles.",
            f"Set it to one of {', '.join(map(str, GUARD_CYCLES))}.",
            id="ai_migration.W124",
        )
    if ours.orm and _reconnects(ours.orm):
        yield _warning(
            f"DATABASES[{ours.orm!r}]['CONN_MAX_AGE'] is 0: an idle cluster opens several "
            f"connections a second.",
            "Set it to 60, for example.",
            id="ai_migration.W125",
        )
    known = {_configured().get("name"), _configured().get("cluster_name")}
    known |= set(_configured().get("ALT_CLUSTERS") or {})
    for source, name in (
        ("AI_MIGRATION['CLUSTER']", get_settings().CLUSTER),
        ("The environment's Q_CLUSTER_NAME", os.environ.get("Q_CLUSTER_NAME")),
    ):
        if name and name not in known:
            yield _warning(
                f"{source} is {name!r}, and Q_CLUSTER['ALT_CLUSTERS'] has no such cluster.",
                "Add it there, with its number of workers.",
                id="ai_migration.W126",
            )


def _configured() -> dict[str, Any]:
    return getattr(settings, "Q_CLUSTER", {})


def _reconnects(alias: str) -> bool:
    is_dear = isinstance(dialect(alias), PostgreSQL)  # each connection is a process of the server
    return is_dear and not connections[alias].settings_dict["CONN_MAX_AGE"]


def _warning(message: str, hint: str, *, id: str) -> CheckMessage:
    return Warning(message, hint=hint, id=id)
