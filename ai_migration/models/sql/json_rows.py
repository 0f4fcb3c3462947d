"""Batches for MySQL and MariaDB: rows in one JSON document, which the server reads as a table.

One statement takes thousands of rows without a placeholder for each value. MariaDB has
``JSON_TABLE`` since 10.6, MySQL since 8.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

DOCUMENT_LENGTH = 2_000_000
"""Characters of one document, unless one row has more: far below ``max_allowed_packet``,
which is 16 MB by default."""

TEXT = "longtext CHARACTER SET utf8mb4"
ENTITY_ID = "varchar(255) CHARACTER SET utf8mb4"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def execute_rows(
    connection: BaseDatabaseWrapper,
    sql: str,
    columns: Mapping[str, str],
    rows: Iterable[Sequence[Any]],
    **parameters: Any,
) -> int:
    """Run a statement over a batch of rows.

    Args:
        connection: Django's; a transaction is open.
        sql: The statement; ``{rows}`` stands for the table ``t`` of the rows.
        columns: Names and types of that table's columns.
        rows: Its values: strings, integers and None.
        parameters: Named parameters of the statement.

    Returns:
        The number of rows it changed.
    """
    paths = [f"{name} {columns[name]} PATH '$[{i}]'" for i, name in enumerate(columns)]
    statement = sql.format(rows=f"JSON_TABLE(%(rows)s, '$[*]' COLUMNS ({', '.join(paths)})) AS t")
    touched = 0
    with connection.cursor() as cursor:
        for document in _documents(rows):
            cursor.execute(statement, {**parameters, "rows": document})
            touched += cursor.rowcount
    return touched


def _documents(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    part: list[str] = []
    length = 0
    for text in map(_encode, rows):
        if part and length + len(text) > DOCUMENT_LENGTH:
            yield f"[{','.join(part)}]"
            part, length = [], 0
        part.append(text)
        length += len(text)
    if part:
        yield f"[{','.join(part)}]"
