"""Build the indexes that large collections lack, whether or not there is other work: under steady
writes the queue is never empty."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from datetime import timedelta
from threading import Thread

from django.db import Error, connections
from django.db.models import Q

from ai_migration.conf import get_settings
from ai_migration.engine.insight.attendance import is_worker_seen
from ai_migration.engine.slices.building import may_build_elsewhere
from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.feed.indexes import missing_indexes
from ai_migration.models import Collection, WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.apart import CONNECTIONS, pool_size
from ai_migration.models.sql.clock import Now
from ai_migration.stores import stores

logger = logging.getLogger("ai_migration")

BUILDER = "index-builder"
"""Name of the row that keeps the time of the next attempt."""
AGAIN_AFTER = timedelta(minutes=10)
"""The time between two attempts, over all processes. A store knows of a build that takes longer:
then it needs no index. One that died, or failed, is tried again."""
_LOOK_EVERY = 60.0


class IndexBuilder:
    """Builds missing indexes beside the worker it belongs to, in a thread. The thread ends with the
    process; a database goes on with what it was told, or the next attempt begins anew."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._looked = float("-inf")

    def look(self) -> None:
        """Start to build what is missing, once a minute, unless this or another process does."""
        if self._thread is not None and self._thread.is_alive():
            return
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return
        self._looked = time.monotonic()
        self._thread = start_missing()

    def wait(self, should_stop: Callable[[], bool]) -> None:
        """Wait until it has built what it began."""
        while self._thread is not None and self._thread.is_alive() and not should_stop():
            self._thread.join(timeout=0.1)


def start_missing() -> Thread | None:
    """Start a thread that builds missing indexes, if there are any that another thread can build
    and nobody has begun to. Return it."""
    using = our_database()
    found = [each for each in _missing(using) if _may_be_elsewhere(each, using)]
    if not found or not _claim(using):
        return None
    build = _builder(found)

    def run() -> None:
        try:
            build()
        finally:
            connections.close_all()

    thread = Thread(target=copy_context().run, args=(run,), name="build-index", daemon=True)
    thread.start()
    return thread


def build_missing() -> None:
    """Build missing indexes in this thread, except those that a running worker can build."""
    using = our_database()
    found = _missing(using)
    if found and is_worker_seen(using):
        found = [each for each in found if not _may_be_elsewhere(each, using)]
    if found and _claim(using):
        _builder(found)()


def _missing(using: str) -> list[Collection]:
    return missing_indexes(using) if get_settings().BUILD_INDEX_ABOVE is not None else []


def _may_be_elsewhere(collection: Collection, using: str) -> bool:
    store = stores[collection.store]
    connections_left = pool_size(getattr(store, "using", using))
    has_room = connections_left is None or connections_left > CONNECTIONS
    return has_room and may_build_elsewhere(store, using)


def _claim(using: str) -> bool:
    """Take the next attempt, if it is due."""
    slots = WorkerSlot.objects.using(using).filter(name=BUILDER)
    slots.get_or_create(name=BUILDER)
    due = Q(last_seen_at=None) | Q(last_seen_at__lt=Now())
    return bool(slots.filter(due).update(last_seen_at=clock.after(AGAIN_AFTER.total_seconds())))


def _builder(collections: Sequence[Collection]) -> Callable[[], None]:
    """Return a function that builds their indexes, one after the other, without our tables."""
    todo = [(stores[each.store], each.ref) for each in collections]

    def build() -> None:
        for store, ref in todo:
            logger.info("%s is large and has no index: building it", ref.name)
            try:
                store.optimize(ref)
            except (AIMigrationError, Error) as error:
                logger.warning(
                    "the index of %s was not built, trying again in ten minutes: %s",
                    *(ref.name, error),
                )

    return build
