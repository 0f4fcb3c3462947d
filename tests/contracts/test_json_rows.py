"""Batches as JSON documents, on MySQL and MariaDB."""

from __future__ import annotations

import pytest
from django.db import connection

from ai_migration.models.sql import json_rows
from ai_migration.models.sql.json_rows import ENTITY_ID, TEXT, execute_rows

pytestmark = [pytest.mark.vendors("mysql"), pytest.mark.usefixtures("database")]

COLUMNS = {"entity_id": ENTITY_ID, "number": "bigint", "words": TEXT}
ROWS = [
    ("a", 2**62, None),
    ("A\\\"'%s", -1, '{"a": "\\u00e9\\n%(x)s"}'),
    ("😀" * 255, 0, "long " * 100_000),
]


def insert(rows: list[tuple[str, int, str | None]]) -> int:
    return execute_rows(
        connection,
        "INSERT INTO odd SELECT %(extra)s, entity_id, number, words FROM {rows}",
        COLUMNS,
        rows,
        extra="%s",
    )


def inserted() -> set[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT entity_id, number, words FROM odd")
        return set(cursor.fetchall())


@pytest.mark.parametrize("length", [1, 100, json_rows.DOCUMENT_LENGTH])
def test_what_goes_in_is_there(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(json_rows, "DOCUMENT_LENGTH", length)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE odd (extra text, entity_id varchar(255), number bigint, words longtext) "
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        )
    assert insert(ROWS) == len(ROWS)
    assert inserted() == set(ROWS)
    assert insert([]) == 0


def test_a_batch_is_several_documents_only_where_it_is_long() -> None:
    rows = [(str(number), number, "x" * 1000) for number in range(5000)]
    documents = list(json_rows._documents(rows))
    assert len(documents) == 3
    assert max(map(len, documents)) < 1.01 * json_rows.DOCUMENT_LENGTH
