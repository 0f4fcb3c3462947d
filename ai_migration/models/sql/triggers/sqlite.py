"""SQLite: row triggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ai_migration.models.sql.dialects.sqlite import put_changes_sql
from ai_migration.models.sql.triggers.base import (
    PREFIX,
    Event,
    Found,
    KeyColumn,
    KeyKind,
    RowTriggers,
    WatchedTable,
)


class SQLiteTriggers(RowTriggers):
    """SQLite compares by the collation of a column, so each comparison names the one by bytes."""

    rights = "Open the database for writing."

    def unfit(self, tables: Sequence[str]) -> dict[str, str]:
        kinds = dict(
            self._fetch("SELECT name, type || ' ' || coalesce(sql, '') FROM sqlite_master")
        )
        reasons = {}
        for table in tables:
            kind = kinds.get(table)
            if kind is None:
                reasons[table] = "there is no such table"
            elif kind.startswith("view"):
                reasons[table] = "it is a view"
            elif kind.upper().startswith("TABLE CREATE VIRTUAL"):
                reasons[table] = "it is a virtual table"
        return reasons

    def found(self) -> list[Found]:
        rows = self._fetch(
            "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND name GLOB %s "
            "ORDER BY name",
            [f"{PREFIX}*"],
        )
        return [Found(name, self.quoted(table)) for name, table in rows]

    def statements(self, watched: WatchedTable, name: str, places: Mapping[str, str]) -> list[str]:
        made = []
        for event in Event:
            if event in watched.events:
                changes = self.changes(watched, self.rows_of(event), places)
                made.append(
                    f"CREATE TRIGGER {self.quoted(name + event.value)} AFTER {event.name} "
                    f"ON {places[watched.table]} FOR EACH ROW {self._when(watched, event)} BEGIN "
                    f"{put_changes_sql(changes)}; END"
                )
        return made

    def _when(self, watched: WatchedTable, event: Event) -> str:
        columns = list(map(self.quoted, self.compared(watched)))
        if event is not Event.UPDATE or not columns:
            return ""
        changed = (f"NEW.{each} COLLATE BINARY IS NOT OLD.{each}" for each in columns)
        return f"WHEN {' OR '.join(changed)}"

    def key_text(self, row: str, key: KeyColumn) -> str:
        text = f"CAST({row}.{self.quoted(key.column)} AS TEXT)"
        if key.kind is not KeyKind.UUID:
            return text
        digits = f"lower(replace({text}, '-', ''))"
        parts = (f"substr({digits}, {at}, {length})" for at, length in _UUID)
        return " || '-' || ".join(parts)

    def json_text(self, row: str, key: KeyColumn) -> str:
        text = self.key_text(row, key)
        return text if key.kind is KeyKind.INTEGER else f"json_quote({text})"

    def concatenated(self, parts: Sequence[str]) -> str:
        return " || ".join(parts)

    def coalescing(self, key: str) -> str:
        return f"CASE WHEN length({key}) <= 255 THEN {key} END"


_UUID = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
"""Where the parts of a UUID begin in its 32 digits, and their lengths."""
