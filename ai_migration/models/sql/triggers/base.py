"""Tables whose changes reach the queue by triggers, and the vendors' common methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from ai_migration.types import Operation, Priority

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_SECONDS = 10
PREFIX = "ai_migration_"
"""The beginning of every name we give."""


class Event(Enum):
    """What happens to a row, with the letter at the end of its trigger's name."""

    INSERT = "i"
    UPDATE = "u"
    DELETE = "d"


class KeyKind(Enum):
    """The kinds of keys that a database writes as an entity id has them."""

    INTEGER = "integer"
    TEXT = "text"
    UUID = "uuid"


@dataclass(frozen=True)
class KeyColumn:
    """A column of a key."""

    column: str
    kind: KeyKind


@dataclass(frozen=True)
class Via:
    """The table that has the key of a row of another table, as a child's table has it for a row of
    its parent's.

    Attributes:
        table: The table.
        column: Its column that links it to the row.
        own_column: The column of the row that it is equal to.
    """

    table: str
    column: str
    own_column: str


@dataclass(frozen=True)
class WatchedTable:
    """A table whose changes reach the queue for one entity type.

    Attributes:
        entity_type: The entity type.
        table: The table, as the model names it.
        identity: The columns of its primary key.
        key: The columns whose value tells the entities: their key, or the end of ``path``.
        is_composite: Whether ``key`` is a composite key.
        columns: The columns that matter when a row is updated; None: any may, and even an update
            that changes nothing.
        events: What is watched.
        path: The relation over which entities read the row; empty: ``key`` is an entity's key.
        is_own: Whether it is the entities' own table: a row of it that is gone is an entity that is
            gone.
        via: The table that ``key`` is in; None: this one.
    """

    entity_type: str
    table: str
    identity: tuple[str, ...]
    key: tuple[KeyColumn, ...]
    is_composite: bool
    columns: tuple[str, ...] | None
    events: frozenset[Event]
    path: str = ""
    is_own: bool = False
    via: Via | None = None

    @property
    def operation(self) -> Operation:
        """The operation of its entries."""
        return Operation.EXPAND if self.path else Operation.INDEX

    @property
    def priority(self) -> Priority:
        """The priority of its entries."""
        return Priority.STANDARD if self.path else Priority.HIGH

    @property
    def tables(self) -> list[str]:
        """The tables its triggers name."""
        return [self.table, *([self.via.table] if self.via else [])]


class Found(NamedTuple):
    """A trigger in the database, or on PostgreSQL a function without one.

    Attributes:
        name: Its name.
        table: The table it is on, quoted and qualified; empty: a function alone.
        function: Its function, qualified, with its arguments; empty: it has none.
        is_active: Whether it is in effect, and not switched off.
    """

    name: str
    table: str
    function: str = ""
    is_active: bool = True


class Triggers:
    """The triggers of one database. The class of a vendor writes them in its language.

    Args:
        connection: Django's connection to it.
    """

    rights = ""
    """What a role needs to create triggers, for messages; ``{table}`` is the table."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def unfit(self, tables: Sequence[str]) -> dict[str, str]:
        """Return the tables that cannot have these triggers, each with the reason.

        Args:
            tables: Tables, as models name them.
        """
        raise NotImplementedError

    def found(self) -> list[Found]:
        """Return our triggers in the database, those that are switched off too."""
        raise NotImplementedError

    def places(self, tables: Sequence[str]) -> Mapping[str, str]:
        """Return tables as statements name them: quoted, and qualified where names depend on a
        search path."""
        return {table: self.quoted(table) for table in tables}

    def statements(self, watched: WatchedTable, name: str, places: Mapping[str, str]) -> list[str]:
        """Return the statements that create the triggers of a table.

        Args:
            watched: The table.
            name: The beginning of their names; see :meth:`names`.
            places: What :meth:`places` returned for its tables and our own.
        """
        raise NotImplementedError

    def names(self, watched: WatchedTable, name: str) -> list[str]:
        """Return the names of the triggers of a table."""
        return [f"{name}{event.value}" for event in Event if event in watched.events]

    def drops(self, found: Sequence[Found]) -> list[str]:
        """Return the statements that remove triggers."""
        return [f"DROP TRIGGER IF EXISTS {self.quoted(each.name)}" for each in found]

    def execute(self, statements: Sequence[str]) -> None:
        """Run statements."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def hurry(self) -> AbstractContextManager[None]:
        """Limit how long the statements of the block, a transaction, wait for locks of others: who
        comes after them waits too."""
        return nullcontext()

    # What the vendors' statements are made of

    def quoted(self, name: str) -> str:
        """Return a name as an identifier."""
        return str(self.connection.ops.quote_name(name))

    def literal(self, value: str) -> str:
        """Return text as a literal."""
        return "'" + value.replace("'", "''") + "'"

    def _fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())


