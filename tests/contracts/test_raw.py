"""Binary array parameters, and the cursor beneath Django's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_migration.models.sql.arrays import (
    ByteaArray,
    Int4Array,
    Int8Array,
    JsonbArray,
    TextArray,
    VectorArray,
)
from tests.databases import FreshDatabase

raw = pytest.importorskip("ai_migration.models.sql.raw")
pytestmark = [pytest.mark.vendors("postgresql"), pytest.mark.usefixtures("database")]

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def echo(kind: str, array: Any) -> list[Any]:
    [[answer]] = raw.execute_raw(connection, f"SELECT $1::{kind}[]", [array], binary=True)
    return list(answer)


@pytest.mark.filterwarnings("error")
def test_arrays_arrive_as_they_were_sent(database: FreshDatabase) -> None:
    @given(
        st.lists(st.none() | TEXT),
        st.lists(st.none() | st.binary()),
        st.lists(st.integers(-(2**31), 2**31 - 1)),
        st.lists(st.integers(-(2**63), 2**63 - 1)),
    )
    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(
        texts: list[str | None], blobs: list[bytes | None], small: list[int], big: list[int]
    ) -> None:
        assert echo("text", TextArray(texts)) == texts
        assert echo("bytea", ByteaArray(blobs)) == blobs
        assert echo("int", Int4Array(small)) == small
        assert echo("bigint", Int8Array(np.array(big, dtype=np.int64))) == big

    check()


def test_rows_of_an_array_are_bytes() -> None:
    rows = np.arange(6, dtype="<u2").reshape(3, 2)
    assert echo("bytea", ByteaArray(rows)) == [row.tobytes() for row in rows]
    assert echo("bytea", ByteaArray(rows[:0])) == []
    assert echo("bytea", ByteaArray(rows[:, ::2])) == [b"\0\0", b"\2\0", b"\4\0"]


def test_documents() -> None:
    assert echo("jsonb", JsonbArray(['{"é": [1, null]}', None, '"text"'])) == [
        {"é": [1, None]},
        None,
        "text",
    ]


def test_vectors() -> None:
    vectors = np.array([[1, -2.5], [0, 1e-3]], dtype=np.float32)
    rows = raw.execute_raw(
        connection, "SELECT unnest($1::vector[])::text", [VectorArray(vectors)]
    ).fetchall()
    assert rows == [("[1,-2.5]",), ("[0,0.001]",)]
    nothing = VectorArray(vectors[:0])
    assert raw.execute_raw(connection, "SELECT unnest($1::vector[])", [nothing]).fetchall() == []


def test_statements_stand_in_the_query_log_and_parameters_do_not() -> None:
    secret = TextArray(["secret"])
    with CaptureQueriesContext(connection) as queries:
        raw.execute_raw(connection, "SELECT $1::text[]", [secret])
    assert [query["sql"] for query in queries] == ["SELECT $1::text[]"]
    assert repr(secret) == "<TextArray of 1>"


def test_errors_are_those_of_django() -> None:
    with pytest.raises(DataError):
        raw.execute_raw(connection, "SELECT 1 / $1::int", [0])
    with pytest.raises(UnicodeEncodeError):
        TextArray(["\ud800"])


def test_it_is_part_of_the_transaction_and_refuses_a_broken_one() -> None:
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic(savepoint=False):
            raise IntegrityError
        with pytest.raises(transaction.TransactionManagementError):
            raw.execute_raw(connection, "SELECT 1")


def test_execute_wrappers_see_it() -> None:
    seen: list[str] = []

    def spy(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(spy):
        assert raw.execute_raw(connection, "SELECT $1::int", [3]).fetchone() == (3,)
    assert seen == ["SELECT $1::int"]
