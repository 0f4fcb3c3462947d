"""The format of ``ai-entity-config.yml``, as pydantic models: kebab-case, no unknown keys.

A key that is absent or null is not set. Defaults are applied in ``merging``, after the
decorator had its say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from ai_migration.conf import MAX_BATCH_SIZE

NAME_PATTERN = r"^[^\s\x00-\x1f\x7f]+$"
TYPE_PATTERN = r"^[^\s/\x00-\x1f\x7f]+$"
MODEL_PATTERN = r"^[^\s.\x00]+\.[^\s.\x00]+$"
SWITCH_PATTERN = r"^enable-"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
EntityType = Annotated[str, StringConstraints(pattern=TYPE_PATTERN, max_length=255)]
ModelLabel = Annotated[str, StringConstraints(pattern=MODEL_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1)]
# Strict, because pydantic would take true for 1; bounded, because databases are.
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Amount = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Rows = Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE, strict=True)]


class Inert:
    """Marks a key that loads and means nothing here; ``check`` names it as information."""


INERT = Inert()


def kebab(name: str) -> str:
    """``created_at_field`` as the file spells it: ``created-at-field``."""
    return name.replace("_", "-")


class Section(BaseModel):
    """What all mappings of the file have in common."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=kebab, use_attribute_docstrings=True
    )


class NamedField(Section):
    """A field of the model, by name; also written as the plain name."""

    name: Name
    """Field, path over relations (category__name), property or method of the model."""

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class LabelledField(NamedField):
    """A field that can be part of the text."""

    label: Text | None = None
    """What stands before the value in the text; default: the name in words."""


class SearchableField(LabelledField):
    """Part of the text where an entity has no embeddable fields."""

    enable_semantic_search: bool | None = None
    """false keeps the field out of the text."""
    include_in_rag: Annotated[bool | None, INERT] = None
    """Accepted, without effect here."""
    weight: Annotated[float | None, INERT] = None
    """Accepted, without effect here."""


class EmbeddableField(LabelledField):
    """Part of the text that is embedded."""

    auto_generate: bool | None = None
    """false keeps the field out of the text."""
    include_in_similarity: bool | None = None
    """false keeps the field out of the text."""
    model: Annotated[Text | None, INERT] = None
    """Accepted, without effect here: an entity has one embedder."""


class MetadataFieldConfig(NamedField):
    """Part of the payload kept beside the vectors."""

    type: Text | None = None
    """Free text: TEXT, STRING, NUMERIC, DOUBLE..."""
    include_in_search: bool | None = None
    """Whether search results show it."""


class ChunkingConfig(Section):
    """How a long text is cut, in tokens of the embedder."""

    size: Count | None = None
    """Tokens in one chunk, at most; default: what the embedder takes."""
    overlap: Amount | None = None
    """Tokens a chunk repeats of the one before; default: 0."""

    @model_validator(mode="after")
    def _overlap_below_size(self) -> ChunkingConfig:
        if self.size is not None and (self.overlap or 0) >= self.size:
            raise PydanticCustomError(
                "chunking",
                "overlap ({overlap}) must be smaller than size ({size})",
                {"overlap": self.overlap, "size": self.size},
            )
        return self


class CrudOperationConfig(Section):
    """What one operation on a row does to the index."""

    enabled: bool | None = None
    """false: the operation leaves the index alone."""
    generate_embedding: bool | None = None
    """Whether the row is embedded."""
    auto_embedding: bool | None = None
    """The same as generate-embedding."""
    index_for_search: bool | None = None
    """Whether the row is put into the index."""
    auto_indexing: bool | None = None
    """The same as index-for-search."""
    enable_analysis: Annotated[bool | None, INERT] = None
    """Accepted, without effect here."""
    ai_processing: Annotated[bool | None, INERT] = None
    """Accepted, without effect here."""
    remove_from_search: bool | None = None
    """Whether a deleted row leaves the index."""
    cleanup_embeddings: bool | None = None
    """Whether the vectors of a deleted row are deleted."""

    @model_validator(mode="after")
    def _spellings_agree(self) -> CrudOperationConfig:
        for one, other in (
            ("generate_embedding", "auto_embedding"),
            ("index_for_search", "auto_indexing"),
            ("enable_analysis", "ai_processing"),
        ):
            values = {getattr(self, one), getattr(self, other)} - {None}
            if len(values) > 1:
                raise PydanticCustomError(
                    "spellings",
                    "{one} and {other} mean the same but differ; keep one of them",
                    {"one": kebab(one), "other": kebab(other)},
                )
        return self


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


OperationName = Annotated[
    Literal["create", "update", "delete", "search", "analyze"], BeforeValidator(_lower)
]


