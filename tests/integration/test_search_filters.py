"""One list of fields filters migrations and searches, with the same values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ai_migration import search
from ai_migration.entities import registry
from ai_migration.entities.filtering.payloads import MAX_VALUES, payload_filters
from ai_migration.exceptions import InvalidRequestError, NotIndexedError
from ai_migration.types import MigrationFilters
from tests.integration.embedders import Script
from tests.integration.odd_models import Typed, table_of
from tests.integration.rest import Api, error
from tests.integration.stores import options_of
from tests.integration.support import Project, collection, counts, make_articles, run
from tests.integration.test_checks import found
from tests.testapp.models import Article, Category, Tag

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

FIELDS = [
    *("id", "title", "small", "integer", "weight", "price", "flag", "day", "at", "clock", "span"),
    *("uid", "attrs", "attrs__n", "attrs__size", "ip", "category", "category__name"),
    "category__typed",
]


def titles(**filters: Any) -> list[str]:
    hits = search("article", "x", limit=100, filters=filters)
    return sorted(Article.objects.get(pk=hit.id).title for hit in hits)


# Values


@pytest.fixture
def typed(project: Project) -> Iterator[Typed]:
    """A row of a model with a field of each type, among others."""
    with table_of(Typed):
        category = Category.objects.create(name="c", slug="c")
        made = Typed.objects.create(attrs={"size": "5", "n": 5}, category=category)
        Typed.objects.create(title="other", attrs={}, small=9, price=9)
        project.article(
            "title",
            name="typed",
            model="testapp.Typed",
            metadata_fields=["price", *FIELDS[:6], *FIELDS[6:]],
        )
        run("typed")
        yield made


def hits(**filters: Any) -> list[str]:
    return sorted(hit.id for hit in search("typed", "x", limit=9, filters=filters))


def test_a_value_finds_its_row_in_whatever_form_it_is_given(typed: Typed) -> None:
    """As it is in Python, as in the payload, and as a command line has it."""
    typed.refresh_from_db()
    one = str(typed.pk)
    [hit] = [hit for hit in search("typed", "x", limit=9) if hit.id == one]
    for name in FIELDS:
        in_payload = hit.metadata[name]
        assert one in hits(**{name: in_payload}), (name, in_payload)
        if not isinstance(in_payload, dict | list | None):
            assert one in hits(**{name: str(in_payload)}), (name, in_payload)
            assert one in hits(**{f"{name}__in": [in_payload, None]}), (name, in_payload)
    for name in ("integer", "weight", "price", "flag", "day", "at", "clock", "span", "uid", "ip"):
        assert one in hits(**{name: getattr(typed, name)}), name
    assert one in hits(category=typed.category)
    assert hits(attrs__n="5") == hits(attrs__size="5") == hits(attrs__n=5) == [one]
    assert hits(price="129") == hits(price=129.0) == hits(price=Decimal("129.000"))
    assert hits(price=9) == hits(price="9.00") == hits(price__in="9, 10")
    assert len(hits(price=9)) == 1
    assert hits(price="9.001") == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("integer", "many", "must be an integer"),
        ("flag", "perhaps", "write true or false"),
        ("day", "yesterday", "invalid date format"),
        ("uid", "1", "not a valid UUID"),
        ("price", "NaN", "must be a decimal number"),
        ("title", "a\0b", "NUL"),
        ("title__in", 5, "several values"),
        ("title__in", list(range(MAX_VALUES + 1)), "1,001 values: at most 1,000"),
        ("title", ["a"], "one value"),
        ("title__contains", "x", "compare for equality: title=…, or title__in=…"),
        ("price__gt", 5, "compare for equality"),
        ("colour", "red", "no metadata field 'colour'. It has: price, id"),
        ("colour__in", "red", "no metadata field 'colour__in'"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_what_does_not_fit_is_refused(typed: Typed, name: str, value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        hits(**{name: value})
    assert reason in caught.value.message
    assert caught.value.field == "filters"


# Several values


@pytest.mark.parametrize(
    "store",
    [
        "ai_migration.stores.database.DatabaseStore",
        "ai_migration.stores.memory.MemoryStore",
        "tests.integration.stores.NoListStore",
        "tests.integration.stores.NoFilterStore",
        "ai_migration.stores.sqlite_vec.SqliteVecStore",
        "ai_migration.stores.qdrant.QdrantStore",
    ],
)
@pytest.mark.vendors("sqlite")
def test_any_of_several_values(project: Project, tmp_path: Path, store: str) -> None:
    project.article("title", metadata_fields=["status"], filterable_fields=["price"])
    project.store(store, **options_of(store, tmp_path))
    for number in range(30):
        status = ("draft", "published", "hidden")[number % 3]
        Article.objects.create(title=f"{number:02}", status=status, price=number)
    run()
    assert titles(status__in=["draft", "hidden"]) == [f"{n:02}" for n in range(30) if n % 3 != 1]
    assert titles(status__in="draft, hidden", price__in=[3, "4.0", 5]) == ["03", "05"]
    assert titles(status__in=["draft"], price=3) == ["03"]
    assert titles(status="draft", status__in=["draft", "hidden"], price__in=[2, 3]) == ["03"]
    assert titles(status="draft", status__in=["hidden"]) == []
    assert titles(status__in=[]) == titles(status__in=["nothing"]) == []


@pytest.mark.vendors("sqlite")
def test_one_value_is_a_plain_comparison(project: Project) -> None:
    """Which every store can make by itself."""
    project.article(metadata_fields=["status", "price", "headline"], tenant_field="headline")
    entity = registry.get("article")
    assert payload_filters(entity, {"status__in": ["a"], "price__exact": 3}) == {
        "status": "a",
        "price": "3.00",
    }
    assert payload_filters(entity, {"headline": "1"}) == {"headline": "1"}, "a tenant is no other"


@pytest.mark.vendors("sqlite")
def test_a_field_with_several_values_is_compared_whole(project: Project) -> None:
    project.article("title", metadata_fields=["tags__name"])
    both = Article.objects.create(title="both")
    both.tags.set([Tag.objects.create(name=name) for name in ("a", "b")])
    run()
    assert titles(tags__name=["a", "b"]) == ["both"]
    assert titles(tags__name=["a"]) == []
    with pytest.raises(InvalidRequestError, match="give all of them, as a list"):
        titles(tags__name="a")


# One list


@pytest.mark.parametrize("key", ["metadata_fields", "filterable_fields"])
def test_a_field_of_either_name_serves_both(project: Project, key: str) -> None:
    fields: dict[str, Any] = {key: ["status", "category__slug"]}
    project.article("title", **fields)
    make_articles(4)
    Article.objects.filter(title="Title 1").update(status="draft")
    run()
    assert titles(status="draft") == ["Title 1"]
    again = run(mode="all", filters=MigrationFilters(lookups={"status__in": "draft,x"}))
    assert counts(again) == (1, 0, 0, 0)
    [hit] = search("article", "x", filters={"status": "draft"})
    assert hit.metadata == {"status": "draft", "category__slug": None}


@pytest.mark.vendors("sqlite")
def test_a_property_filters_searches_only(project: Project) -> None:
    project.article("title", metadata_fields=["headline", "status"])
    make_articles(2)
    run()
    headline = Article.objects.order_by("pk")[0].headline
    assert titles(headline=headline) == ["Title 0"]
    with pytest.raises(InvalidRequestError, match=r"'headline'.*'metadata-fields': status"):
        run(filters=MigrationFilters(lookups={"headline": "x"}))


@pytest.mark.vendors("sqlite")
def test_an_index_that_lacks_a_field_says_so(project: Project, script: Script) -> None:
    """One from before `filterable-fields` were in the payload, or before a field was added."""
    project.article("title", metadata_fields=["price"])
    make_articles(3)
    run()
    script.clear()
    project.article("title", metadata_fields=["price"], filterable_fields=["status"])
    [said] = found()
    assert said.startswith("ai_migration.W051 ")
    assert "metadata is written again" in said
    with pytest.raises(NotIndexedError, match="does not have 'status' yet.*migrate_ai_entities"):
        titles(status="published")
    run(filters=MigrationFilters(lookups={"status": "draft"}))
    with pytest.raises(NotIndexedError, match="does not have 'status' yet"):
        titles(status="published")
    assert counts(run()) == (3, 0, 0, 0)
    assert len(titles(status="published")) == 3
    assert script.texts == ["x"], "only the query was embedded"
    assert found() == []


@pytest.mark.vendors("sqlite")
def test_a_snapshot_from_before_knew_the_fields_apart(project: Project, script: Script) -> None:
    project.article("title", metadata_fields=["status"], filterable_fields=["status", "price"])
    make_articles(3)
    run()
    of = collection()
    of.config_snapshot["metadata"]["fields"] = [["status", "TEXT", True]]
    of.config_snapshot["filterable_fields"] = ["status", "price"]
    of.save()
    assert [message[:17] for message in found()] == ["ai_migration.W051"]
    assert len(titles(status="published")) == 3
    with pytest.raises(NotIndexedError, match="'price'"):
        titles(price=5)
    run()
    assert found() == []
    assert titles(price=5) == []


@pytest.mark.vendors("sqlite")
def test_a_filter_has_the_type_the_index_was_built_with(project: Project) -> None:
    project.article("title", metadata_fields=["price"])
    make_articles(2)
    Article.objects.filter(title="Title 1").update(price=5)
    run()
    project.article("title", metadata_fields=[{"name": "price", "type": "NUMERIC"}])
    assert titles(price=5) == ["Title 1"]
    run()
    assert titles(price=5) == ["Title 1"]
    [hit] = search("article", "x", filters={"price": 5})
    assert hit.metadata == {"price": 5.0}


# The other doors


@pytest.mark.vendors("sqlite")
def test_the_command_takes_filters(project: Project) -> None:
    project.article("title", metadata_fields=["status", "price"])
    make_articles(4)
    Article.objects.filter(title="Title 1").update(status="draft", price=5)
    run()

    def said(*filters: str) -> list[str]:
        options = [argument for each in filters for argument in ("--filter", each)]
        output = StringIO()
        call_command("ai_migration", "search", "article", "x", *options, "--json", stdout=output)
        return [hit["text"] for hit in json.loads(output.getvalue())]

    assert said("status=draft", "price__in=5,6") == ["title: Title 1"]
    assert said("status__in=draft,published", "price=6") == []
    for wrong, reason in (
        ("status", "name=value"),
        ("=draft", "name=value"),
        ("colour=red", "no metadata field 'colour'"),
    ):
        with pytest.raises(CommandError, match=reason):
            call_command("ai_migration", "search", "article", "x", "--filter", wrong)


@pytest.mark.vendors("sqlite")
def test_rest_takes_the_same(api: Api, project: Project) -> None:
    project.article("title", metadata_fields=["status"])
    make_articles(3)
    Article.objects.filter(title="Title 1").update(status="draft")
    run()
    asked = {"entityType": "article", "query": "x", "filters": {"status__in": ["draft", "gone"]}}
    assert [hit["text"] for hit in api.post("search", asked).json()] == ["title: Title 1"]
    refused = api.post("search", {**asked, "filters": {"status__gt": "a"}})
    assert refused.status_code == 400
    assert "compare for equality" in error(refused)["detail"]
