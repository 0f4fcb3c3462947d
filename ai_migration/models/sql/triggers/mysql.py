"""MySQL and MariaDB: row triggers, which run with the rights of who created them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from django.db import Error

from ai_migration.models.sql.dialects.mysql import by_byte, is_mariadb, put_changes_sql
from ai_migration.models.sql.triggers.base import (
    LOCK_SECONDS,
    PREFIX,
    Event,
    Found,
    KeyColumn,
    KeyKind,
    RowTriggers,
    WatchedTable,
)

# A column that a later change of the table has removed is an error when the trigger runs: it counts
# as changed then. No error ends the statement of the application, except a deadlock, which has
# ended its transaction.
_TRIGGER = """
CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW
BEGIN
    DECLARE is_changed BOOL DEFAULT TRUE;
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET is_changed = TRUE;
    SET is_changed = {is_changed};
    IF is_changed THEN
        {put};
    END IF;
END
"""


class MySQLTriggers(RowTriggers):
    """Usual collations fold case, so values are compared as bytes."""

    rights = (
        "GRANT TRIGGER ON {table}, SELECT, INSERT and UPDATE on the tables of ai_migration; with "
        "a binary log also SUPER, or log_bin_trust_function_creators = 1 on the server."
    )

    def unfit(self, tables: Sequence[str]) -> dict[str, str]:
        kinds = dict(
            self._fetch(
                "SELECT table_name, table_type FROM information_schema.tables "
                "WHERE table_schema = DATABASE()"
            )
        )
        reasons = {}
        for table in tables:
            kind = kinds.get(table)
            if kind is None:
                reasons[table] = "there is no such table in this database"
            elif kind != "BASE TABLE":
                reasons[table] = f"it is a {kind.lower()}"
        return reasons

    def found(self) -> list[Found]:
        rows = self._fetch(
            "SELECT trigger_name, event_object_table FROM information_schema.triggers "
            "WHERE trigger_schema = DATABASE() AND LEFT(trigger_name, %s) = %s ORDER BY 1",
            [len(PREFIX), PREFIX],
        )
        return [Found(name, self.quoted(table)) for name, table in rows]

    def statements(self, watched: WatchedTable, name: str, places: Mapping[str, str]) -> list[str]:
        return [
            _TRIGGER.format(
                name=self.quoted(name + event.value),
                event=event.name,
                table=places[watched.table],
                is_changed=self._is_changed(watched, event),
                put=put_changes_sql(
                    self.changes(watched, self.rows_of(event), places),
                    coalesces=not is_mariadb(self.connection),
                ),
            )
            for event in Event
            if event in watched.events
        ]

    @contextmanager
    def hurry(self) -> Iterator[None]:
        [(before,)] = self._fetch("SELECT @@SESSION.lock_wait_timeout")
        self.execute([f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}"])
        try:
            yield
        finally:
            with suppress(Error):  # the connection may have been lost
                self.execute([f"SET SESSION lock_wait_timeout = {int(before)}"])

    def _is_changed(self, watched: WatchedTable, event: Event) -> str:
        columns = list(map(self.quoted, self.compared(watched)))
        if event is not Event.UPDATE or not columns:
            return "TRUE"
        same = (f"CAST(OLD.{each} AS BINARY) <=> CAST(NEW.{each} AS BINARY)" for each in columns)
        return f"NOT ({' AND '.join(same)})"

    def key_text(self, row: str, key: KeyColumn) -> str:
        column = f"{row}.{self.quoted(key.column)}"
        text = f"CAST({column} AS CHAR CHARACTER SET utf8mb4) COLLATE {by_byte(self.connection)}"
        if key.kind is not KeyKind.UUID:
            return text
        digits = f"LOWER(REPLACE({text}, '-', ''))"
        for position in (9, 14, 19, 24):
            digits = f"INSERT({digits}, {position}, 0, '-')"
        return digits

    def json_text(self, row: str, key: KeyColumn) -> str:
        text = self.key_text(row, key)
        return text if key.kind is KeyKind.INTEGER else f"JSON_QUOTE({text})"

    def concatenated(self, parts: Sequence[str]) -> str:
        return f"CONCAT({', '.join(parts)})"

    def coalescing(self, key: str) -> str:
        # As in put_changes: with another isolation, locks on gaps could wait for each other.
        is_maria = is_mariadb(self.connection)
        isolation = "@@tx_isolation" if is_maria else "@@transaction_isolation"
        return (
            f"CASE WHEN CHAR_LENGTH({key}) <= 255 AND {isolation} = 'READ-COMMITTED' THEN {key} END"
        )

    def literal(self, value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace("'", "''")
        return f"_utf8mb4'{escaped}' COLLATE {by_byte(self.connection)}"
