"""The processes that hold worker slots: their names, and which of them are gone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ai_migration.models import WorkerSlot


def holder_name() -> str:
    """Name this process, as ``host/namespace:pid``. The namespace tells containers that
    share a host name apart, whose process numbers mean different processes."""
    return f"{_host()}:{os.getpid()}"


def _host() -> str:
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"{socket.gethostname()}/{inode}"


def dead_holders(using: str) -> set[str]:
    """Find the holders on this host whose process is gone: no need to wait for their lease."""
    prefix = f"{_host()}:"
    holders = WorkerSlot.objects.using(using).filter(
        lease_expires_at__isnull=False, holder__startswith=prefix
    )
    return {
        holder
        for holder in holders.values_list("holder", flat=True)
        if not _is_alive(holder.removeprefix(prefix))
    }


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
