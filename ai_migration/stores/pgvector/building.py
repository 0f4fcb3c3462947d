"""The server's settings while an index is built: memory for it, and parallel workers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error

from ai_migration.exceptions import SettingsError
from ai_migration.types import Metric

if TYPE_CHECKING:
    from ai_migration.stores.pgvector.table import PgVectorTable

logger = logging.getLogger(__name__)

_UNITS = {"kB": 10, "MB": 20, "GB": 30, "TB": 40}
_NO_MEMORY, _NO_SPACE = "53200", "53100"
_SHARED_MEMORY = ("/PostgreSQL.", "pg_dynshmem")
"""Parts of the names of segments of shared memory, in an error in any language."""


class Server(NamedTuple):
    """The settings of a server, and whether it is on this machine.

    Attributes:
        memory: ``maintenance_work_mem``, in bytes.
        build_workers: ``max_parallel_maintenance_workers``.
        workers: ``max_parallel_workers``.
        is_here: Whether it is on this machine.
    """

    memory: int
    build_workers: int
    workers: int
    is_here: bool

    @property
    def usable_workers(self) -> int:
        """The workers a build takes by default, beside the process that leads it: all cores but
        one, or half of the server's workers if its cores are unknown; no fewer than the server
        says."""
        usable = self.workers // 2
        if self.is_here:
            usable = min(self.workers, (os.cpu_count() or 1) - 1)
        return max(self.build_workers, usable)


@dataclass(frozen=True)
class BuildSettings:
    """Settings of the session that builds an index; None: as the server is set."""

    memory: str | None = None
    workers: int | None = None

    @property
    def values(self) -> dict[str, str]:
        """The settings by the server's names."""
        values = {
            "maintenance_work_mem": self.memory,
            "max_parallel_maintenance_workers": self.workers,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.values.items())


@dataclass(frozen=True)
class BuildOptions:
    """The options for building an index; see
    :class:`~ai_migration.stores.pgvector.PgVectorStore`.

    Attributes:
        memory_limit: ``max_maintenance_work_mem`` in bytes; 0: as the server is set.
    """

    metric: Metric
    maintenance_work_mem: str | None
    memory_limit: int
    workers: int | None

    def attempts(self, server: Server, needed: int, *, is_serial: bool) -> list[BuildSettings]:
        """Return the settings to build the index of the vectors with, and those to try after them
        if the server has too little memory: without parallel workers, whose shared memory is
        limited (64 MB in a container); then with the memory that the server is set to.

        Args:
            server: The server.
            needed: The memory for building in memory, in bytes.
            is_serial: Allow no parallel workers, whatever the options say.
        """
        memory = self.maintenance_work_mem
        wanted = min(needed, self.memory_limit)
        if memory is None and wanted > server.memory:
            memory = f"{-(-wanted >> 10)}kB"
        workers = server.usable_workers if self.workers is None else self.workers
        serial = BuildSettings(memory, 0)
        if is_serial:
            workers = 0
        tried = [BuildSettings(memory, workers if workers != server.build_workers else None)]
        if workers:
            tried.append(serial)
        if memory is not None and self.maintenance_work_mem is None:
            tried.append(BuildSettings(None, 0))
        return tried

    @property
    def explicit(self) -> BuildSettings:
        """The settings that the options ask for."""
        return BuildSettings(self.maintenance_work_mem, self.workers)


def parse_size(option: str, size: str | None) -> int:
    """Return the amount of memory that an option says, such as ``"1GB"``, in bytes; None: 0.

    Raises:
        SettingsError: It is not one.
    """
    if size is None:
        return 0
    found = re.fullmatch(r"(\d+) ?(kB|MB|GB|TB)", size) if isinstance(size, str) else None
    if found is None:
        raise SettingsError(f"PgVectorStore: {option} is {size!r}; use one such as '1GB'")
    return int(found[1]) << _UNITS[found[2]]


@contextmanager
def applied(table: PgVectorTable, settings: BuildSettings) -> Iterator[None]:
    """Apply settings within the block, or until the transaction ends. Through a pooler only those
    that can be the table's own."""
    connection, values = table.connection, settings.values
    local = connection.in_atomic_block
    is_table_serial = False
    if values and not local and not table.is_own_session():
        # The next statement may run in another session, and this one may serve another client.
        is_table_serial = settings.workers == 0
        lost = BuildSettings(settings.memory, settings.workers or None).values
        if lost:
            logger.warning(
                "%s: the connection goes through a pooler, so the index is built without %s",
                table.name,
                " and ".join(lost),
            )
        values = {}
    try:
        if is_table_serial:
            table.execute(f"ALTER TABLE {table.name} SET (parallel_workers = 0)")
        _set(table, values, local=local)
        yield
    finally:
        if not local and connection.connection is not None and connection.is_usable():
            for name in values:
                table.execute(f"RESET {name}")
            if is_table_serial:
                table.execute(f"ALTER TABLE {table.name} RESET (parallel_workers)")


def _set(table: PgVectorTable, values: Mapping[str, str], *, local: bool) -> None:
    for name, value in values.items():
        table.execute("SELECT set_config($1::text, $2::text, $3::bool)", name, value, local)


def is_short_of_memory(error: Error) -> bool:
    """Return whether a build failed because the server has too little memory, not disk."""
    state = getattr(error.__cause__, "sqlstate", None)
    is_shared = any(part in str(error) for part in _SHARED_MEMORY)
    return state == _NO_MEMORY or (state == _NO_SPACE and is_shared)
