"""What every class of a vendor does, on its database."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from django.db import Error, connection, transaction

from ai_migration.models.sql.dialects import DIALECTS, Dialect, dialect, dialect_of
from ai_migration.models.sql.dialects.base import NO_CHUNK, LedgerRow, VectorColumns
from ai_migration.models.sql.outages import ErrorKind, kind_of
from tests.databases import VENDORS, FreshDatabase
from tests.testapp.models import Article

IDS = ["", "a", "A", "it's", 'a "b" \\ %s', "é😀"]
VECTORS = np.arange(12, dtype="<f4").reshape(6, 2)


@pytest.fixture
def here(database: FreshDatabase) -> Dialect:
    return dialect("default")


def functions(kind: type) -> dict[str, Any]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: function for name, function in members if not name.startswith("_")}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_has_the_same_functions_as_the_others(vendor: str) -> None:
    ours, contract = functions(DIALECTS[vendor]), functions(Dialect)
    assert ours.keys() == contract.keys()
    for name, function in contract.items():
        assert inspect.signature(ours[name]).parameters == inspect.signature(function).parameters
        if "NotImplementedError" in function.__code__.co_names:
            assert ours[name] is not function, name


def test_it_is_found_by_the_connection(here: Dialect, database: FreshDatabase) -> None:
    assert type(here) is DIALECTS[database.vendor] is type(dialect_of(connection))
    assert type(dialect("other")) is DIALECTS["sqlite"]


def test_the_databases_of_the_tests_lack_nothing(here: Dialect) -> None:
    assert here.refused_driver() is None
    assert here.lacks_for_writers() == []


def test_the_columns_of_a_table(here: Dialect) -> None:
    assert {"id", "title", "category_id"} < here.column_names("testapp_article")
    assert here.column_names("no such table") == set()
    assert "role" in here.column_names("ai_collections")  # a generated one


def test_its_clock_goes_on_within_a_transaction(here: Dialect) -> None:
    with transaction.atomic():
        times = [here.now_microseconds() for _ in range(3)]
        assert times == sorted(times)
        if here.has_server:
            assert times[0] < times[2]


def test_the_planner_is_asked_where_it_knows(here: Dialect) -> None:
    Article.objects.bulk_create(Article(title="t", body="b") for _ in range(20))
    assert bool(here.estimated(Article.objects.order_by("title"))) == here.can_estimate


def test_statements_between_are_as_ever(here: Dialect) -> None:
    Article.objects.bulk_create(Article(title=str(n), body="b") for n in range(3))
    with here.idle_timeout(30), transaction.atomic():
        here.set_idle_timeout(30)
        with here.in_index_order():
            titles = list(Article.objects.order_by("-pk").values_list("title", flat=True))
    assert titles == ["2", "1", "0"]
    assert Article.objects.count() == 3


def test_a_primary_is_no_standby(here: Dialect) -> None:
    assert not here.is_standby()
    assert here.shows(here.position())
    assert here.table_identity("testapp_article") == here.table_identity("testapp_article")
    assert here.table_identity("no such table") is None


def rows(versions: dict[str, int], checksum: int | None = -(2**63)) -> list[LedgerRow]:
    return [
        LedgerRow(entity_id, bytes([n, 0, 255]), b"", n, known, checksum)
        for n, (entity_id, known) in enumerate(versions.items())
    ]


def test_the_ledger(here: Dialect) -> None:
    with transaction.atomic():
        assert here.insert_entities(1, rows(dict.fromkeys(IDS, 0)), 10) == len(IDS)
        assert here.insert_entities(1, rows({"a": 0, "new": 0}), 11) == 1
        changed = rows({"A": 10, "a": 9, "absent": 10})
        assert here.update_entities(1, [row._replace(checksum=5) for row in changed], 12) == 1
        unknown = [row._replace(checksum=None) for row in rows({"B": 0, "A": 12})]
        assert here.insert_entities(1, unknown[:1], 13) == 1
        assert here.update_entities(1, unknown[1:], 13) == 1
    found = {row[0]: tuple(row) for row in here.known_entities(1, [*IDS, "new", "B", "unknown"])}
    assert found == {
        **{each: (each, bytes([n, 0, 255]), b"", n, 10, -(2**63)) for n, each in enumerate(IDS)},
        "new": ("new", b"\x01\0\xff", b"", 1, 11, -(2**63)),
        "B": ("B", b"\0\0\xff", b"", 0, 13, None),
        "A": ("A", b"\x01\0\xff", b"", 1, 13, 5),
    }
    assert here.known_entities(2, IDS) == []


def stored(here: Dialect) -> list[tuple[str, int, list[float], bool]]:
    found = []
    after = ("", -1)
    while page := here.vectors_after(1, after, 4):
        found += [
            (entity_id, chunk, np.frombuffer(vector, "<f4").tolist(), document is not None)
            for entity_id, chunk, vector, document in page
        ]
        after = page[-1][:2]
    return found


def columns(ids: Sequence[str], documents: list[str] | None, chunk: int = 0) -> VectorColumns:
    return VectorColumns(ids, [chunk] * len(ids), VECTORS[: len(ids)], documents)


def test_vectors(here: Dialect) -> None:
    in_order = sorted(IDS, key=str.encode)
    with transaction.atomic():
        here.upsert_vectors(1, columns(["new", *IDS[1:]], None))
        here.upsert_vectors(1, columns(IDS, ['{"n": "it\'s %s \\\\ 😀"}'] * len(IDS)))
        here.upsert_vectors(1, columns(["a"], None, chunk=1))
        here.upsert_vectors(1, columns([""], None, chunk=NO_CHUNK))
        here.upsert_vectors(2, columns(IDS, None))
        here.delete_vectors(1, ["new", "unknown"])
    expected = [(each, 0, VECTORS[IDS.index(each)].tolist(), True) for each in in_order]
    expected.insert(in_order.index("a") + 1, ("a", 1, [0.0, 1.0], False))
    assert stored(here) == expected
    with transaction.atomic():
        here.update_payloads(1, ["a", "", "unknown"], ['{"n": 1}'] * 3)
        here.delete_vectors(1, [each for each in IDS if each not in ("a", "")])
    assert [row[:2] for row in stored(here)] == [("", 0), ("a", 0), ("a", 1)]
    assert all(row[3] for row in stored(here))
    with transaction.atomic():
        here.update_payloads(1, [], [])
        here.delete_vectors(1, [])
        here.delete_vectors(1, ["", "a"])
    assert stored(here) == []
    assert len(here.vectors_after(2, ("", -1), 100)) == len(IDS)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT * FROM nowhere", ErrorKind.NO_TABLE),
        ("SELECT not_there FROM testapp_article", ErrorKind.NO_COLUMN),
        ("SELECT FROM WHERE", None),
    ],
)
def test_what_is_the_matter(here: Dialect, statement: str, kind: ErrorKind | None) -> None:
    with pytest.raises(Error) as caught, connection.cursor() as cursor:
        cursor.execute(statement)
    assert kind_of(caught.value) is kind
