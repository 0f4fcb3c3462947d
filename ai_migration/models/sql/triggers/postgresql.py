"""PostgreSQL: statement triggers, which see the rows of a statement as tables.

One function for each watched table, and a trigger for each event that calls it: a trigger with
transition tables takes one event only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ai_migration.models.sql.dialects.base import COLLECTIONS, QUEUE
from ai_migration.models.sql.dialects.postgresql import put_changes_sql
from ai_migration.models.sql.triggers.base import (
    LOCK_SECONDS,
    PREFIX,
    Event,
    Found,
    KeyColumn,
    KeyKind,
    Triggers,
    WatchedTable,
)
from ai_migration.types import Operation, Priority

IDS_PER_ENTRY = 1000
MOST_IDS = 100_000
"""Rows listed one by one, at most; more are a range that a worker walks, unless they are gone."""

_TRUNCATE = "t"
_NOT_TABLES = {
    "v": "it is a view",
    "m": "it is a materialized view",
    "f": "it is a foreign table, which tells no trigger what a statement changed",
}
_EVENTS = {
    "i": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows",
    "u": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "d": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows",
    _TRUNCATE: "BEFORE TRUNCATE ON {table}",
}

# It runs with the rights of its owner, so that who writes the table needs none on ours. Names of
# others must not be found then: everything is qualified, and pg_catalog comes first. A plan is kept
# for the session, made when tables may have been empty: that the queue is read by its index is
# therefore said, and the join of old and new rows is a full one, which is never a nested loop.
# A column that a later change of the table has removed counts as changed.
_FUNCTION = """
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $ai_migration$
#variable_conflict use_column
DECLARE
    ai_columns text[];
BEGIN
    IF to_regclass({queue}) IS NULL OR to_regclass({collections}) IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (
        SELECT 1 FROM {collections_table} AS k
        WHERE k.entity_type = {entity_type} AND k.status IN ('ACTIVE', 'BUILDING')
    ) THEN
        RETURN NULL;
    END IF;
    ai_columns := ARRAY(
        SELECT a.attname::text FROM pg_attribute AS a
        WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped
    );
    IF NOT ai_columns @> {needed} THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        {insert};
    ELSIF TG_OP = 'DELETE' THEN
        {delete};
    ELSIF TG_OP = 'TRUNCATE' THEN
        {truncate};
    ELSIF ai_columns @> {compared} THEN
        {update};
    ELSE
        {any_update};
    END IF;
    RETURN NULL;
