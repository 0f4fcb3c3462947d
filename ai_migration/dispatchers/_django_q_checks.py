"""What of ``Q_CLUSTER`` bites: each finding with a hint. Explained in docs/reference/checks.md."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from ai_migration.conf import get_settings

PROVIDER_SECONDS = 30
"""How long a request in flight at the end of a slice may take."""
GUARD_CYCLES = (0.25, 0.5, 1)
"""Others are rounded to seconds by the scheduler, and tasks come late."""


def check_cluster() -> list[CheckMessage]:
    """Everything wrong with the cluster's settings."""
    if not apps.is_installed("django_q"):
        return [
            Error(
                "The dispatcher is django-q2's, and 'django_q' is not in INSTALLED_APPS.",
                hint="Add 'django_q' to INSTALLED_APPS and run: manage.py migrate",
                id="ai_migration.E121",
            )
        ]
    return list(_findings())


def _findings() -> Iterator[CheckMessage]:
    from django_q.conf import Conf

    shortest = math.ceil(get_settings().SLICE_SECONDS) + PROVIDER_SECONDS
    timeout = Conf.TIMEOUT
    if timeout is None or timeout < shortest:
        yield _warning(
            f"Q_CLUSTER['timeout'] is {timeout}: a slice and one slow request take {shortest} s.",
            f"Set it to {shortest} or more: a task that hangs is then ended, and no other is.",
            id="ai_migration.W121",
        )
        timeout = max(shortest, timeout or 0)
    waiting = math.ceil((Conf.QUEUE_LIMIT + Conf.BULK) / max(1, Conf.WORKERS))
    retry = (timeout + 5) * (1 + waiting) + 15
    if (Conf.RETRY or 0) < retry:
        yield _warning(
            f"Q_CLUSTER['retry'] is {Conf.RETRY}: its clock runs while a task waits behind "
            f"{Conf.QUEUE_LIMIT + Conf.BULK} others, so that slow tasks are run twice.",
            f"Set it to {retry} or more, or make 'queue_limit' smaller.",
            id="ai_migration.W122",
        )
    if not Conf.ACK_FAILURES or not Conf.MAX_ATTEMPTS:
        yield _warning(
            "Q_CLUSTER repeats a task that fails for ever.",
            "Set 'ack_failures': True and 'max_attempts': 1; our tables say what is to be done.",
            id="ai_migration.W123",
        )
    if Conf.GUARD_CYCLE not in GUARD_CYCLES:
        yield _warning(
            f"Q_CLUSTER['guard_cycle'] is {Conf.GUARD_CYCLE}: schedules are looked at each half "
            f"minute counted in cycles.",
            f"Set it to one of {', '.join(map(str, GUARD_CYCLES))}.",
            id="ai_migration.W124",
        )
    if Conf.ORM and _reconnects(Conf.ORM):
        yield _warning(
            f"DATABASES[{Conf.ORM!r}]['CONN_MAX_AGE'] is 0: an idle cluster opens several "
            f"connections a second.",
            "Set it to 60, say.",
            id="ai_migration.W125",
        )
    configured = getattr(settings, "Q_CLUSTER", {})
    alternatives = configured.get("ALT_CLUSTERS") or {}
    for source, name in (
        ("AI_MIGRATION['CLUSTER']", get_settings().CLUSTER),
        ("The environment's Q_CLUSTER_NAME", os.environ.get("Q_CLUSTER_NAME")),
    ):
        if name and name != configured.get("name") and name not in alternatives:
            yield _warning(
                f"{source} is {name!r}, and Q_CLUSTER['ALT_CLUSTERS'] has no such cluster.",
                "Add it there, with its number of workers.",
                id="ai_migration.W126",
            )


def _reconnects(alias: str) -> bool:
    connection = connections[alias]
    return connection.vendor == "postgresql" and not connection.settings_dict["CONN_MAX_AGE"]


def _warning(message: str, hint: str, *, id: str) -> CheckMessage:
    return Warning(message, hint=f"{hint} See docs/reference/checks.md.", id=id)
