"""Tells the workers of a django-q2 cluster that it is being stopped.

django-q2 tells only its sentinel, which waits until the workers have finished their tasks: a slice
would run to its end. So the signal handler of the cluster's main process first sets a byte that it
shares with all processes forked from it. Reading it takes no lock: a worker that is killed
meanwhile blocks no other.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

_Handler = Callable[[int, FrameType | None], object]

_flag: mmap.mmap | None = None


def is_stopping() -> bool:
    """Return whether the cluster of this process got SIGTERM or SIGINT."""
    return _flag is not None and _flag[0] == 1


def watch_cluster() -> None:
    """Prepare a process that may become a cluster's main process, before it forks."""
    global _flag
    if _flag is None and hasattr(os, "register_at_fork"):
        _flag = mmap.mmap(-1, 1)
        os.register_at_fork(before=_extend_handlers)


def _extend_handlers() -> None:
    """Extend the signal handlers, which a cluster has set when it forks its sentinel."""
    module = sys.modules.get("django_q.cluster")
    if module is None or threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if callable(handler) and isinstance(getattr(handler, "__self__", None), module.Cluster):
            signal.signal(number, _noting(handler))


def _noting(handler: _Handler) -> _Handler:
    def note(number: int, frame: FrameType | None) -> object:
        if _flag is not None:
            _flag[0] = 1
        return handler(number, frame)

    return note
