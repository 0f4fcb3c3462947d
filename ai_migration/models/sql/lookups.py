"""``IN`` with thousands of values as one parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import AutoField, BigAutoField, BigIntegerField, F, IntegerField, Lookup
from django.db.models.lookups import In
from django.db.models.sql.compiler import SQLCompiler

_INTEGERS = {AutoField, BigAutoField, IntegerField, BigIntegerField}
"""Fields whose values go to the database as they are; others may translate them."""


class AmongKeys(Lookup):
    """``pk IN (keys)`` for a key of one column; use it as ``rows.filter(AmongKeys(keys))``.

    PostgreSQL gets one array and SQLite one JSON document; a placeholder for each value
    costs more to parse than the rows cost to find. Any other database gets a plain ``IN``, and
    so do numbers with a fraction: SQLite does not read them from JSON to the last digit.
    """

    lookup_name = "among_keys"
    prepare_rhs = False

    def __init__(self, lhs: Any, rhs: Sequence[Any] | None = None) -> None:
        if rhs is None:
            lhs, rhs = F("pk"), lhs
        super().__init__(lhs, rhs)

    def as_sql(  # type: ignore[override]  # the stubs know no lists
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any] | tuple[Any, ...]]:
        return In(self.lhs, self.rhs).as_sql(compiler, connection)

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", [*params, self._values(connection)]

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any] | tuple[Any, ...]]:
        values = self._values(connection)
        if any(isinstance(value, float) for value in values):
            return self.as_sql(compiler, connection)
        column, params = self.process_lhs(compiler, connection)
        return (
            f"{column} IN (SELECT value FROM json_each(%s))",
            [*params, json.dumps(values, default=str)],
        )

    def _values(self, connection: BaseDatabaseWrapper) -> list[Any]:
        field = self.lhs.output_field
        if type(field) in _INTEGERS:
            return list(self.rhs)
        return [field.get_db_prep_value(value, connection) for value in self.rhs]
