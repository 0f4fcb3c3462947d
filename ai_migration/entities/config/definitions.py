"""The config of an entity type, merged from ``@ai_capable`` and YAML.

Nothing here is resolved: field names are as they were written, the model is a label.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai_migration.entities.config.schema import (
    CrudOperation,
    EntityConfig,
    LabelledField,
    MetadataField,
    Operation,
    is_inert,
    once,
)
from ai_migration.types import JSONValue

_TEXT = {"embeddable_fields", "searchable_fields", "template", "chunking"}
_METADATA = {"metadata_fields", "filterable_fields", "tenant_field"}
_LIVE = {"auto_process", "auto_embedding", "crud_operations", "updated_at_field", "reindex_on"}
"""Keys that say when rows are indexed, and not how: an index is the same with any of them."""
_INERT = {name for name, field in EntityConfig.model_fields.items() if is_inert(field)}
_UNKEPT = _LIVE | _INERT


class EntityDefinition(EntityConfig):
    """The config of one entity type: the keys of ``schema``, and its place."""

    entity_type: str
    source: str = ""
    """For messages: ``ai-entity-config.yml:12``."""

    @property
    def text_fields(self) -> tuple[LabelledField, ...]:
        """The embeddable fields, else the searchable ones."""
        embeddable = [
            field
            for field in self.embeddable_fields
            if field.auto_generate and field.include_in_similarity
        ]
        searchable = [field for field in self.searchable_fields if field.enable_semantic_search]
        return once(embeddable or searchable)

    @property
    def payload_fields(self) -> tuple[MetadataField, ...]:
        """The metadata fields, and those that only have the older name ``filterable-fields``."""
        older = (MetadataField(name=field.name) for field in self.filterable_fields)
        return once([*self.metadata_fields, *older])

    def follows(self, operation: Operation) -> bool:
        """Return whether the index follows an operation on a row at once: ``create``, ``update`` or
        ``delete``."""
        if not (self.indexable and self.auto_process and self.auto_embedding):
            return False
        declared: CrudOperation | None = self.crud_operations.get(operation)
        if declared is None:
            return True
        return declared.removes if operation == "delete" else declared.adds

    def text_snapshot(self) -> dict[str, JSONValue]:
        """Return the keys of the text: when they differ, texts are rendered and compared again."""
        return {
            "fields": [[field.name, field.words] for field in self.text_fields],
            "template": self.template,
            "chunking": self.chunking.model_dump(exclude={"context"}),
        }

    def metadata_snapshot(self) -> dict[str, JSONValue]:
        """Return the keys of the metadata: when they differ, metadata is written again."""
        return {
            "fields": sorted([field.name, field.type] for field in self.payload_fields),
            "tenant_field": self.tenant_field,
        }

    def snapshot(self) -> dict[str, JSONValue]:
        """Return the whole definition, JSON-able, and equal for equal configs. It contains neither
        the place nor keys without effect; what the model decides is in ``Entity.snapshot``."""
        unset = set() if self.filter else {"filter"}  # earlier versions did not have it
        return {
            **self.model_dump(
                mode="json", exclude={"source"} | unset | _TEXT | _METADATA | _UNKEPT
            ),
            "text": self.text_snapshot(),
            "metadata": self.metadata_snapshot(),
        }


def payload_types(snapshot: Mapping[str, JSONValue]) -> dict[str, str] | None:
    """Return the types of the metadata of an index, by field; None: its snapshot does not say."""
    match snapshot.get("metadata"):
        case {"fields": [*fields], "tenant_field": tenant}:
            own = {} if tenant is None else {tenant: MetadataField(name=tenant).type}
            return {**own, **{field[0]: field[1] for field in fields}}
    return None


def comparable(snapshot: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Return a stored snapshot as :meth:`EntityDefinition.snapshot` writes it now: earlier versions
    kept keys without effect in it, and fields to filter by that are not in the metadata."""
    unkept = _UNKEPT | {"filterable_fields"}
    kept = {key: value for key, value in snapshot.items() if key not in unkept}
    match kept.get("metadata"):
        case {"fields": [*fields], **others}:
            # [name, type, and keys without effect]
            kept["metadata"] = {**others, "fields": sorted(field[:2] for field in fields)}
    return kept