class EntityConfig(Section):
    """One entity type."""

    entity_type: EntityType | None = None
    """Repeats the entity type's name."""
    features: tuple[str, ...] | None = None
    """Free words: embedding, search, analysis..."""
    auto_process: bool | None = None
    """false: live changes are ignored."""
    enable_search: bool | None = None
    """false: the entity type cannot be searched."""
    enable_recommendations: Annotated[bool | None, INERT] = None
    """Accepted, without effect here."""
    auto_embedding: bool | None = None
    """false: live changes are not embedded."""
    indexable: bool | None = None
    """false: the entity type is not indexed."""
    searchable_fields: tuple[SearchableField, ...] | None = None
    """The text, where there are no embeddable fields."""
    embeddable_fields: tuple[EmbeddableField, ...] | None = None
    """The text that is embedded, in this order."""
    metadata_fields: tuple[MetadataFieldConfig, ...] | None = None
    """The payload kept beside the vectors."""
    crud_operations: dict[OperationName, CrudOperationConfig | None] | None = None
    """What operations on a row do: create, update, delete, search, analyze."""

    model: ModelLabel | None = None
    """Label of the Django model: shop.Product."""
    embedder: Name | None = None
    """Alias in AI_MIGRATION["EMBEDDERS"]."""
    store: Name | None = None
    """Alias in AI_MIGRATION["STORES"]."""
    template: Text | None = None
    """The text as a template, instead of a "label: value" line for each field."""
    chunking: ChunkingConfig | None = None
    """How a long text is cut."""
    created_at_field: Name | None = None
    """What the filters created-before and created-after compare."""
    updated_at_field: Name | None = None
    """When a row last changed."""
    tenant_field: Name | None = None
    """Whose row it is."""
    filterable_fields: tuple[NamedField, ...] | None = None
    """Fields a migration may be filtered by."""
    queryset: Name | None = None
    """Name of a manager, or dotted path of a callable, that gives the rows."""
    using: Name | None = None
    """Alias of the database the rows are in."""
    batch_size: Rows | None = None
    """Source rows in one queue entry."""

    @field_validator(
        "features",
        "searchable_fields",
        "embeddable_fields",
        "metadata_fields",
        "filterable_fields",
        mode="before",
    )
    @classmethod
    def _in_order(cls, value: object) -> object:
        # pydantic makes a tuple of a set too, in another order in each process.
        if value is not None and not isinstance(value, list | tuple):
            raise PydanticKnownError("tuple_type")
        return value

    @field_validator("crud_operations", mode="before")
    @classmethod
    def _each_operation_once(cls, value: object) -> object:
        names = [_lower(name) for name in value] if isinstance(value, Mapping) else []
        for name in {name for name in names if names.count(name) > 1}:
            raise PydanticCustomError(
                "operation", "the operation {name} stands twice", {"name": repr(name)}
            )
        return value


def _switches(schema: dict[str, Any]) -> None:
    schema["patternProperties"] = {SWITCH_PATTERN: schema["additionalProperties"]}
    schema["additionalProperties"] = False


class GlobalSection(Section):
    """What holds for all entity types. Further enable-* switches are accepted."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_switches)
    __pydantic_extra__: dict[  # what another application switches
        Annotated[str, StringConstraints(pattern=SWITCH_PATTERN)], bool | None
    ]

    default_embedding_model: Annotated[Text | None, INERT] = None
    """Accepted, without effect here: AI_MIGRATION["EMBEDDERS"] decides."""
    default_search_limit: Count | None = None
    """Hits of a search that names no limit."""
    batch_size: Rows | None = None
    """Source rows in one queue entry."""
    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] | None = None
    """Seconds a request to an embedder may take."""
    retry_attempts: Amount | None = None
    """Times a failed request is tried again."""
    retry_delay_ms: Amount | None = None
    """Milliseconds before the first of them."""
    max_concurrent_requests: Count | None = None
    """Requests to an embedder in flight at once."""
    enable_embedding_generation: bool | None = None
    """false: nothing is embedded."""
    enable_cleanup: bool | None = None
    """false: nothing is cleaned up."""


class ConfigDocument(Section):
    """The whole file."""

    ai_config: GlobalSection | None = None
    """What holds for all entity types."""
    ai_entities: dict[EntityType, EntityConfig | None] | None = None
    """The entity types, by name."""


def inert_keys(config: ConfigDocument) -> list[str]:
    """The keys of a file that load but mean nothing here.

    Returns:
        Each once, sorted, as ``enable-recommendations`` or ``searchable-fields.weight``.
    """
    found = set(_inert(config.ai_config, "ai-config.")) if config.ai_config else set()
    for entity in (config.ai_entities or {}).values():
        found.update(_inert(entity, ""))
    return sorted(found)


def _inert(value: object, prefix: str) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _inert(item, prefix)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("search", "analyze"):
                yield f"{prefix}{key}"
            else:
                yield from _inert(item, f"{prefix}{key}.")
    elif isinstance(value, Section):
        yield from (f"{prefix}{key}" for key in value.model_extra or ())
        fields = type(value).model_fields
        for name in value.model_fields_set & fields.keys():
            if any(isinstance(mark, Inert) for mark in fields[name].metadata):
                yield f"{prefix}{kebab(name)}"
            else:
                yield from _inert(getattr(value, name), f"{prefix}{kebab(name)}.")
