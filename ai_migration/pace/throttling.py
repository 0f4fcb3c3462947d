"""Ask the throttles of ``THROTTLE`` whether jobs may load the databases, and hold them if not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from django.db.models import Q

from ai_migration.backends import (
    BackendOptionsError,
    BackendTypeError,
    import_backend,
    make_backend,
)
from ai_migration.conf import BackendSettings, get_settings
from ai_migration.entities.text import clean
from ai_migration.exceptions import AIMigrationError
from ai_migration.models import MigrationJob
from ai_migration.models.sql import clock
from ai_migration.redaction import redacted
from ai_migration.types import JobStatus

logger = logging.getLogger("ai_migration")

ASK_EVERY = 5.0
"""Seconds for which an answer is kept in this process."""

Throttle = Callable[[], str | None]
"""A callable that returns why no job may go on now, or None."""


def hold_jobs(using: str) -> None:
    """Throttle the running jobs while there is a reason to; call it before claiming.

    Args:
        using: Database alias of our tables.
    """
    reason = get_throttles().reason()
    if reason is None:
        return
    is_due = Q(throttled_until=None) | Q(throttled_until__lt=clock.after(ASK_EVERY))
    jobs = MigrationJob.objects.using(using).filter(is_due, status=JobStatus.RUNNING)
    for job_id in jobs.values_list("pk", flat=True):  # one by one, so that workers never deadlock
        jobs.filter(pk=job_id).update(
            throttled_until=clock.after(2 * ASK_EVERY), throttle_reason=reason
        )


class Throttles:
    """The throttles of ``THROTTLE``. One that cannot be made is logged and left out.

    Args:
        configured: The setting's value.
    """

    def __init__(self, configured: Sequence[BackendSettings]) -> None:
        self.configured = configured
        self._throttles = list(_usable(configured))
        self._asked = float("-inf")
        self._reason: str | None = None

    def reason(self) -> str | None:
        """Return the first reason that a throttle gives; they are asked every few seconds."""
        if time.monotonic() - self._asked >= ASK_EVERY:
            self._reason = next(filter(None, map(_ask, self._throttles)), None)
            self._asked = time.monotonic()
        return self._reason


_throttles: Throttles | None = None


def get_throttles() -> Throttles:
    """Return the throttles of the present settings; one object for the process."""
    global _throttles
    configured = get_settings().THROTTLE
    if _throttles is None or _throttles.configured is not configured:
        _throttles = Throttles(configured)
    return _throttles


def make_throttle(number: int, configured: BackendSettings) -> Throttle:
    """Return the throttle of an entry of ``THROTTLE``: a function, or an instance of a class.

    Args:
        number: Its position in the list.
        configured: The entry.

    Raises:
        SettingsError: It cannot be imported, is not callable, or refuses its options.
    """
    where = f"AI_MIGRATION['THROTTLE'][{number}]"
    made = import_backend(configured, where)
    if isinstance(made, type):
        made = make_backend(made, configured, where)
    elif configured.OPTIONS:
        raise BackendOptionsError(
            f"{where} has OPTIONS, but {configured.BACKEND} is not a class, so it takes none"
        )
    if not callable(made):
        raise BackendTypeError(f"{where} is {configured.BACKEND!r}, which cannot be called")
    return cast(Throttle, made)


def _usable(configured: Sequence[BackendSettings]) -> Iterator[Throttle]:
    for number, each in enumerate(configured):
        try:
            yield make_throttle(number, each)
        except AIMigrationError as error:
            logger.error("%s", error)


def _ask(throttle: Throttle) -> str | None:
    try:
        reason = throttle()
    except Exception:
        logger.exception("%r failed; it throttles no job", throttle)
        return None
    return redacted(clean(str(reason)))[:255] if reason else None
