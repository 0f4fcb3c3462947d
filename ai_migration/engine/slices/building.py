"""Build a store's index, which may take an hour, beside the work of this thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextvars import copy_context

from django.db import connections

from ai_migration.models.sql.apart import is_reproducible
from ai_migration.stores import VectorStore
from ai_migration.types import CollectionRef


def may_build_elsewhere(store: VectorStore, using: str) -> bool:
    """Return whether another thread is certain to find the store's collections.

    Args:
        store: The store.
        using: Database alias of our tables.
    """
    alias = getattr(store, "using", using if store.shares_transaction(using) else None)
    return alias is None or is_reproducible(alias)


def build_index(
    store: VectorStore, ref: CollectionRef, using: str, heartbeat: Callable[[], None]
) -> None:
    """Let the store build its index in a thread of its own, while this one keeps the lease. If
    another thread may not find the collection, build it in this one: the lease may run out, and the
    next worker finds the index being built."""
    if not may_build_elsewhere(store, using):
        store.optimize(ref)
        return

    def build() -> None:
        try:
            store.optimize(ref)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1, thread_name_prefix="optimize") as executor:
        future = executor.submit(copy_context().run, build)
        while not future.done():
            wait_for([future], timeout=1.0)
            heartbeat()
        future.result()
