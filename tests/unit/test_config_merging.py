"""Decorator and YAML become one definition; YAML wins key by key."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ai_migration.entities.config.decorator import AICapableDeclaration
from ai_migration.entities.config.definitions import EntityDefinition, comparable, payload_types
from ai_migration.entities.config.file import ConfigFile, load_config
from ai_migration.entities.config.merging import merge, merge_all
from ai_migration.entities.config.schema import EntityConfig, GlobalConfig, is_inert, kebab
from ai_migration.exceptions import EntityConfigError

Write = Callable[[str], ConfigFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str) -> ConfigFile:
        path = tmp_path / "ai-entity-config.yml"
        path.write_text(text)
        return load_config(path)

    return write_text


def yaml_entity(**keys: Any) -> EntityConfig:
    return EntityConfig.model_validate({kebab(key): value for key, value in keys.items()})


def declaration(model: str = "shop.Product", **keys: Any) -> AICapableDeclaration:
    return AICapableDeclaration("product", model, yaml_entity(**keys))


def names(definition: EntityDefinition) -> list[str]:
    return [field.name for field in definition.text_fields]


def test_yaml_wins_for_each_key_it_sets() -> None:
    merged = merge(
        "product",
        declaration(embeddable_fields=["a"], template="{a}", store="s", indexable=False),
        yaml_entity(embeddable_fields=["b"], store=None, indexable=True, using="other"),
        source="ai-entity-config.yml:3",
    )
    assert names(merged) == ["b"]
    assert (merged.template, merged.store, merged.using) == ("{a}", "s", "other")
    assert merged.indexable
    assert merged.model == "shop.Product"
    assert merged.source == "@ai_capable on shop.Product and ai-entity-config.yml:3"


def test_defaults() -> None:
    merged = merge("product", None, yaml_entity())
    assert merged == EntityDefinition.model_validate({"entity-type": "product"})


def test_the_text_is_the_embeddable_fields_else_the_searchable_ones() -> None:
    both = yaml_entity(embeddable_fields=["e"], searchable_fields=["s"])
    assert names(merge("x", None, both)) == ["e"]
    assert names(merge("x", None, yaml_entity(searchable_fields=["s"]))) == ["s"]
    assert names(merge("product", declaration(embeddable_fields=["d"]), yaml_entity())) == ["d"]


def test_fields_that_are_switched_off_are_no_text() -> None:
    embeddable = [
        {"name": "a", "auto-generate": False},
        {"name": "b", "include-in-similarity": False},
        {"name": "c", "auto-generate": True},
    ]
    searchable = [{"name": "s", "enable-semantic-search": False}, "t"]
    entity = yaml_entity(embeddable_fields=embeddable, searchable_fields=searchable)
    assert names(merge("x", None, entity)) == ["c"]
    entity = yaml_entity(embeddable_fields=embeddable[:2], searchable_fields=searchable)
    assert names(merge("x", None, entity)) == ["t"]


def test_a_field_that_stands_twice_counts_where_it_first_stands() -> None:
    entity = yaml_entity(
        embeddable_fields=[{"name": "a", "label": "First"}, "b", "a"],
        metadata_fields=[{"name": "a", "type": "FIRST"}, "b", "a"],
        filterable_fields=["a", "b", "a"],
    )
    merged = merge("x", None, entity)
    assert [(f.name, f.words) for f in merged.text_fields] == [("a", "First"), ("b", "b")]
    assert [(f.name, f.type) for f in merged.metadata_fields] == [("a", "FIRST"), ("b", "TEXT")]
    assert [field.name for field in merged.filterable_fields] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("title", "title"),
        ("short_description", "short description"),
        ("shortDescription", "short description"),
        ("category__name", "category name"),
        ("__", "__"),
    ],
)
def test_labels(name: str, label: str) -> None:
    merged = merge("x", None, yaml_entity(embeddable_fields=[name]))
    assert [(field.name, field.words) for field in merged.text_fields] == [(name, label)]


def test_the_batch_size_of_the_entity_wins_over_that_of_all() -> None:
    everywhere = GlobalConfig.model_validate({"batch-size": 100})
    assert merge("x", None, yaml_entity(), global_config=everywhere).batch_size == 100
    own = yaml_entity(batch_size=10)
    assert merge("x", None, own, global_config=everywhere).batch_size == 10


def test_all_of_both(write: Write) -> None:
    config = write(
        "ai-config: {batch-size: 50}\n"
        "ai-entities:\n"
        "  product:\n"
        "    model: Shop.product\n"
        "    store: s\n"
        "  order:\n"
    )
    other = AICapableDeclaration("item", "shop.Item", yaml_entity())
    definitions = merge_all([declaration(), other], config)
    assert list(definitions) == ["item", "order", "product"]
    assert [definition.model for definition in definitions.values()] == [
        "shop.Item",
        None,
        "shop.Product",
    ]
    assert definitions["product"].store == "s"
    assert definitions["order"].source == "ai-entity-config.yml:6"
    assert {definition.batch_size for definition in definitions.values()} == {50}
    assert list(merge_all([other], None)) == ["item"]
    assert merge_all([], None) == {}


def test_two_models_for_one_entity_type(write: Write) -> None:
    with pytest.raises(EntityConfigError, match=r"twice: @ai_capable on shop.Product and .*Item"):
        merge_all([declaration(), declaration("shop.Item")], None)
    config = write("ai-entities:\n  product:\n    model: shop.Item\n")
    with pytest.raises(EntityConfigError, match=r"ai-entity-config.yml:2: .*'shop.Item'"):
        merge_all([declaration()], config)


CHANGES: dict[str, Any] = {
    "entity_type": "other",
    "model": "shop.Product",
    "embedder": "e",
    "store": "s",
    "searchable_fields": ["a"],
    "embeddable_fields": ["a"],
    "template": "{a}",
    "chunking": {"size": 100, "overlap": 10},
    "metadata_fields": ["a"],
    "filterable_fields": ["a"],
    "created_at_field": "c",
    "tenant_field": "t",
    "queryset": "q",
    "filter": {"live": True, "since__gte": date(2024, 1, 1)},
    "using": "d",
    "indexable": False,
    "enable_search": False,
    "batch_size": 5,
}
WITHOUT_EFFECT: dict[str, Any] = {"features": ["f"], "enable_recommendations": True}
LIVE: dict[str, Any] = {
    "auto_process": False,
    "auto_embedding": False,
    "updated_at_field": "u",
    "crud_operations": {"delete": {"enabled": False}},
    "reindex_on": ["r"],
}
"""When rows are indexed, and not how."""
TEXT = {"searchable_fields", "embeddable_fields", "template", "chunking"}
METADATA = {"metadata_fields", "filterable_fields", "tenant_field"}


def definition(**keys: Any) -> EntityDefinition:
    keys = {"entity_type": "product", **keys}
    return EntityDefinition.model_validate({kebab(key): value for key, value in keys.items()})


def test_the_changes_below_are_all_there_can_be() -> None:
    inert = {name for name, field in EntityConfig.model_fields.items() if is_inert(field)}
    assert inert == set(WITHOUT_EFFECT)
    assert EntityConfig.model_fields.keys() - inert == {*CHANGES, *LIVE}


@pytest.mark.parametrize("name", CHANGES)
def test_a_snapshot_shows_each_change_where_it_belongs(name: str) -> None:
    before, after = definition(), definition(**{name: CHANGES[name]})
    assert json.loads(json.dumps(after.snapshot())) == after.snapshot() != before.snapshot()
    assert (after.text_snapshot() != before.text_snapshot()) is (name in TEXT)
    assert (after.metadata_snapshot() != before.metadata_snapshot()) is (name in METADATA)


def test_a_snapshot_does_not_show_what_has_no_effect() -> None:
    field = {"name": "a", "include-in-search": False}
    one = definition(metadata_fields=["a"])
    assert (
        one.snapshot() == definition(metadata_fields=[field], **WITHOUT_EFFECT, **LIVE).snapshot()
    )


def test_a_snapshot_of_an_earlier_version_is_that_of_the_same_config_now() -> None:
    """It had the keys that have no effect."""
    operation = {"enabled": False, "generate_embedding": True, "index_for_search": True}
    stored = {
        "text": {
            "fields": [["title", "title"]],
            "template": None,
            "chunking": {"size": None, "overlap": 0},
        },
        "metadata": {
            "fields": [["price", "NUMERIC", False], ["sku", "TEXT", True]],
            "tenant_field": "tenant",
        },
        "filterable_fields": ["sku"],
        "features": ["search"],
        "crud_operations": {"create": operation, "update": operation, "delete": operation},
        "entity_type": "product",
        "model": "shop.Product",
        "embedder": None,
        "store": None,
        "created_at_field": None,
        "updated_at_field": "updated_at",
        "queryset": None,
        "using": None,
        "auto_process": False,
        "auto_embedding": True,
        "indexable": True,
        "enable_search": True,
        "batch_size": None,
    }
    now = definition(
        model="shop.Product",
        embeddable_fields=["title"],
        metadata_fields=[{"name": "price", "type": "NUMERIC"}, "sku"],
        tenant_field="tenant",
        filterable_fields=["sku"],
    ).snapshot()
    assert comparable(stored) == now == comparable(now)
    assert comparable({}) == {}


def test_a_field_to_filter_by_is_metadata_by_an_older_name() -> None:
    """It makes no difference under which name, nor in which order."""
    one = definition(metadata_fields=["sku", {"name": "price", "type": "NUMERIC"}, "colour"])
    other = definition(
        metadata_fields=[{"name": "price", "type": "NUMERIC"}],
        filterable_fields=["colour", "price", "sku"],
    )
    assert one.snapshot() == other.snapshot()
    assert [(field.name, field.type) for field in other.payload_fields] == [
        ("price", "NUMERIC"),
        ("colour", "TEXT"),
        ("sku", "TEXT"),
    ]
    assert payload_types(one.snapshot()) == {"colour": "TEXT", "price": "NUMERIC", "sku": "TEXT"}
    assert payload_types(definition(tenant_field="t").snapshot()) == {"t": "TEXT"}
    assert payload_types({}) is None


def test_the_order_of_fields_is_part_of_the_text() -> None:
    one, other = (definition(embeddable_fields=order) for order in (["a", "b"], ["b", "a"]))
    assert one.text_snapshot() != other.text_snapshot()


def test_a_snapshot_does_not_know_where_it_is_written() -> None:
    one, other = (definition(source=source) for source in ("a:1", "a:2"))
    assert one.snapshot() == other.snapshot()
