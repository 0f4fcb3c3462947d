"""``SYNC = "immediate"``: this process indexes what it saved, on one thread of its own.

For development, tests and small sites without a worker. A save never waits for a provider, and
never fails because of one: what could not be done stays in the queue.
"""

from __future__ import annotations

import logging
import threading
import time

from django.db import connections

from ai_migration.engine.worker import run_worker

logger = logging.getLogger("ai_migration")

PATIENCE = 10.0
"""Seconds that the end of the process waits; then what is left stays in the queue."""

_lock = threading.Lock()
_is_asked = False
_thread: threading.Thread | None = None


def drain() -> None:
    """Have the live changes in the queue indexed, soon; return at once."""
    global _is_asked, _thread
    with _lock:
        _is_asked = True
        if _thread is None or not _thread.is_alive():
            # No daemon: a script that saves and ends waits a moment for what it saved.
            _thread = threading.Thread(target=_run, name="ai_migration immediate")
            _thread.start()


def wait(seconds: float) -> bool:
    """Wait until nothing is being indexed by this process; return whether that came to be.

    Args:
        seconds: At most.
    """
    thread = _thread
    if thread is not None:
        thread.join(seconds)
    return thread is None or not thread.is_alive()


def _run() -> None:
    global _thread
    should_stop = _EndOfProcess()
    try:
        while _take():
            run_worker(should_stop=should_stop, until_idle=True, only_live=True, name="immediate")
    except Exception:
        logger.exception("Live changes stay in the queue: this process could not index them")
        with _lock:
            _thread = None
    finally:
        connections.close_all()


def _take() -> bool:
    """Return whether there is something to do; if not, the next :func:`drain` starts a thread."""
    global _is_asked, _thread
    with _lock:
        asked, _is_asked = _is_asked, False
        if not asked:
            _thread = None
        return asked


class _EndOfProcess:
    """Whether the main thread ended a while ago."""

    def __init__(self) -> None:
        self._ended: float | None = None

    def __call__(self) -> bool:
        if threading.main_thread().is_alive():
            return False
        self._ended = self._ended or time.monotonic()
        return time.monotonic() - self._ended > PATIENCE
