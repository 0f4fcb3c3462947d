"""Tells the workers of a django-q2 cluster that it is being stopped.

django-q2 tells only its sentinel, which waits until the workers have done what they have:
a slice would go on to its end. So the handler of the cluster's main process is made to set a
byte first that all processes forked from it share. Reading it takes no lock: a worker that
is killed while it looks holds nothing that others wait for.
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
    """Whether the cluster this process belongs to got SIGTERM or SIGINT."""
    return _flag is not None and _flag[0] == 1


def watch_cluster() -> None:
    """Call it in a process that may become a cluster's main one, before it forks."""
    global _flag
    if _flag is None and hasattr(os, "register_at_fork"):
        _flag = mmap.mmap(-1, 1)
        os.register_at_fork(before=_extend_handlers)


def _extend_handlers() -> None:
    """The handlers of a cluster are there when it forks its sentinel."""
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