class RowTriggers(Triggers):
    """Triggers that run once for each row."""

    def key_text(self, row: str, key: KeyColumn) -> str:
        """Return the expression of a key's column as text.

        Args:
            row: ``NEW``, ``OLD`` or the alias of a table.
            key: The column.
        """
        raise NotImplementedError

    def json_text(self, row: str, key: KeyColumn) -> str:
        """Return the expression of a key's column as a part of a composite key: JSON."""
        raise NotImplementedError

    def concatenated(self, parts: Sequence[str]) -> str:
        """Return the expression of several texts, one after the other."""
        raise NotImplementedError

    def changes(self, watched: WatchedTable, rows: Sequence[str], places: Mapping[str, str]) -> str:
        """Return the query of the changes to put in the queue, as
        :class:`~ai_migration.models.sql.dialects.base.QueuedChange` has them.

        Args:
            watched: The table.
            rows: ``NEW``, ``OLD`` or both.
            places: Its tables, as statements name them.
        """
        ids = " UNION ".join(self._ids(watched, row, places) for row in rows)
        path = self.literal(f"{watched.path}=") if watched.path else ""
        key = self.concatenated([path, "i.id"]) if path else "i.id"
        columns = {
            "entity_type": self.literal(watched.entity_type),
            "operation": self.literal(watched.operation),
            "priority": int(watched.priority),
            "path": self.literal(watched.path),
            "coalescing_key": self.coalescing(key),
            "entity_ids": "json_array(i.id)",
            "lower": "NULL",
            "upper": "NULL",
        }
        selected = ", ".join(f"{value} AS {self.quoted(name)}" for name, value in columns.items())
        return f"SELECT {selected} FROM ({ids}) AS i WHERE i.id IS NOT NULL"

    def coalescing(self, key: str) -> str:
        """Return the expression of a coalescing key; one that is too long is NULL."""
        raise NotImplementedError

    def rows_of(self, event: Event) -> list[str]:
        """Return the rows an event has."""
        return {Event.INSERT: ["NEW"], Event.DELETE: ["OLD"], Event.UPDATE: ["NEW", "OLD"]}[event]

    def compared(self, watched: WatchedTable) -> Iterator[str]:
        """Yield the columns that an update has to change; none where any update counts."""
        if watched.columns is not None:
            keys = [] if watched.via else [each.column for each in watched.key]
            yield from dict.fromkeys([*watched.identity, *keys, *watched.columns])

    def _ids(self, watched: WatchedTable, row: str, places: Mapping[str, str]) -> str:
        via = watched.via
        source = "v" if via else row
        if watched.is_composite:
            parts = [self.json_text(source, key) for key in watched.key]
            commas = [item for part in parts for item in ("','", part)][1:]
            id_ = self.concatenated(["'['", *commas, "']'"])
        else:
            id_ = self.key_text(source, watched.key[0])
        if via is None:
            return f"SELECT {id_} AS id"
        return (
            f"SELECT {id_} AS id FROM {places[via.table]} AS v "
            f"WHERE v.{self.quoted(via.column)} = {row}.{self.quoted(via.own_column)}"
        )
