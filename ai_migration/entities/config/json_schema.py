"""The JSON Schema of ``ai-entity-config.yml``, for editors."""

from __future__ import annotations

from ai_migration.entities.config import schema
from ai_migration.types import JSONValue

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def entity_config_json_schema() -> dict[str, JSONValue]:
    """Return the JSON Schema (2020-12) of the file, keys in kebab-case.

    Returns:
        A JSON-able dict.
    """
    document = schema.ConfigDocument.model_json_schema(by_alias=True)
    definitions = document["$defs"]
    # pydantic's schema does not contain the input of before-validators.
    for model in (
        schema.NamedField,
        schema.LabelledField,
        schema.SearchableField,
        schema.EmbeddableField,
        schema.MetadataField,
    ):
        mapping = definitions[model.__name__]
        plain = mapping["properties"]["name"]
        definitions[model.__name__] = {"anyOf": [plain, mapping]}
    operations = definitions["EntityConfig"]["properties"]["crud-operations"]["anyOf"][0]
    names = [*schema.OPERATIONS, *(name.upper() for name in schema.OPERATIONS)]
    operations["propertyNames"] = {"enum": names}
    return {"$schema": DIALECT, **document, "title": "ai-entity-config.yml"}
