"""SQLite: a batch is one ``executemany``, a list one JSON document."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from ai_migration.models.sql.dialects.base import (
    COLLECTIONS,
    INSERT_ENTITIES,
    OF_CHANGE,
    PUT_CHANGES,
    QUEUE,
    WAITING,
    Dialect,
    LedgerRow,
    QueuedChange,
    VectorColumns,
)

_COLUMNS = ", ".join(
    f"value ->> {position} AS {name}" for position, name in enumerate(QueuedChange._fields)
)


def put_changes_sql(changes: str) -> str:
    """Return the statement that puts changes in the queue.

    Args:
        changes: Their source, a table with the columns of :class:`QueuedChange`.
    """
    # One connection writes at a time: an entry that waits need not be locked.
    return PUT_CHANGES.format(
        queue=QUEUE,
        collections=COLLECTIONS,
        lower="lower",
        upper="upper",
        entity_ids="c.entity_ids",
        lower_value="c.lower",
        upper_value="c.upper",
        now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
        changes=f"({changes}) AS c",
        waiting=WAITING.format(queue=QUEUE, what="1", join="", **OF_CHANGE),
    )


_PUT_CHANGES = put_changes_sql(f"SELECT {_COLUMNS} FROM json_each(:changes)").replace("%", "%%")
_PUT_CHANGES = _PUT_CHANGES.replace(":changes", "%s")


class SQLite(Dialect):
    """A file and a library in this process."""

    has_server = False
    among = "IN (SELECT value FROM json_each(%s))"

    def lacks_for_writers(self) -> list[str]:
        options = self.connection.settings_dict.get("OPTIONS", {})
        name = str(self.connection.settings_dict["NAME"])
        if not name or ":memory:" in name or "mode=memory" in name:
            return []  # one process only
        lacks = []
        if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
            lacks.append("transaction_mode IMMEDIATE")
        command = str(options.get("init_command") or "").lower()
        squeezed = "".join(command.replace('"', "").replace("'", "").split())
        if "journal_mode=wal" not in squeezed and not _is_wal(name):
            lacks.append("the write-ahead log")
        return lacks

    def now_microseconds(self) -> int:
        return time.time_ns() // 1000  # it lives on one host: its clock is this process's

    def column_names(self, table: str) -> set[str]:
        return {name for (name,) in self._fetch("SELECT name FROM pragma_table_xinfo(%s)", [table])}

    def put_changes(self, changes: Sequence[QueuedChange]) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(_PUT_CHANGES, [json.dumps(changes)])
            return int(cursor.rowcount)

    def insert_entities(self, collection_id: int, rows: Sequence[LedgerRow], version: int) -> int:
        return self._executemany(
            INSERT_ENTITIES.format("VALUES (%s, %s, %s, %s, %s, %s, %s)"),
            [(collection_id, *row[:4], version, row.checksum) for row in rows],
        )

    def upsert_vectors(self, collection_id: int, batch: VectorColumns) -> None:
        self._executemany(
            "INSERT INTO ai_vectors (collection_id, entity_id, chunk, vector, metadata) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (collection_id, entity_id, chunk) "
            "DO UPDATE SET vector = excluded.vector, metadata = excluded.metadata",
            [(collection_id, *row) for row in batch.rows()],
        )


def _is_wal(name: str) -> bool:
    """Return whether the file is in WAL mode, by its header and without a query."""
    path = Path(name.removeprefix("file:").partition("?")[0])
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError:
        return False
    return header.startswith(b"SQLite format 3\0") and header[18:20] == b"\x02\x02"
