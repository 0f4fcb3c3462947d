"""Every kind of model, key and field becomes the text and the index it should."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ai_migration import enqueue, search
from ai_migration.embedders import embedders
from ai_migration.embedders.chunking import chunk_text
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.exceptions import EntityConfigError, UnknownEntityTypeError
from tests.integration.odd_models import Dated, Logged, Slow, table_of
from tests.integration.support import (
    Project,
    as_the_host_has_it,
    assert_in_line,
    collection,
    make_articles,
    payloads,
    run,
    stored,
    work,
)
from tests.testapp.models import (
    Archive,
    Article,
    Category,
    ChildThing,
    Country,
    Document,
    ParentThing,
    SoftDeleted,
    Tag,
    TenantNote,
)

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

STORES = ("ai_migration.stores.database.DatabaseStore", "ai_migration.stores.memory.MemoryStore")


def read(entity_type: str = "article") -> list[SourceRow]:
    entity = registry.get(entity_type)
    rows = EntityReader(entity).read(entity.rows())
    return sorted(rows, key=lambda row: row.entity_id)


def make_shoe() -> Article:
    shoe = Article.objects.create(
        title="Runner",
        body="Light & <fast>.",
        price=Decimal("12.50"),
        category=Category.objects.create(name="Shoes", slug="shoes"),
        attributes={"color": "red", "sizes": [41, 42], "maker": {"name": "Ada"}},
    )
    shoe.tags.add(Tag.objects.create(name="sport"), Tag.objects.create(name="new"))
    return shoe


# Fields


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("title", "title: Runner"),
        ("category__name", "category name: Shoes"),
        ("category.name", "category name: Shoes"),
        ("tags__name", "tags name: new, sport"),
        ("headline", "headline: RUNNER"),
        ("summary", "summary: Runner: Light & <fast>."),
        ("attributes__color", "attributes color: red"),
        ("attributes__sizes", "attributes sizes: 41, 42"),
        ("attributes__maker__name", "attributes maker name: Ada"),
        ("price", "price: 12.50"),
    ],
)
def test_a_field_may_be_anything(project: Project, field: str, text: str) -> None:
    make_shoe()
    project.article(field)
    [row] = read()
    assert (row.text.lower(), row.error) == (text.lower(), "")


def test_camel_case_stands_for_snake_case(project: Project) -> None:
    shoe = make_shoe()
    project.article("createdAt", "title")
    assert ": 20" in read()[0].text.splitlines()[0]
    project.article(template="{{ createdAt|date:'Y' }} {{ title }}")
    assert read()[0].text == f"{shoe.created_at.year} Runner"


@pytest.mark.vendors("sqlite")
def test_fields_are_lines_in_the_order_of_the_config(project: Project) -> None:
    make_shoe()
    project.article("body", "title")
    assert read()[0].text.splitlines() == ["body: Light & <fast>.", "title: Runner"]
    project.config(
        """
        ai-entities:
          article:
            model: testapp.Article
            embeddable-fields: [{name: title, label: Name}]
        """
    )
    assert read()[0].text == "Name: Runner"


def test_a_field_that_is_empty_or_null_drops_out(project: Project) -> None:
    Article.objects.create(title="  bare  ", body="   ")
    project.article("title", "body", "category__name", "tags__name", "price", "attributes__color")
    assert read()[0].text == "title: bare"


@pytest.mark.vendors("sqlite")
def test_a_field_that_does_not_exist_names_the_nearest(project: Project) -> None:
    project.article("titel")
    with pytest.raises(EntityConfigError, match=r"'titel'.*Did you mean 'title'"):
        registry.get("article")


@pytest.mark.vendors("sqlite")
def test_an_unknown_entity_type_names_the_known_ones(project: Project) -> None:
    with pytest.raises(UnknownEntityTypeError, match=r"'artcle'.*article.*Did you mean"):
        registry.get("artcle")


@pytest.mark.parametrize(
    "fields",
    [
        ["title", "category__name", "attributes__color"],
        ["title", "category__name", "tags__name"],
        ["headline", "summary", "category__name", "tags__name"],
    ],
)
@pytest.mark.parametrize("rows", [1, 40])
def test_relations_cost_no_query_a_row(project: Project, fields: list[str], rows: int) -> None:
    for i in range(rows):
        shoe = Article.objects.create(
            title=f"t{i}", category=Category.objects.create(name="c", slug=f"c{i}")
        )
        shoe.tags.add(Tag.objects.create(name=f"tag{i}"))
    project.article(*fields)
    entity = registry.get("article")
    reader = EntityReader(entity)
    with CaptureQueriesContext(connection) as queries:
        assert len(reader.read(entity.rows())) == rows
    assert len(queries) == 1 + ("tags__name" in fields)


# Templates


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ title }} is {{ body }}", "Runner is Light & <fast>."),
        ("{{ category__name }}/{{ category.name }}", "Shoes/Shoes"),
        ("{% for tag in tags__name %}<{{ tag }}>{% endfor %}", "<new><sport>"),
        ("{% for tag in tags.name %}{{ forloop.counter }}{{ tag }} {% endfor %}", "1new 2sport"),
        ("{{ title }}{% if price %} for {{ price }}{% endif %}", "Runner for 12.50"),
        ("{% if category.name == 'Shoes' %}shoe {% endif %}{{ title }}", "shoe Runner"),
        (
            "{% if status == 'draft' %}DRAFT {% elif price > 12 %}dear {% endif %}{{ title }}",
            "dear Runner",
        ),
        ("{% if category %}{{ category.name }}{% endif %}: {{ title }}", "Shoes: Runner"),
        ("{% with c=category.name %}{{ c }} {{ title }}{% endwith %}", "Shoes Runner"),
        ("{{ summary|default:title|upper }}", "RUNNER: LIGHT & <FAST>."),
        ("{{ missing_price|default:title }}".replace("missing_price", "category.slug"), "shoes"),
        ("{{ attributes.maker.name }} {{ attributes.color }}", "Ada red"),
        ("{% firstof price title %}", "12.50"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_templates(project: Project, template: str, text: str) -> None:
    make_shoe()
    project.article(template=template)
    assert (read()[0].text, read()[0].error) == (text, "")


@pytest.mark.vendors("sqlite")
def test_a_template_uses_what_only_its_conditions_name(project: Project) -> None:
    Article.objects.create(title="secret", status="draft")
    project.article("title", template="{% if status == 'draft' %}DRAFT {% endif %}{{ title }}")
    assert read()[0].text == "DRAFT secret"


@pytest.mark.vendors("sqlite")
def test_a_template_that_does_not_compile_is_a_fault_of_the_config(project: Project) -> None:
    project.article(template="{% if title %}")
    with pytest.raises(EntityConfigError, match="template does not compile"):
        registry.get("article")


@pytest.mark.vendors("sqlite")
def test_a_template_that_names_an_unknown_field_is_a_fault_of_the_config(project: Project) -> None:
    project.article(template="{{ titel }}")
    with pytest.raises(EntityConfigError, match="titel"):
        registry.get("article")


# Chunks


def test_a_long_text_becomes_several_vectors_and_search_finds_the_right_one(
    project: Project,
) -> None:
    sentences = [f"Sentence number {i} speaks of matter {i}." for i in range(30)]
    long = Article.objects.create(title="Long", body=" ".join(sentences))
    make_articles(5)
    project.article("body", template="{{ body }}", chunking={"size": 40, "overlap": 0})
    ended = run()
    assert ended.indexed == 6
    chunks = stored(collection())[str(long.pk)]
    assert len(chunks) > 5
    assert sorted(chunks) == list(range(len(chunks)))
    assert_in_line()
    pieces = chunk_text(long.body, embedders["default"], 40, 0)
    hits = search("article", pieces[3], limit=6)
    assert (hits[0].id, hits[0].text) == (str(long.pk), pieces[3])
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert [hit.id for hit in hits].count(str(long.pk)) == 1, "each entity once"
    assert len(hits) == 6, "chunks of one entity do not crowd out the others"


@pytest.mark.parametrize("store", STORES)
def test_a_text_that_shrinks_leaves_no_chunk_behind(project: Project, store: str) -> None:
    project.article(chunking={"size": 30})
    project.store(store)
    long = Article.objects.create(title="Long", body="many words " * 60)
    run()
    before = len(stored(collection())[str(long.pk)])
    assert before > 3
    Article.objects.filter(pk=long.pk).update(body="many words " * 20)
    assert run().indexed == 1
    assert 1 < len(stored(collection())[str(long.pk)]) < before
    assert_in_line()
    Article.objects.filter(pk=long.pk).update(title="", body="")
    run()
    assert stored(collection()) == {}


def test_other_chunking_embeds_what_is_long_enough_to_notice(project: Project) -> None:
    script = project.embedder()
    Article.objects.create(title="Long", body="many words " * 60)
    make_articles(3)
    project.article(chunking={"size": 100})
    run()
    project.article(chunking={"size": 50})
    script.clear()
    assert run().indexed >= 1
    assert_in_line()


# Keys and models


def make_documents(count: int) -> list[str]:
    made = [Document.objects.create(title=f"d{i}", text=f"text {i}") for i in range(count)]
    return [str(item.pk) for item in made]


def make_countries(count: int) -> list[str]:
    codes = [f"{chr(65 + i // 10)}{i % 10}" for i in range(count)]
    Country.objects.bulk_create(Country(code=code, name=f"Country {code}") for code in codes)
    return codes


def make_notes(count: int) -> list[str]:
    TenantNote.objects.bulk_create(
        TenantNote(tenant_id=i % 3, number=i, text=f"note {i}") for i in range(count)
    )
    return [f"[{i % 3},{i}]" for i in range(count)]


def make_children(count: int) -> list[str]:
    ParentThing.objects.create(title="only a parent")
    return [str(ChildThing.objects.create(title=f"c{i}", detail="d").pk) for i in range(count)]


def make_archives(count: int) -> list[str]:
    return [str(Archive.objects.create(title=f"a{i}", text="old").pk) for i in range(count)]


def make_plain(count: int) -> list[str]:
    make_articles(count)
    return [str(pk) for pk in Article.objects.values_list("pk", flat=True)]


KINDS: dict[str, tuple[Callable[[int], list[str]], type[Any]]] = {
    "article": (make_plain, Article),
    "document": (make_documents, Document),
    "country": (make_countries, Country),
    "tenant-note": (make_notes, TenantNote),
    "child-thing": (make_children, ChildThing),
    "archive": (make_archives, Archive),
    "proxy-article": (make_plain, Article),
    "view": (make_plain, Article),
}


@pytest.mark.parametrize("batch_size", [4])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_indexed_kept_and_searched(
    database: object, kind: str, batch_size: int
) -> None:
    make, model = KINDS[kind]
    ids = make(11)
    ended = run(kind, batch_size=batch_size)
    assert (ended.total, ended.indexed, ended.failed) == (11, 11, 0)
    assert_in_line(kind)
    assert stored(collection(kind)).keys() == set(ids)
    text = {row.entity_id: row.text for row in read(kind)}
    hits = search(kind, text[ids[4]], limit=2)
    assert (hits[0].id, hits[0].text) == (ids[4], text[ids[4]])

    # One changed, one gone, one new: live and by a migration.
    key = registry.get(kind).key
    model.objects.get(pk=key.from_entity_id(ids[0])).delete()
    assert enqueue(kind, ids[:2]) == 2
    work()
    assert stored(collection(kind)).keys() == set(ids[1:])
    model.objects.get(pk=key.from_entity_id(ids[5])).delete()
    ended = run(kind, batch_size=batch_size)
    assert (ended.indexed, ended.skipped, ended.removed) == (0, 9, 1)
    assert_in_line(kind)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_keys_of_other_types(project: Project, batch_size: int) -> None:
    """A moment, and a relation."""
    with table_of(Dated, Logged, Slow):
        for i in range(7):
            at = datetime(2024, 1, 1, 12, 0, i, 123456, tzinfo=UTC)
            Logged.objects.create(at=as_the_host_has_it(at), title=f"l{i}")
            made = Dated.objects.create(title="x", made_on=date(2024, 1, 1))
            Slow.objects.create(dated=made, title=f"s{i}")
        for name in ("Logged", "Slow"):
            project.article("title", name=name.lower(), model=f"testapp.{name}")
            assert run(name.lower(), batch_size=batch_size).indexed == 7
            assert_in_line(name.lower())
            assert run(name.lower(), batch_size=batch_size).skipped == 7


def test_a_soft_delete_manager_is_respected(database: object) -> None:
    kept, gone = (SoftDeleted.objects.create(title=title) for title in ("kept", "gone"))
    run("soft-deleted")
    assert stored(collection("soft-deleted")).keys() == {str(kept.pk), str(gone.pk)}
    SoftDeleted.objects.filter(pk=gone.pk).update(deleted=True)
    ended = run("soft-deleted")
    assert (ended.skipped, ended.removed) == (1, 1)
    assert stored(collection("soft-deleted")).keys() == {str(kept.pk)}
    SoftDeleted.all_objects.filter(pk=gone.pk).update(deleted=False)
    assert run("soft-deleted").indexed == 1, "what comes back is indexed again"
    assert_in_line("soft-deleted")


def test_another_manager_can_be_named(database: object) -> None:
    SoftDeleted.objects.create(title="kept")
    SoftDeleted.objects.create(title="gone", deleted=True)
    run("soft-deleted-all")
    assert len(stored(collection("soft-deleted-all"))) == 2


def cheap_articles() -> Any:
    return Article.objects.filter(price__lt=10)


def test_rows_can_come_from_a_callable(project: Project) -> None:
    Article.objects.create(title="cheap", price=Decimal(1))
    Article.objects.create(title="dear", price=Decimal(99))
    project.article(queryset="tests.integration.test_entities.cheap_articles")
    assert run().indexed == 1
    Article.objects.update(price=Decimal(99))
    assert run().removed == 1
    assert stored(collection()) == {}


@pytest.mark.parametrize(
    ("queryset", "message"),
    [
        ("nobody", "nobody"),
        ("tests.nowhere.rows", "cannot be imported"),
        ("tests.integration.test_entities.KINDS", "call"),
        ("tests.integration.support.ticking", "rows"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_a_queryset_that_is_none(project: Project, queryset: str, message: str) -> None:
    project.article(queryset=queryset)
    with pytest.raises(EntityConfigError, match=f"article.*{message}"):
        registry.get("article").rows()


def test_the_payload_is_typed_json(project: Project) -> None:
    shoe = make_shoe()
    bare = Article.objects.create(title="bare")
    project.article(
        metadata_fields=[
            {"name": "price", "type": "NUMERIC"},
            {"name": "category__name", "type": "STRING"},
            {"name": "tags__name"},
            {"name": "attributes__color"},
            {"name": "headline"},
            {"name": "created_at"},
        ]
    )
    run()
    found = payloads(collection())
    assert found[str(shoe.pk)] == {
        "price": 12.5,
        "category__name": "Shoes",
        "tags__name": ["new", "sport"],
        "attributes__color": "red",
        "headline": "RUNNER",
        "created_at": shoe.created_at.isoformat(),
    }
    assert found[str(bare.pk)]["price"] is None
    assert search("article", "x", filters={"category__name": "Shoes"})[0].id == str(shoe.pk)


def test_ids_are_written_as_people_write_them(database: object) -> None:
    made = Document.objects.create(title="d", text="t", id=uuid.UUID(int=0xABC))
    assert read("document")[0].entity_id == "00000000-0000-0000-0000-000000000abc" == str(made.pk)
    TenantNote.objects.create(tenant_id=1, number=2, text="n")
    assert read("tenant-note")[0].entity_id == "[1,2]"