END
$ai_migration$
"""


class PostgreSQLTriggers(Triggers):
    """Values are compared as they are stored (``*<>``): an operator of their type may take for the
    same what reads differently, or be missing, as for ``json``."""

    rights = (
        "It needs TRIGGER on {table}, CREATE and USAGE on the schema of the tables of "
        "ai_migration, and SELECT, INSERT and UPDATE on them; to remove triggers, it has to be the "
        "owner of {table}."
    )

    def unfit(self, tables: Sequence[str]) -> dict[str, str]:
        kinds = {table: kind for table, _, kind in self._located(tables)}
        return {
            table: "there is no such table" if kind is None else _NOT_TABLES[kind]
            for table, kind in kinds.items()
            if kind is None or kind in _NOT_TABLES
        }

    def places(self, tables: Sequence[str]) -> Mapping[str, str]:
        return {
            table: f"{self.quoted(schema)}.{self.quoted(table)}" if schema else self.quoted(table)
            for table, schema, _ in self._located(tables)
        }

    def found(self) -> list[Found]:
        like = PREFIX.replace("_", r"\_") + "%"
        rows = self._fetch(
            """
            SELECT coalesce(t.tgname, p.proname)::text,
                coalesce(format('%%I.%%I', n.nspname, c.relname), ''),
                format('%%I.%%I()', pn.nspname, p.proname),
                coalesce(t.tgenabled <> 'D' AND pg_table_is_visible(t.tgrelid), false)
            FROM pg_proc AS p
            JOIN pg_namespace AS pn ON pn.oid = p.pronamespace
            LEFT JOIN pg_trigger AS t ON t.tgfoid = p.oid AND NOT t.tgisinternal
                AND t.tgparentid = 0
            LEFT JOIN pg_class AS c ON c.oid = t.tgrelid
            LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE p.proname LIKE %s AND p.prorettype = 'trigger'::regtype
                AND pg_function_is_visible(p.oid)
            ORDER BY 1
            """,
            [like],
        )
        return [Found(*row) for row in rows]

    def names(self, watched: WatchedTable, name: str) -> list[str]:
        return [f"{name}{letter}" for letter in self._letters(watched)]

    def statements(self, watched: WatchedTable, name: str, places: Mapping[str, str]) -> list[str]:
        queue = places[QUEUE]
        schema = queue.rpartition(".")[0]
        function = ".".join(filter(None, [schema, self.quoted(name)]))
        table = places[watched.table]
        needed = [*watched.identity]
        if watched.via is None:
            needed += [each.column for each in watched.key]
        else:
            needed.append(watched.via.own_column)
        columns = [*(watched.columns or ()), *(needed if watched.columns is not None else ())]
        body = _FUNCTION.format(
            function=function,
            queue=self.literal(queue),
            collections=self.literal(places[COLLECTIONS]),
            collections_table=places[COLLECTIONS],
            entity_type=self.literal(watched.entity_type),
            needed=self._array(needed),
            compared=self._array(columns),
            insert=self._put(watched, places, self._keys_of(watched, "new_rows", places)),
            delete=self._put(watched, places, self._keys_of(watched, "old_rows", places)),
            truncate=self._put(watched, places, self._keys_of(watched, table, places)),
            update=self._put(watched, places, self._changed(watched, places, compare=True)),
            any_update=self._put(watched, places, self._changed(watched, places, compare=False)),
        )
        triggers = [
            f"CREATE TRIGGER {self.quoted(name + letter)} {_EVENTS[letter].format(table=table)} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            for letter in self._letters(watched)
        ]
        # Nobody else is to have it called by a trigger on a table of his own.
        return [body, f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC", *triggers]

    def drops(self, found: Sequence[Found]) -> list[str]:
        triggers = [
            f"DROP TRIGGER IF EXISTS {self.quoted(each.name)} ON {each.table}"
            for each in found
            if each.table
        ]
        functions = sorted({each.function for each in found if each.function})
        return [*triggers, *(f"DROP FUNCTION IF EXISTS {each}" for each in functions)]

    @contextmanager
    def hurry(self) -> Iterator[None]:
        self.execute([f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"])
        yield

    def _located(self, tables: Sequence[str]) -> list[tuple[str, str | None, str | None]]:
        """Return tables with the schema and the kind of each; None: there is none."""
        names = list(dict.fromkeys(tables))
        rows = self._fetch(
            "SELECT given.place, n.nspname::text, c.relkind::text "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS given(name, place) "
            "LEFT JOIN pg_class AS c ON c.oid = to_regclass(given.name) "
            "LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace ORDER BY given.place",
            [list(map(self.quoted, names))],
        )
        return [(names[place - 1], schema, kind) for place, schema, kind in rows]

    def _letters(self, watched: WatchedTable) -> list[str]:
        letters = [event.value for event in Event if event in watched.events]
        return [*letters, *([_TRUNCATE] if Event.DELETE in watched.events else [])]

    def _array(self, names: Sequence[str]) -> str:
        quoted = ", ".join(map(self.literal, dict.fromkeys(names)))
        return f"ARRAY[{quoted}]::text[]"

    # Queries of keys: the columns k0, k1…, and whether the row is gone, so that no range has it

    def _keys_of(self, watched: WatchedTable, rows: str, places: Mapping[str, str]) -> str:
        is_gone = rows != "new_rows" or bool(watched.path)
        source, join = self._source(watched, "r", places)
        keys = [f"{source}.{self.quoted(each.column)}" for each in watched.key]
        return f"SELECT {_aliased(keys)}, {is_gone} AS is_gone FROM {rows} AS r {join}"

    def _changed(self, watched: WatchedTable, places: Mapping[str, str], *, compare: bool) -> str:
        """Return the query of the keys of updated rows, old and new."""
        on = " AND ".join(f"o.{each} = n.{each}" for each in map(self.quoted, watched.identity))
        new_one = f"n.{self.quoted(watched.identity[0])}"
        gone = f"{new_one} IS NULL" if watched.is_own else str(bool(watched.path))
        via, own = watched.via, [each.column for each in watched.key]
        columns = [via.own_column] if via else own
        where = self._is_changed(watched) if compare else "TRUE"
        sides = ", ".join(
            f"({', '.join(f'{side}.{self.quoted(column)}' for column in columns)}, {gone})"
            for side in "on"
        )
        aliases = ", ".join([*map(self.quoted, columns), "is_gone"])
        source, join = self._source(watched, "r", places)
        keys = [f"{source}.{self.quoted(each.column)}" for each in watched.key]
        return (
            f"SELECT {_aliased(keys)}, r.is_gone FROM old_rows AS o FULL JOIN new_rows AS n "
            f"ON {on} CROSS JOIN LATERAL (VALUES {sides}) AS r({aliases}) {join} WHERE ({where})"
        )

    def _is_changed(self, watched: WatchedTable) -> str:
        if watched.columns is None:
            return "TRUE"
        keys = () if watched.via else (each.column for each in watched.key)
        columns = list(map(self.quoted, dict.fromkeys([*keys, *watched.columns])))
        old, new = (", ".join(f"{side}.{each}" for each in columns) for side in "on")
        one = self.quoted(watched.identity[0])
        is_one_sided = f"o.{one} IS NULL OR n.{one} IS NULL"
        return f"{is_one_sided} OR ROW({old})::record *<> ROW({new})::record"

    def _source(
        self, watched: WatchedTable, row: str, places: Mapping[str, str]
    ) -> tuple[str, str]:
        """Return the alias of the table that has a row's key, and the join to it."""
        via = watched.via
        if via is None:
            return row, ""
        column, own = self.quoted(via.column), self.quoted(via.own_column)
        return "v", f"JOIN {places[via.table]} AS v ON v.{column} = {row}.{own}"

    def _put(self, watched: WatchedTable, places: Mapping[str, str], found: str) -> str:
        """Return the statement that puts the keys of a query in the queue."""
        columns = [f"k{i}" for i in range(len(watched.key))]
        names = ", ".join(columns)
        is_there = " AND ".join(f"f.{each} IS NOT NULL" for each in columns)
        before = (
            f"found AS MATERIALIZED ({found}), keys AS MATERIALIZED ("
            f"SELECT {self._id(watched)} AS id, {names}, bool_and(f.is_gone) AS is_gone "
            f"FROM found AS f WHERE {is_there} GROUP BY id, {names}), "
            "size AS MATERIALIZED (SELECT count(*) AS rows, "
            "count(*) FILTER (WHERE NOT keys.is_gone) AS kept FROM keys),"
        )
        parts = " UNION ALL ".join(self._parts(watched, columns))
        only = {
            "entity_type": self.literal(watched.entity_type),
            "operation": self.literal(watched.operation),
            "key": "(SELECT coalescing_key FROM c WHERE coalescing_key IS NOT NULL)",
        }
        return put_changes_sql(
            parts, before=before, only=only, queue=places[QUEUE], collections=places[COLLECTIONS]
        )

    def _parts(self, watched: WatchedTable, columns: Sequence[str]) -> Iterator[str]:
        """Yield the queries of the entries: of one row, of lists, of a range."""
        type_ = f"{self.literal(watched.entity_type)}::text AS entity_type"
        path = f"{self.literal(watched.path)}::text"
        head = (
            f"SELECT {type_}, {self.literal(watched.operation)}::text AS operation, "
            f"{int(watched.priority)} AS priority, {path} AS path, "
        )
        key = f"{self.literal(watched.path + '=')} || keys.id" if watched.path else "keys.id"
        nothing = "NULL::jsonb AS lower, NULL::jsonb AS upper"
        yield (
            # The queue's index has the usual collation.
            f'{head} CASE WHEN length({key}) <= 255 THEN {key} END COLLATE "default" '
            "AS coalescing_key, "
            f"jsonb_build_array(keys.id) AS entity_ids, {nothing} FROM keys, size "
            "WHERE size.rows = 1"
        )
        yield (
            f"{head} NULL, jsonb_agg(listed.id), {nothing} FROM (SELECT keys.id, "
            f"(row_number() OVER () - 1) / {IDS_PER_ENTRY} AS part FROM keys, size "
            f"WHERE size.rows > 1 AND (keys.is_gone OR size.kept <= {MOST_IDS})) AS listed "
            "GROUP BY listed.part"
        )
        if watched.path:
            return
        down = ", ".join(f"keys.{column} DESC" for column in columns)
        upper = f"SELECT {self._json('keys', watched)} FROM keys WHERE NOT is_gone ORDER BY {down}"
        lower = "NULL::jsonb"
        if not watched.is_composite and watched.key[0].kind is KeyKind.INTEGER:
            # Below -2^63 there is no key to name.
            lower = (
                "(SELECT to_jsonb(min(keys.k0)::numeric - 1) FROM keys WHERE NOT is_gone "
                "HAVING min(keys.k0) > -9223372036854775807)"
            )
        yield (
            f"SELECT {type_}, {self.literal(Operation.EXPAND)}, {int(Priority.STANDARD)}, "
            f"{path}, NULL, '[]'::jsonb, {lower}, ({upper} LIMIT 1) FROM size "
            f"WHERE size.kept > {MOST_IDS}"
        )

    def _id(self, watched: WatchedTable) -> str:
        """Return the expression of a key as an entity id. It sorts by bytes: a collation could take
        two ids for the same."""
        if not watched.is_composite:
            return f'{_text("f.k0", watched.key[0])} COLLATE "C"'
        parts = (
            _text(f"f.k{i}", key)
            if key.kind is KeyKind.INTEGER
            else f"to_json({_text(f'f.k{i}', key)})::text"
            for i, key in enumerate(watched.key)
        )
        return f"""concat('[', {", ',', ".join(parts)}, ']') COLLATE "C" """

    def _json(self, alias: str, watched: WatchedTable) -> str:
        """Return the expression of a key as a cursor has it."""
        if watched.is_composite or watched.key[0].kind is KeyKind.INTEGER:
            return f"{alias}.id::jsonb"
        return f"to_jsonb({alias}.id)"


def _aliased(keys: Sequence[str]) -> str:
    return ", ".join(f"{key} AS k{i}" for i, key in enumerate(keys))


def _text(value: str, key: KeyColumn) -> str:
    # A cast would cut the blanks at the end of a char(n).
    return f"concat({value})" if key.kind is KeyKind.TEXT else f"{value}::text"
