"""Look-ups of a filter: what a field cannot be compared with is refused on every database, with
the filter's name and before anything starts; whatever is not refused runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.db import DataError, NotSupportedError, OperationalError, transaction

from ai_migration import migration_service
from ai_migration.entities.filtering import filters as entity_filters
from ai_migration.entities.filtering.lookups import LOOKUPS, MAX_PATTERN, MAX_VALUES
from ai_migration.exceptions import AIMigrationError, InvalidRequestError
from ai_migration.jobs.start import requests
from ai_migration.jobs.start.requests import check_request
from ai_migration.models import MigrationJob
from ai_migration.models.sql.counting import bounded_count
from ai_migration.types import MigrationFilters, MigrationRequest
from tests.databases import FreshDatabase
from tests.integration.odd_models import Typed, table_of
from tests.integration.support import Project, make_articles
from tests.testapp.models import Article, Category

NAN, INFINITE = float("nan"), float("inf")
HUGE = 16**10_000
"""Python does not write it: it has more than 4,300 digits."""
FIELDS = [
    *("id", "title", "small", "integer", "weight", "price", "flag", "day", "at", "clock", "span"),
    *("uid", "attrs", "attrs__n", "attrs__size", "data", "ip", "category", "category__name"),
    "category__typed",
]


@pytest.fixture
def typed(project: Project) -> Iterator[None]:
    """Two rows of a model with a field of each type."""
    with table_of(Typed):
        category = Category.objects.create(name="c", slug="c")
        Typed.objects.create(attrs={"size": 5, "n": 5}, category=category)
        Typed.objects.create(title="5", attrs={"size": "x"})
        project.article("title", name="typed", model="testapp.Typed", filterable_fields=FIELDS)
        yield


def matching(name: str, value: Any) -> int:
    """How many rows a filter takes, by the service; it reads them, too."""
    filters = MigrationFilters(lookups={name: value})
    checked = check_request(MigrationRequest("typed", filters=filters))
    found, _ = checked.count()
    assert len(list(checked.rows)) == found
    return found


TAKEN: list[tuple[str, Any, int]] = [
    ("title", "5", 1),
    ("title", 5, 1),
    ("title__iexact", "TITLE", 1),
    ("title__contains", "x" * MAX_PATTERN, 0),
    ("title__startswith", "\U0001f600" * MAX_PATTERN, 0),
    ("title__endswith", "%" * MAX_PATTERN, 0),
    ("title", "x" * 60_000, 0),
    ("id__in", list(range(MAX_VALUES)), 2),
    ("integer__gt", 0.5, 2),
    ("integer__contains", "1", 2),
    ("small__lt", 2**40, 2),
    ("price__lt", "9" * 30, 2),
    ("flag", "yes", 2),
    ("flag__in", [1], 2),
    ("day__year", "2024", 2),
    ("day", date(2024, 1, 1), 2),
    ("at__date", "2024-01-01", 2),
    ("clock__gte", "11:59", 2),
    ("span__gt", "12:00:00", 2),
    ("span", "P1D", 2),
    ("uid", "00000000-0000-0000-0000-000000000001", 2),
    ("ip", "127.0.0.1", 2),
    ("ip__startswith", "127.", 2),
    ("attrs__size", "5", 1),
    ("attrs__size", "x", 1),
    ("attrs__n__gt", 4, 1),
    ("attrs__n__lte", "5", 1),
    ("attrs__size__in", [5, "x"], 2),
    ("attrs__size__iexact", "NaN", 0),
    ("attrs__size__icontains", "X", 1),
    ("category__typed", 1, 1),
    ("category__isnull", True, 1),
]


def test_what_fits_is_taken(typed: None) -> None:
    for name, value, count in TAKEN:
        assert matching(name, value) == count, (name, str(value)[:50])


REFUSED: list[tuple[str, Any, str]] = [
    ("title__iexact", 5, "text"),
    ("title__iexact", True, "text"),
    ("title__iexact", ["x"], "text"),
    ("title__contains", "x" * (MAX_PATTERN + 1), "10,001 characters: at most 10,000"),
    ("attrs__size__icontains", "x" * 100_000, "at most 10,000"),
    ("title__in", ["x"] * (MAX_VALUES + 1), "10,001 values: at most 10,000"),
    ("id__in", list(range(300_000)), "at most 10,000"),
    ("id__in", ",".join("1" * 20_000), "at most 10,000"),
    ("title", ["x"], "one value"),
    ("title__in", [["x"]], "one value"),
    ("title", NAN, "finite"),
    ("title", HUGE, "fit"),
    ("integer", HUGE, "too large"),
    ("integer__gt", 1e308, "too large"),
    ("integer__in", [1, NAN], "finite"),
    ("category__typed", 2**70, "too large"),
    ("category__typed__in", [2**70], "too large"),
    ("day__day", 2**70, "too large"),
    ("day__year", "9" * 30, "too large"),
    ("day__month", [1], "one value"),
    ("at__date", 5, "write a date"),
    ("at__gt", 5, "write a date"),
    ("weight__gt", "NaN", "finite"),
    ("weight__lt", "1e400", "finite"),
    ("price__gt", "Infinity", "decimal number"),
    ("price__gt", "1e999999999", "1,000 digits"),
    ("price__gt", "9" * 5000, "1,000 digits"),
    ("flag", 2, "true or false"),
    ("flag__iexact", "true", "not text"),
    ("span__gt", 5, "duration"),
    ("span__gt", "x", "fit"),
    ("span__contains", "1", "not text"),
    ("span__gt", "999999999 00:00:00", "too long"),
    ("uid", "x", "fit"),
    ("data__gt", 2**40, "isnull"),
    ("data__contains", "x", "isnull"),
    ("ip", "x", "fit"),
    ("ip__in", ["127.0.0.1", "x"], "fit"),
    ("attrs__size__gt", [1], "one value"),
    ("attrs__size__gt", "NaN", "JSON has no NaN"),
    ("attrs__size", "NaN", "JSON has no NaN"),
    ("attrs__size__in", [1, INFINITE], "finite"),
    ("attrs__size__lt", 2**70, "too large"),
    ("attrs", {"a": 1}, "write a value"),
]


def test_what_does_not_fit_is_refused(typed: None) -> None:
    for name, value, words in REFUSED:
        with pytest.raises(InvalidRequestError, match=words) as caught:
            matching(name, value)
        assert f"The filter {name}=" in caught.value.message
        assert len(caught.value.message) < 500
        assert caught.value.field == "filters"
    assert not MigrationJob.objects.exists()


def test_json_is_looked_into_where_the_database_can(typed: None, database: FreshDatabase) -> None:
    for name, value, count in (("attrs__size__contains", 5, 1), ("attrs__contains", "x", 0)):
        if database.vendor != "sqlite":
            assert matching(name, value) == count
            continue
        with pytest.raises(InvalidRequestError, match=f"{name}=.*not supported"):
            matching(name, value)


VALUES = [
    *(None, True, -1, 2**40, 2**70, HUGE, 1.5, 1e308, NAN),
    *("", "x", "5", "NaN", "1e400", "9" * 5000, "2024-01-01", "0001-01-01", "12:00", "P1D"),
    *("99999999 00:00:00", "127.0.0.1", "\\", "[1]", "x" * 60_000, "\0", "\ud800", "1,2", ","),
    *([], [None], [True], [1, 2], ["x", "y"], [[1], [2]], [2**70, 1], {"a": 1}),
]


ALIKE = {"gte", "lt", "lte", "istartswith", "startswith", "iendswith", "month"}
"""Look-ups that are as others of their kind."""


@pytest.mark.slow
def test_every_look_up_takes_or_refuses_every_value(typed: None) -> None:
    for field, lookup, value in itertools.product(FIELDS, sorted(LOOKUPS - ALIKE), VALUES):
        name = f"{field}__{lookup}"
        try:
            matching(name, value)
        except InvalidRequestError as error:
            assert f"The filter {name}=" in error.message
            assert len(error.message) < 500


# What nobody thought of


@pytest.mark.parametrize("ids", [[], [1]])
@pytest.mark.parametrize("raised", [DataError("odd"), OperationalError("too complex")])
def test_a_filter_that_the_database_refuses_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, raised: Exception, ids: list[int]
) -> None:
    """The rows without it can be read: it is not the table."""
    make_articles(3)
    project.article(filterable_fields=["status", "price"])

    def count(rows: Any) -> tuple[int, bool]:
        if "status" in str(rows.query.where):
            raise raised
        return bounded_count(rows)

    monkeypatch.setattr(requests, "bounded_count", count)
    filters = MigrationFilters(entity_ids=ids, lookups={"price__isnull": True, "status": "draft"})
    for ask in (migration_service.start_migration, migration_service.plan):
        with pytest.raises(InvalidRequestError, match=f"filter status='draft'.*{raised}"):
            ask(MigrationRequest("article", filters=filters))
    assert not MigrationJob.objects.exists()


def test_filters_that_are_too_much_together(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.article(filterable_fields=["status", "price"])

    def count(rows: Any) -> tuple[int, bool]:
        if all(name in str(rows.query.where) for name in ("status", "price")):
            raise OperationalError("too many SQL variables")
        return bounded_count(rows)

    monkeypatch.setattr(requests, "bounded_count", count)
    filters = MigrationFilters(lookups={"price__isnull": True, "status": "draft"})
    with pytest.raises(InvalidRequestError, match="do not fit together: .*too many"):
        migration_service.plan(MigrationRequest("article", filters=filters))


@pytest.mark.vendors("postgresql")
def test_a_refusal_spoils_no_transaction(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``ATOMIC_REQUESTS``."""
    project.article(filterable_fields=["status"])

    def unchecked(model: Any, field: Any, lookup: str, value: Any) -> Any:
        from django.db.models import Q

        return Q(id__in=Article.objects.extra(where=["1/0 = 1"]).values("pk"))

    monkeypatch.setattr(entity_filters, "condition", unchecked)
    make_articles(1)
    with transaction.atomic():
        with pytest.raises(InvalidRequestError, match="filter status='x'.*zero"):
            migration_service.plan(
                MigrationRequest("article", filters=MigrationFilters(lookups={"status": "x"}))
            )
        assert Article.objects.count() == 1


def test_a_table_that_is_not_there_is_no_fault_of_the_filters(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.article(filterable_fields=["status"])

    def count(rows: Any) -> tuple[int, bool]:
        raise NotSupportedError("no such table")

    monkeypatch.setattr(requests, "bounded_count", count)
    filters = MigrationFilters(lookups={"status": "draft"})
    with pytest.raises(AIMigrationError, match="cannot be read: no such table") as caught:
        migration_service.plan(MigrationRequest("article", filters=filters))
    assert not isinstance(caught.value, InvalidRequestError)
