"""Changes are put in the queue once, whatever the database."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from ai_migration.models import Collection, QueueEntry
from ai_migration.models.sql.dialects import Dialect, dialect, mysql
from ai_migration.models.sql.dialects.base import QueuedChange
from ai_migration.types import CollectionStatus, EntryStatus
from tests.databases import FreshDatabase


@pytest.fixture
def here(database: FreshDatabase) -> Dialect:
    Collection.objects.create(
        entity_type="article", status=CollectionStatus.ACTIVE, dimensions=2, fingerprint="f"
    )
    return dialect("default")


def change(key: str | None = "5", entity_type: str = "article", **values: Any) -> QueuedChange:
    return QueuedChange(entity_type, "INDEX", 1, "", key, f'["{key}"]')._replace(**values)


def keys() -> list[str | None]:
    return list(QueueEntry.objects.order_by("pk").values_list("coalescing_key", flat=True))


@pytest.fixture
def coalescing(here: Dialect, monkeypatch: pytest.MonkeyPatch) -> Dialect:
    """On MariaDB, what MySQL does."""
    monkeypatch.setattr(mysql, "_PUT_ALL_CHANGES", mysql._PUT_CHANGES)
    return here


def test_what_waits_is_not_written_again(coalescing: Dialect) -> None:
    here = coalescing
    assert here.put_changes([change("5"), change("6"), change(None)]) == 3
    assert here.put_changes([change("5"), change("7"), change(None)]) == 2
    assert keys() == ["5", "6", None, "7", None]
    assert here.put_changes([change("5", operation="EXPAND")]) == 1
    assert here.put_changes([change("5")]) == 0, "alone it is another statement"
    assert here.put_changes([change(None)]) == 1


def test_keys_are_the_same_byte_by_byte(coalescing: Dialect) -> None:
    here = coalescing
    assert here.put_changes([change("a")]) == 1
    assert here.put_changes([change(key) for key in ("a", "A", "a ", "\xe1", "a")]) == 3


@pytest.mark.parametrize("with_another", [False, True])
def test_an_entry_is_whole(here: Dialect, with_another: bool) -> None:
    odd = 'it\'s "%s" \\ é😀'
    whole = change(odd, path="tags", entity_ids='["1", "é"]', lower="[1]", upper='"z"')
    here.put_changes([whole, whole._replace(path="alone")][: 1 + with_another])
    entry = QueueEntry.objects.get(path="tags")
    assert (entry.coalescing_key, entry.path, entry.entity_ids) == (odd, "tags", ["1", "é"])
    assert (entry.lower, entry.upper, entry.status) == ([1], "z", EntryStatus.PENDING)
    other = QueueEntry.objects.create(entity_type="article", priority=1, entity_ids=[])
    assert abs((other.created_at - entry.created_at).total_seconds()) < 60
    here.put_changes([change()])
    entry = QueueEntry.objects.latest("pk")
    assert (entry.lower, entry.upper) == (None, None)
    assert QueueEntry.objects.filter(pk=entry.pk, lower__isnull=True, upper__isnull=True).exists()


@pytest.mark.parametrize("values", [{"status": "CLAIMED"}, {"claims": 1}])
def test_what_was_claimed_is_written_again(here: Dialect, values: dict[str, object]) -> None:
    here.put_changes([change()])
    QueueEntry.objects.update(**values)
    assert here.put_changes([change()]) == 1


def test_nothing_is_written_without_an_index(here: Dialect) -> None:
    assert here.put_changes([change(entity_type="country")]) == 0
    Collection.objects.update(status=CollectionStatus.RETIRED)
    assert here.put_changes([change()]) == 0


def test_it_is_one_statement_and_a_part_of_the_transaction(here: Dialect) -> None:
    with transaction.atomic():
        with CaptureQueriesContext(connection) as queries:
            here.put_changes([change("5"), change("6")])
        transaction.set_rollback(True)
    assert len(queries) == 1
    assert keys() == []


@pytest.mark.vendors("sqlite")
def test_a_long_queue_is_not_read(here: Dialect) -> None:
    with CaptureQueriesContext(connection) as queries:
        here.put_changes([change()])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries[0]['sql']}")
        plan = [row[3] for row in cursor.fetchall() if " q " in row[3]]
    assert plan == [
        "SEARCH q USING INDEX ai_indexing_queue_coalesce (entity_type=? AND coalescing_key=?)"
    ]


@pytest.mark.vendors("postgresql")
def test_it_waits_for_nobody_and_nobody_takes_what_it_locks(here: Dialect) -> None:
    """A worker could read the row before the change is committed."""
    here.put_changes([change("5"), change("6")])
    written: list[int] = []

    def other() -> None:
        try:
            with transaction.atomic():
                skipped = QueueEntry.objects.select_for_update(skip_locked=True)
                written.extend([len(skipped), dialect("default").put_changes([change("5")])])
        finally:
            connection.close()

    with transaction.atomic():
        assert here.put_changes([change("5"), change("6")]) == 0
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(30)
        assert written == [0, 1]


@pytest.mark.vendors("mysql")
def test_mariadb_writes_each_change_and_locks_none(here: Dialect) -> None:
    """Its SKIP LOCKED now and then waits: the caller's transaction could be rolled back."""
    assert here.put_changes([change("5"), change("6")]) == 2
    with transaction.atomic():
        assert here.put_changes([change("5")]) == 1
        other: list[int] = []

        def look() -> None:
            try:
                with transaction.atomic():
                    other.append(len(QueueEntry.objects.select_for_update(skip_locked=True)))
            finally:
                connection.close()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join(30)
    assert other == [2]
    assert keys() == ["5", "6", "5"]
