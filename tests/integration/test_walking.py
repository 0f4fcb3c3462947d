"""Rows are walked by keys of every type: each exactly once, and each found under its id."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import QuerySet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_migration import MigrationRequest, enqueue, migration_service
from ai_migration.conf import get_settings
from ai_migration.engine.upkeep.quarantine import quarantine
from ai_migration.entities import registry
from ai_migration.entities.rows.paging import next_bound
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.exceptions import UnusableKeyError
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.types import JobStatus, MigrationFilters
from tests.databases import FreshDatabase
from tests.integration.odd_models import table_of
from tests.integration.support import Project, collection, finish, run, start, stored, work

BIG = 2**63 - 1
TEXTS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(["", " ", "a", "A", "a ", "ä", "Ä", "ß", "'", '"', "%", "_", "\\", "[1]"])


class Backwards(models.IntegerField):  # type: ignore[type-arg]  # no subscript at run time
    """Keeps the negative of a number: the database sorts the other way round."""

    def from_db_value(self, value: int | None, *args: object) -> int | None:
        return None if value is None else -value

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else -int(value)


class Badge(models.CharField):  # type: ignore[type-arg]  # no subscript at run time
    """Objects that are kept as text."""

    def from_db_value(self, value: str, *args: object) -> Any:
        return self.to_python(value)

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, Label) else Label(str(value))

    def get_prep_value(self, value: Any) -> Any:
        return str(value)


class Label:
    def __init__(self, word: str) -> None:
        self.word = word

    def __str__(self) -> str:
        return self.word

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Label) and other.word == self.word

    def __hash__(self) -> int:
        return hash(self.word)


class Folded(models.CharField):  # type: ignore[type-arg]  # no subscript at run time
    """Gives back in small letters what may have been kept in large ones."""

    def from_db_value(self, value: str, *args: object) -> str:
        return value.lower()


def keyed(name: str, key: models.Field[Any, Any], **more: Any) -> type[models.Model]:
    """A model whose primary key is that field."""
    options = {"app_label": "testapp", "managed": False, "db_table": f"odd_{name}".lower()}
    members = {
        "__module__": __name__,
        "Meta": type("Meta", (), options),
        "key": key,
        "title": models.CharField(max_length=20, default="x"),
        **more,
    }
    return type(name, (models.Model,), members)


def moments(**limits: Any) -> st.SearchStrategy[datetime]:
    return st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


def decimals(places: int, most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-most, most).map(lambda number: Decimal(number).scaleb(-places))


P: dict[str, Any] = {"primary_key": True}
KEYS: dict[str, tuple[models.Field[Any, Any], st.SearchStrategy[Any]]] = {
    "Small": (models.SmallIntegerField(**P), st.integers(-(2**15), 2**15 - 1)),
    "Big": (models.BigIntegerField(**P), st.integers(-BIG, BIG)),
    "Positive": (models.PositiveIntegerField(**P), st.integers(0, 2**31 - 1)),
    "Text": (models.CharField(max_length=50, **P), TEXTS),
    "Slug": (models.SlugField(**P), st.from_regex(r"\A[a-zA-Z0-9_-]{1,9}\Z")),
    "Folding": (
        models.CharField(max_length=50, db_collation="{folding}", **P),
        st.text("abAB", max_size=3),
    ),
    "Uuid": (models.UUIDField(**P), st.uuids()),
    "Money": (models.DecimalField(max_digits=10, decimal_places=4, **P), decimals(4, 10**10 - 1)),
    "Float": (models.FloatField(**P), st.floats(allow_nan=False, allow_subnormal=False)),
    "Day": (models.DateField(**P), st.dates(date(1000, 1, 1))),
    "Moment": (models.DateTimeField(**P), moments()),
    "Hour": (models.TimeField(**P), st.times()),
    "Span": (
        models.DurationField(**P),
        st.timedeltas(timedelta(days=-99_999), timedelta(days=99_999)),
    ),
    "Flag": (models.BooleanField(**P), st.booleans()),
    "Address": (models.GenericIPAddressField(**P), st.ip_addresses(v=4).map(str)),
    "Reversed": (Backwards(**P), st.integers(-(2**31) + 1, 2**31 - 1)),
    "Worn": (Badge(max_length=20, **P), st.text("abc-' ", min_size=1, max_size=5).map(Label)),
}
FOLDING = {"sqlite": "NOCASE", "mysql": "utf8mb4_general_ci", "postgresql": None}
MODELS = {name: keyed(name, key) for name, (key, _) in KEYS.items()}


def walk(entity_type: str, size: int) -> list[str]:
    """The ids of all rows, range by range."""
    entity = registry.get(entity_type)
    reader = EntityReader(entity)
    seen: list[str] = []
    lower = None
    while (upper := next_bound(entity, entity.rows(), lower, size)) is not None:
        rows = reader.read(entity.key.in_range(entity.rows(), lower, upper))
        assert {row.error for row in rows} == {""}
        seen += [row.entity_id for row in rows]
        lower = upper
    return seen


@pytest.mark.gate
def test_every_row_is_met_once_and_found_again(
    project: Project, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    folding = MODELS["Folding"]._meta.pk
    monkeypatch.setattr(folding, "db_collation", FOLDING[database.vendor])

    @settings(max_examples=6, suppress_health_check=list(HealthCheck))
    @given(st.data(), st.integers(1, 5))
    def check(name: str, data: st.DataObject, size: int) -> None:
        rows = MODELS[name]._base_manager
        values = data.draw(st.lists(KEYS[name][1], min_size=1, max_size=8, unique=True), name)
        if name == "Float" and database.vendor == "mysql":
            values = [value for value in values if math.isfinite(value)] or [0.1]
        rows.all().delete()
        rows.bulk_create([rows.model(pk=value) for value in values], ignore_conflicts=True)
        entity = registry.get("odd")
        ids = [entity.key.to_entity_id(key) for key in rows.values_list("pk", flat=True)]
        assert len({*ids}) == len(ids) > 0
        assert Counter(walk("odd", size)) == Counter(ids)
        found = EntityReader(entity).read_entities(entity.rows(), ids)
        assert Counter(row.entity_id for row in found) == Counter(ids)

    with table_of(*MODELS.values()):
        for name in KEYS:
            project.article("title", name="odd", model=f"testapp.{name}")
            check(name)


# Keys that do not come back as they are

MESSAGE = "cannot be walked by its primary key: a row was read with the key"
Crooked = keyed("Crooked", Folded(max_length=20, **P))


@pytest.fixture
def crooked(project: Project) -> Iterator[Any]:
    """Rows that come back, and one that does not."""
    project.article("title", name="odd", model="testapp.Crooked")
    with table_of(Crooked):
        rows = Crooked._base_manager
        rows.bulk_create([Crooked(pk=key) for key in ("Zulu", "anton", "berta", "dora")])
        yield rows


@pytest.mark.vendors("sqlite")
def test_numbers_with_more_digits_than_the_field_has_end_the_job_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps them as Django writes them, and Django rounds what it reads."""
    project.article("title", name="odd", model="testapp.Money")
    with table_of(MODELS["Money"]):
        rows = MODELS["Money"]._base_manager
        rows.bulk_create([rows.model(pk=Decimal(i) / 7) for i in range(1, 701)])
        job = start("odd", batch_size=100)
        assert finish(job).status == JobStatus.FAILED
        said = MigrationJob.objects.get(pk=job.pk).error_message
        assert f"testapp.Money {MESSAGE} '14.2857'" in said
        monkeypatch.setattr("ai_migration.jobs.start.planning._PAGE", 100)
        with pytest.raises(UnusableKeyError, match=MESSAGE):
            migration_service.plan(MigrationRequest("odd"))


