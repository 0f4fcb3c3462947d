"""Filters of a migration: exactly the rows they say, in any batch size, or a refusal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import make_naive

from ai_migration import migration_service
from ai_migration.exceptions import InvalidRequestError
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus, MigrationFilters, MigrationRequest
from tests.integration.embedders import Script
from tests.integration.odd_models import Dated, table_of
from tests.integration.support import (
    Project,
    as_the_host_has_it,
    collection,
    counts,
    finish,
    make_articles,
    run,
    start,
    stored,
)
from tests.testapp.models import Article, Category, Document, Tag, TenantNote

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

NOON = datetime(2024, 5, 10, 12, tzinfo=UTC)
FILTERABLE = ["status", "category__slug", "price", "tags__name", "id", "attributes__color"]


@pytest.fixture
def shop(project: Project) -> Project:
    """Ten articles, one a day at noon, of all kinds."""
    project.article(filterable_fields=FILTERABLE)
    shoes, hats = (Category.objects.create(name=slug, slug=slug) for slug in ("shoes", "hats"))
    red, blue = (Tag.objects.create(name=name) for name in ("red", "blue"))
    for i in range(10):
        article = Article.objects.create(
            title=f"t{i}",
            category=shoes if i % 2 else hats,
            price=Decimal(i),
            status="draft" if i == 3 else "published",
            attributes={"color": "red" if i < 4 else "blue"},
        )
        article.tags.add(*([red, blue] if i % 5 == 0 else [blue]))
        Article.objects.filter(pk=article.pk).update(
            created_at=as_the_host_has_it(NOON + timedelta(days=i))
        )
    return project


def taken() -> list[int]:
    """The numbers of the articles that are indexed."""
    titles = Article.objects.filter(pk__in=stored(collection())).values_list("title", flat=True)
    return sorted(int(title[1:]) for title in titles)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"created_before": date(2024, 5, 12)}, [0, 1]),
        ({"created_before": NOON + timedelta(days=2)}, [0, 1]),
        ({"created_before": NOON + timedelta(days=2, seconds=1)}, [0, 1, 2]),
        ({"created_after": date(2024, 5, 18)}, [8, 9]),
        ({"created_after": NOON + timedelta(days=8)}, [8, 9]),
        ({"created_after": make_naive(NOON + timedelta(days=8))}, [8, 9]),
        (
            {"created_after": datetime(2024, 5, 18, 13, tzinfo=timezone(timedelta(hours=1)))},
            [8, 9],
        ),
        ({"created_after": date(2024, 5, 12), "created_before": date(2024, 5, 14)}, [2, 3]),
        ({"created_after": date(2030, 1, 1)}, []),
        ({"lookups": {"status": "draft"}}, [3]),
        ({"lookups": {"category__slug": "shoes", "price__lt": 4}}, [1, 3]),
        ({"lookups": {"price__gte": "8"}}, [8, 9]),
        ({"lookups": {"price__in": [1, 2]}}, [1, 2]),
        ({"lookups": {"price__in": "1, 2"}}, [1, 2]),
        ({"lookups": {"price__range": "1,3"}}, [1, 2, 3]),
        ({"lookups": {"tags__name": "red"}}, [0, 5]),
        ({"lookups": {"tags__name__in": ["red", "blue"]}}, list(range(10))),
        ({"lookups": {"attributes__color": "red"}}, [0, 1, 2, 3]),
        ({"lookups": {"category__slug__isnull": True}}, []),
        ({"lookups": {"status__icontains": "DRAF"}}, [3]),
    ],
)
def test_a_migration_takes_the_rows_that_match(
    shop: Project, filters: dict[str, Any], numbers: list[int]
) -> None:
    chosen = MigrationFilters(**filters)

    plan = migration_service.plan(MigrationRequest("article", filters=chosen))
    ended = run(filters=chosen, batch_size=3)
    assert taken() == numbers
    assert counts(ended) == (len(numbers), 0, 0, 0), "a row counts once, whatever it joins"
    assert (plan.total, plan.to_embed, plan.to_remove) == (len(numbers), len(numbers), 0)
    if filters.get("lookups"):
        job = MigrationJob.objects.get()
        assert job.filter_config["lookups"] == filters["lookups"], "stored as asked for"


def test_a_migration_with_filters_leaves_the_others_alone(shop: Project) -> None:
    run()
    Article.objects.filter(title="t5").delete()
    ended = run(filters=MigrationFilters(lookups={"price__lt": 3}))
    assert counts(ended) == (0, 3, 0, 0)
    assert len(stored(collection())) == 10, "what is gone is the next whole run's work"
    assert run().removed == 1


def test_a_date_against_a_field_without_time(project: Project) -> None:
    with table_of(Dated):
        for day in range(1, 6):
            Dated.objects.create(title=f"d{day}", made_on=date(2024, 5, day))
        project.article("title", name="dated", model="testapp.Dated", created_at_field="made_on")
        for filters, wanted in [
            ({"created_before": date(2024, 5, 3)}, {"d1", "d2"}),
            ({"created_after": date(2024, 5, 4)}, {"d4", "d5"}),
        ]:
            selected = MigrationFilters(**filters)  # type: ignore[arg-type]
            rows = run("dated", filters=selected, reindex_existing=True)
            assert rows.indexed == len(wanted)


def test_an_entity_type_without_a_date_cannot_be_filtered_by_one(database: object) -> None:
    with pytest.raises(InvalidRequestError, match="created-at-field") as caught:
        start("document", filters=MigrationFilters(created_before=date(2024, 1, 1)))
    assert caught.value.field == "created_before"


# Ids


@pytest.mark.parametrize("batch_size", [1, 2, 500])
def test_ids_are_taken_and_missing_ones_removed(
    project: Project, script: Script, batch_size: int
) -> None:
    make_articles(6)
    run()
    script.clear()
    keys = list(Article.objects.order_by("pk").values_list("pk", flat=True))
    Article.objects.filter(pk=keys[0]).delete()
    Article.objects.filter(pk__in=keys[1:3]).update(body="new")
    ids = [str(keys[0]), str(keys[1]), f" {keys[1]} ", str(keys[4]), "999999"]
    ended = run(filters=MigrationFilters(entity_ids=ids), batch_size=batch_size)
    assert (ended.total, counts(ended)) == (4, (1, 2, 1, 0))
    assert len(script.texts) == 1
    assert str(keys[0]) not in stored(collection())


def test_ids_with_lookups_take_what_matches_both(shop: Project) -> None:
    keys = {article.title: str(article.pk) for article in Article.objects.all()}
    run()
    before = stored(collection())
    filters = MigrationFilters(
        entity_ids=[keys["t1"], keys["t2"], keys["t3"]], lookups={"category__slug": "shoes"}
    )
    ended = run(filters=filters, reindex_existing=True)
    assert counts(ended) == (2, 1, 0, 0)
    assert stored(collection()) == before, "one that does not match is there still"


def test_ids_of_other_kinds(database: object) -> None:
    made = [Document.objects.create(title="d", text=str(i)) for i in range(3)]
    ids = [str(made[0].pk).upper(), made[1].pk.hex, str(made[1].pk)]
    assert run("document", filters=MigrationFilters(entity_ids=ids)).indexed == 2
    assert stored(collection("document")).keys() == {str(item.pk) for item in made[:2]}
    TenantNote.objects.create(tenant_id=1, number=2, text="n")
    ended = run("tenant-note", filters=MigrationFilters(entity_ids=["[1, 2]", (1, 2), "[9,9]"]))
    assert counts(ended) == (1, 1, 0, 0)


def test_malformed_ids_are_refused(project: Project) -> None:
    for ids in (["x"], ["1", ""], ["1.5"], ["1\0"], ["9" * 20], ["9" * 5000], ["[1]"], [None]):
        with pytest.raises(InvalidRequestError, match="not a primary key") as caught:
            start(filters=MigrationFilters(entity_ids=ids))
        assert caught.value.field == "entity_ids"
    assert not MigrationJob.objects.exists()


def test_ids_that_no_database_takes_are_refused(project: Project) -> None:
    project.article("name", name="country", model="testapp.Country")
    for ids in (["\0"], ["\ud800"], ["A\udfff"]):
        with pytest.raises(InvalidRequestError, match="not a primary key"):
            start("country", filters=MigrationFilters(entity_ids=ids))
    with pytest.raises(InvalidRequestError, match="not a primary key"):
        start("country", filters=MigrationFilters(entity_ids=[16**10_000]))


def test_too_many_ids_are_refused(project: Project) -> None:
    with pytest.raises(InvalidRequestError, match="too many"):
        start(filters=MigrationFilters(entity_ids=[str(i) for i in range(10_001)]))


# Refused


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"title": "x"}, "cannot be filtered by 'title'"),
    ({"body__contains": "x"}, "metadata-fields.*status"),
    ({"status__regex": "(a+)+$"}, "cannot be filtered"),
    ({"category__name": "x"}, "cannot be filtered"),
    ({"status\0": "x"}, "cannot be filtered"),
    ({"": "x"}, "cannot be filtered"),
    ({"status": "a\0b"}, "NUL"),
    ({"status__in": ["a", "b\0"]}, "NUL"),
    ({"status__in": "a,b\0"}, "NUL"),
    ({"price": "cheap"}, "does not fit"),
    ({"price": {"a": 1}}, "fit"),
    ({"price": [1]}, "fit"),
    ({"price": "NaN"}, "fit"),
    ({"id": "abc"}, "fit"),
    ({"id": 2**70}, "fit"),
    ({"id__in": [2**70]}, "fit"),
    ({"id__in": 5}, "fit"),
    ({"price__range": "1"}, "fit"),
    ({"price__isnull": "maybe"}, "true or false"),
    ({"tags__name": "\0"}, "NUL"),
]


def test_what_does_not_fit_is_refused_before_anything_starts(shop: Project) -> None:
    for lookups, message in REFUSED:
        for ask in (migration_service.start_migration, migration_service.plan):
            with pytest.raises(InvalidRequestError, match=message) as caught:
                ask(MigrationRequest("article", filters=MigrationFilters(lookups=lookups)))
            assert caught.value.field == "filters"
            assert "\n" not in caught.value.message
    assert not MigrationJob.objects.exists()


def test_a_property_cannot_be_filtered_by(project: Project) -> None:
    from ai_migration.exceptions import EntityConfigError

    project.article(filterable_fields=["headline"])
    with pytest.raises(EntityConfigError, match="headline"):
        start()


@pytest.mark.parametrize("field", ["batch_size", "rate_limit"])
def test_numbers_out_of_range_are_refused(project: Project, field: str) -> None:
    for value in (0, -1, 10**9, True, "5", 2.5, 16**10_000):
        with pytest.raises(InvalidRequestError, match=f"{field} must be a whole number") as caught:
            start(**{field: value})  # type: ignore[arg-type]
        assert caught.value.field == field
    assert not MigrationJob.objects.exists()


def test_an_unknown_mode_is_refused(project: Project) -> None:
    for mode in ("", "everything", None, "ALL"):
        with pytest.raises(InvalidRequestError, match="Known: missing, changed, all"):
            start(mode=mode)


def test_filters_are_applied_again_to_rows_that_are_fed_later(shop: Project) -> None:
    """They are stored as filters: a row that comes to match meanwhile is taken."""
    job = start(filters=MigrationFilters(lookups={"status": "draft"}), batch_size=1)
    Article.objects.filter(title="t9").update(status="draft")
    ended = finish(job)
    assert (ended.status, ended.indexed) == (JobStatus.COMPLETED, 2)
    assert taken() == [3, 9]
