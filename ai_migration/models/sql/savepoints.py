"""Statements that may fail without harm to the transaction they are in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from django.db import connections, transaction


def sparing(using: str) -> AbstractContextManager[object]:
    """Keep the transaction around the block, such as a request's, intact if a statement fails.

    Args:
        using: Database alias.
    """
    is_inside = connections[using].in_atomic_block
    return transaction.atomic(using=using) if is_inside else nullcontext()
