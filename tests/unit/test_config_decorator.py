"""``@ai_capable``: what it takes, what it marks, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from ai_migration.entities.config.decorator import AICapableOptions, ai_capable, declared
from ai_migration.entities.config.merging import merge
from ai_migration.entities.config.schema import Chunking, EntityConfig
from ai_migration.exceptions import EntityConfigError


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolate_apps("tests.testapp"):
        yield


def make_model(name: str = "BehaviorInsight", base: type[models.Model] = models.Model) -> Any:
    meta = type("Meta", (), {"app_label": "testapp"})
    return type(name, (base,), {"__module__": __name__, "Meta": meta})


def no_name() -> Any:
    options: dict[str, Any] = {"entity_type": None}
    return ai_capable(**options)


@pytest.mark.parametrize("decorate", [ai_capable, ai_capable(), no_name()])
def test_the_entity_type_is_the_models_name(decorate: Any) -> None:
    model = make_model()
    assert decorate(model) is model
    declaration = declared(model)
    assert declaration is not None
    assert declaration.entity_type == "behavior_insight"
    assert declaration.model == "testapp.BehaviorInsight"
    assert declaration.source == "@ai_capable on testapp.BehaviorInsight"


def test_the_arguments_are_the_keys_of_the_file() -> None:
    """The decorator says which model it is; what other applications read is in the file."""
    keys = EntityConfig.model_fields.keys() - {"model", "enable_recommendations"}
    arguments = AICapableOptions.__annotations__.keys()
    assert {name.replace("embeddable_", "") for name in keys} == arguments


def test_every_argument_arrives() -> None:
    model = ai_capable(
        entity_type="product",
        fields=["title", {"name": "body", "label": "Text"}],
        searchable_fields=["ignored"],
        metadata_fields=("price", {"name": "sku", "type": "STRING", "include_in_search": False}),
        filterable_fields=["status"],
        template="{title}",
        chunking=Chunking(size=200, overlap=20),
        embedder="e",
        store="s",
        created_at_field="created",
        updated_at_field="updated",
        tenant_field="tenant",
        queryset="live",
        using="other",
        features=["embedding"],
        auto_process=False,
        auto_embedding=False,
        indexable=False,
        enable_search=False,
        crud_operations={"update": {"generate_embedding": False}},
        batch_size=10,
    )(make_model())
    declaration = declared(model)
    assert declaration is not None
    definition = merge("product", declaration, None)
    assert [(field.name, field.words) for field in definition.text_fields] == [
        ("title", "title"),
        ("body", "Text"),
    ]
    price, sku = definition.metadata_fields
    assert (price.name, price.type, price.include_in_search) == ("price", "TEXT", True)
    assert (sku.name, sku.type, sku.include_in_search) == ("sku", "STRING", False)
    assert definition.chunking == Chunking(size=200, overlap=20)
    assert [*definition.crud_operations] == ["update"]
    assert [field.name for field in definition.filterable_fields] == ["status"]
    assert definition.features == ("embedding",)
    assert definition.source == "@ai_capable on testapp.BehaviorInsight"
    for name, value in {
        "template": "{title}",
        "embedder": "e",
        "store": "s",
        "created_at_field": "created",
        "updated_at_field": "updated",
        "tenant_field": "tenant",
        "queryset": "live",
        "using": "other",
        "auto_process": False,
        "auto_embedding": False,
        "indexable": False,
        "enable_search": False,
        "batch_size": 10,
    }.items():
        assert getattr(definition, name) == value


def test_the_mark_is_not_inherited() -> None:
    parent = ai_capable(make_model("Parent"))
    child = make_model("Child", parent)
    assert declared(parent) is not None
    assert declared(child) is None
    ai_capable(entity_type="child")(child)
    declarations = declared(parent), declared(child)
    assert [d.entity_type for d in declarations if d] == ["parent", "child"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fields": "title"}, "fields should be a list, not 'title'"),
        ({"fields": {"a", "b"}}, "fields should be a list, not "),
        ({"fields": [5]}, r"fields\[0\] should be a mapping of keys to values, not 5"),
        (
            {"fields": [{"name": "a", "lable": "b"}]},
            r"unknown key 'lable' in fields\[0\]. Did you mean 'label'\?",
        ),
        ({"metadata_fields": [{"type": "x"}]}, r"metadata_fields\[0\] lacks the key 'name'"),
        (
            {"metadata_fields": [{"name": "a", "include_in_serch": True}]},
            "Did you mean 'include_in_search'",
        ),
        ({"entity_type": 5}, "entity_type should be a valid string, not 5"),
        ({"entity_type": ""}, "entity_type should be a name without spaces"),
        ({"entity_type": "a b"}, "entity_type should be a name without spaces"),
        ({"embeder": "x"}, "unknown argument 'embeder'. Did you mean 'embedder'?"),
        ({"feilds": ["x"]}, "unknown argument 'feilds'. Did you mean 'fields'?"),
        ({"embeddable_fields": ["x"]}, "unknown argument 'embeddable_fields'"),
        ({"model": "shop.Product"}, "unknown argument 'model'"),
        ({"chunking": {"size": 5, "overlap": 5}}, "overlap .5. must be smaller than size .5."),
        (
            {"chunking": {"size": 0, "overlap": 0}},
            "chunking.size should be greater than or equal to 1",
        ),
        ({"batch_size": True}, "batch_size should be a valid integer"),
        ({"indexable": "maybe"}, "indexable should be a valid boolean"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EntityConfigError, match=message) as caught:
        ai_capable(**arguments)(make_model())
    assert str(caught.value).startswith("@ai_capable on testapp.BehaviorInsight: ")
    assert "-" not in str(caught.value).partition("Known keys")[0]


def test_only_concrete_models_and_once() -> None:
    meta = type("Meta", (), {"app_label": "testapp", "abstract": True})
    abstract = type("Base", (models.Model,), {"__module__": __name__, "Meta": meta})
    with pytest.raises(EntityConfigError, match="is abstract"):
        ai_capable(abstract)
    with pytest.raises(EntityConfigError, match="not a Django model"):
        ai_capable(int)  # type: ignore[type-var]
    with pytest.raises(EntityConfigError, match=r"write @ai_capable\(entity_type='product'\)"):
        ai_capable("product")  # type: ignore[call-overload]
    model = ai_capable(make_model())
    with pytest.raises(EntityConfigError, match="twice"):
        ai_capable(model)


def test_it_can_be_imported_before_the_settings_are_there() -> None:
    script = "from ai_migration.entities.config.decorator import ai_capable; ai_capable()"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env={})
