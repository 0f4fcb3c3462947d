"""The rows of other tables that texts read, and the columns of their own that matter."""

from __future__ import annotations

from typing import Any

import pytest

from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.config.schema import kebab
from ai_migration.entities.entity import Entity
from ai_migration.entities.relations import dependencies, own_fields
from ai_migration.entities.resolving import examine_entity
from tests.testapp.models import Article, Category, Tag

THROUGH: Any = Article.tags.through


def entity(*fields: str, model: str = "testapp.Article", **keys: Any) -> Entity:
    keys = {kebab(name): value for name, value in keys.items()}
    given = {"entity-type": "e", "model": model, "embeddable-fields": list(fields), **keys}
    found = examine_entity(EntityDefinition.model_validate(given))
    assert isinstance(found, Entity), found
    return found


def read(found: Entity) -> set[tuple[Any, ...]]:
    return {
        (each.model, each.key, each.path, each.fields, each.is_link) for each in dependencies(found)
    }


def test_fields_of_the_row_itself() -> None:
    found = entity("title", "attributes__colour", metadata_fields=["category__slug"])
    assert own_fields(found) == frozenset({"title", "attributes", "category_id"})
    found = entity("title", filter={"status": "published"}, tenant_field="price")
    assert own_fields(found) == frozenset({"title", "status", "price"})


@pytest.mark.parametrize(
    "found",
    [
        entity("headline"),
        entity("summary"),
        entity("title", queryset="objects"),
        entity("title", model="testapp.SoftDeleted"),
    ],
    ids=["property", "method", "queryset", "manager"],
)
def test_any_field_may_matter(found: Entity) -> None:
    assert own_fields(found) is None
    assert not read(found)


def test_a_row_that_others_link_to() -> None:
    assert read(entity("category__name", "category__slug", "category")) == {
        (Category, "id", "category", frozenset({"name", "slug"}), False)
    }
    assert not read(entity("title", "category"))


def test_rows_behind_links() -> None:
    assert read(entity("tags__name")) == {
        (THROUGH, "article_id", "", None, True),
        (Tag, "id", "tags", frozenset({"name"}), False),
    }
    assert read(entity("tags")) == {(THROUGH, "article_id", "", None, True)}


def test_rows_that_link_here() -> None:
    found = entity("name", "article__title", "article__tags__name", model="testapp.Category")
    assert read(found) == {
        (Article, "category_id", "", frozenset({"category_id", "title"}), True),
        (THROUGH, "article_id", "article", None, True),
        (Tag, "id", "article__tags", frozenset({"name"}), False),
    }


def test_what_the_config_adds_and_switches_off() -> None:
    found = entity("summary", reindex_on=["category", "tags__name"])
    assert read(found) == {
        (Category, "id", "category", None, False),
        (THROUGH, "article_id", "", None, True),
        (Tag, "id", "tags", frozenset({"name"}), False),
    }
    assert not read(entity("category__name", reindex_on=[]))


def test_a_template_reads_its_variables() -> None:
    found = entity(template="{{ category.name }} {{ title }}")
    assert read(found) == {(Category, "id", "category", frozenset({"name"}), False)}
