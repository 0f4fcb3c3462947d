"""Calls at the same moment, for what must hold whichever is faster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from django.db import connections


def at_once(calls: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Make all calls at the same moment, each on a thread with database connections of its own.

    Args:
        calls: The functions to call.

    Returns:
        The exceptions they raised.
    """
    errors: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        try:
            start.wait(timeout=30)
            call()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return errors
