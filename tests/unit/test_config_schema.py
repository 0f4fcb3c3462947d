"""The published JSON Schema says what the loader accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from ai_migration.entities.config.json_schema import entity_config_json_schema
from ai_migration.entities.config.schema import ConfigDocument, EntityConfig, is_inert, kebab
from tests.unit.test_config_file import EVERY_KEY, SAMPLE


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(json.dumps(entity_config_json_schema()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize(
    "text",
    [
        SAMPLE.read_text(),
        EVERY_KEY.replace("Delete:", "DELETE:"),
        "{}",
        "{ai-config: , ai-entities: }",
        "ai-entities: {a: , b: {chunking: , features: }}",
    ],
    ids=["sample", "every key", "empty", "null sections", "null keys"],
)
def test_what_loads_is_valid(validator: Draft202012Validator, text: str) -> None:
    ConfigDocument.model_validate(parsed(text))
    assert list(validator.iter_errors(parsed(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "{ai-entites: {}}",
        "ai-config: {btach-size: 5}",
        "ai-config: {btach-size: true}",
        "ai-config: {enable-x: 5}",
        "ai-config: {batch-size: 0}",
        "ai-entities: {a: {enable-serach: true}}",
        "ai-entities: {a: {enable_search: true}}",
        "ai-entities: {a: {searchable-fields: [{nam: x}]}}",
        "ai-entities: {a: {searchable-fields: [{name: x, wieght: 1}]}}",
        "ai-entities: {a: {metadata-fields: price}}",
        "ai-entities: {a: {crud-operations: {craete: {}}}}",
        "ai-entities: {a: {crud-operations: {create: {indx-for-search: true}}}}",
        "ai-entities: {a: {chunking: {size: 0}}}",
        "ai-entities: {a: {model: Product}}",
    ],
)
def test_what_is_refused_is_invalid(validator: Draft202012Validator, text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ConfigDocument.model_validate(parsed(text))
    assert list(validator.iter_errors(parsed(text)))


def walk(node: Any) -> list[dict[str, Any]]:
    """Every schema of a property, wherever it stands."""
    found: list[dict[str, Any]] = []
    if isinstance(node, dict):
        found += node.get("properties", {}).values()
        for child in node.values():
            found += walk(child)
    elif isinstance(node, list):
        for child in node:
            found += walk(child)
    return found


def test_editors_can_explain_each_key() -> None:
    schema = entity_config_json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    properties = walk(schema)
    assert len(properties) > 40
    assert all(property_.get("description") for property_ in properties)
    entity = schema["$defs"]["EntityConfig"]
    assert not [name for name in entity["properties"] if "_" in name]


def test_editors_can_tell_which_keys_have_no_effect() -> None:
    definitions: Any = entity_config_json_schema()["$defs"]
    for name, field in EntityConfig.model_fields.items():
        about = definitions["EntityConfig"]["properties"][kebab(name)]
        assert about.get("deprecated", False) == is_inert(field), name
        assert about["description"].startswith("Accepted, has no effect") == is_inert(field), name
    shown = definitions["MetadataField"]["anyOf"][1]["properties"]["include-in-search"]
    assert shown["deprecated"]
    assert shown["description"] == (
        "Accepted, has no effect yet. false hides it in search results."
    )