@pytest.mark.vendors("sqlite", "postgresql")
def test_a_key_that_is_lost_costs_its_own_row_and_ends_the_job_as_a_bound(crooked: Any) -> None:
    job = start("odd", batch_size=4)  # Zulu is first, and no bound
    ended = finish(job)
    assert (ended.status, ended.indexed, ended.failed) == (JobStatus.COMPLETED, 3, 1)
    failure = EntityFailure.objects.get(job=job)
    assert failure.entity_id == "zulu"
    assert "does not come back" in failure.error
    again = run("odd", batch_size=4)
    assert (again.skipped, again.failed, again.removed) == (3, 1, 0)
    job = start("odd", batch_size=1)
    assert finish(job).status == JobStatus.FAILED
    assert f"testapp.Crooked {MESSAGE} 'zulu'" in MigrationJob.objects.get(pk=job.pk).error_message


@pytest.mark.vendors("sqlite")
def test_a_lost_key_beside_a_value_that_cannot_be_read(crooked: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE odd_crooked SET title = CAST(X'ff' AS TEXT) WHERE key = 'berta'")
    errors = {row.entity_id: row.error.partition(":")[0] for row in read_all()}
    assert errors == {
        "zulu": "its primary key does not come back as it is",
        "anton": "",
        "berta": "its field 'title' cannot be read",
        "dora": "",
    }


@pytest.mark.vendors("sqlite")
def test_a_row_that_is_deleted_while_it_is_looked_at_is_not_a_lost_one(
    crooked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entity = registry.get("odd")
    exists = QuerySet.exists

    def deleted(rows: Any) -> bool:
        monkeypatch.undo()
        crooked.filter(pk="anton").delete()
        return exists(rows)

    monkeypatch.setattr(QuerySet, "exists", deleted)
    assert next_bound(entity, entity.rows(), None, 2) == "berta"


@pytest.mark.vendors("sqlite")
def test_a_batch_cannot_be_halved_at_a_lost_key(crooked: Any) -> None:
    crooked.filter(pk__in=["berta", "dora"]).delete()
    job = start("odd", batch_size=2)
    feed(job.pk, our_database())
    QueueEntry.objects.update(claims=get_settings().MAX_CRASHES)
    assert quarantine(our_database()) == 1
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert f"{MESSAGE} 'zulu'" in job.error_message


@pytest.mark.vendors("sqlite", "mysql")
def test_an_id_in_other_letters_where_the_database_folds_them(
    project: Project, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    folding = MODELS["Folding"]
    monkeypatch.setattr(folding._meta.pk, "db_collation", FOLDING[database.vendor])
    project.article("title", name="odd", model="testapp.Folding")
    with table_of(folding):
        folding._base_manager.create(pk="AB")
        run("odd")
        assert stored(collection("odd")).keys() == {"AB"}
        enqueue("odd", ["ab"])
        work()
        assert stored(collection("odd")).keys() == {"AB"}
        run("odd", filters=MigrationFilters(entity_ids=("ab",)))
        assert stored(collection("odd")).keys() == {"AB"}
        folding._base_manager.update(key="ab")
        assert migration_service.plan(MigrationRequest("odd")).to_remove == 1
        monkeypatch.setattr("ai_migration.jobs.feed.ranges.SWEEP_SIZE", 1)
        assert run("odd").removed == 1
        assert stored(collection("odd")).keys() == {"ab"}


def read_all() -> list[SourceRow]:
    entity = registry.get("odd")
    return EntityReader(entity).read(entity.rows())
