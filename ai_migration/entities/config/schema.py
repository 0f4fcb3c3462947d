"""The keys of ``ai-entity-config.yml``, as pydantic models: kebab-case, no unknown ones.

Each key is only defined here: its type, its default, its meaning, and whether it has an effect. A
key that is absent or null is not set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_snake
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from ai_migration.conf import MAX_BATCH_SIZE
from ai_migration.entities.config.compared import Compared

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
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Inert:
    """Marks a key that loads and has no effect: ``check`` names it as information, the JSON
    Schema says so, and no snapshot contains it."""


INERT = Inert()


def is_inert(field: FieldInfo) -> bool:
    """Return whether a key has no effect."""
    return INERT in field.metadata


def kebab(name: str) -> str:
    """Return ``created_at_field`` as the file spells it: ``created-at-field``."""
    return name.replace("_", "-")


def _explain(schema: dict[str, Any], section: type[BaseModel]) -> None:
    """Tell editors that a key may be null, and which one has no effect."""
    for name, field in section.model_fields.items():
        key = schema["properties"][kebab(name)]
        null = {"type": "null"}
        if not field.is_required() and null not in key.get("anyOf", ()):
            about = {word: key.pop(word) for word in ("title", "description") if word in key}
            about["default"] = key.pop("default")
            key = {"anyOf": [key, null], **about}
        if is_inert(field):
            meaning = f" yet. {field.description}" if field.description else "."
            key |= {"description": f"Accepted, has no effect{meaning}", "deprecated": True}
        schema["properties"][kebab(name)] = key


class Section(BaseModel):
    """The base of all mappings of the file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=kebab,
        use_attribute_docstrings=True,
        json_schema_extra=_explain,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_set(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        optional = {kebab(name) for name, f in cls.model_fields.items() if not f.is_required()}
        return {k: item for k, item in value.items() if item is not None or k not in optional}


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
    """Label before the value in the text; default: the name in words."""
    html: bool | None = None
    """true: it holds HTML, which is turned to text; default: as the field's class says."""

    @property
    def words(self) -> str:
        """The label: ``shortDescription`` and ``short_description`` are short description."""
        words = to_snake(self.name).replace("_", " ").replace(".", " ").split()
        return self.label or " ".join(words) or self.name


class SearchableField(LabelledField):
    """Part of the text where an entity has no embeddable fields."""

    enable_semantic_search: bool = True
    """false keeps the field out of the text."""
    include_in_rag: Annotated[bool | None, INERT] = None
    weight: Annotated[float | None, INERT] = None


class EmbeddableField(LabelledField):
    """Part of the text that is embedded."""

    auto_generate: bool = True
    """false keeps the field out of the text."""
    include_in_similarity: bool = True
    """false keeps the field out of the text."""
    model: Annotated[Text | None, INERT] = None


class MetadataField(NamedField):
    """Part of the metadata kept beside the vectors."""

    type: Text = "TEXT"
    """Free text: TEXT, STRING, NUMERIC, DOUBLE..."""
    include_in_search: Annotated[bool, INERT] = True
    """false hides it in search results."""


T = TypeVar("T")
F = TypeVar("F", bound=NamedField)


def _in_order(value: object) -> object:
    # pydantic makes a tuple of a set too, in another order in each process.
    if not isinstance(value, list | tuple):
        raise PydanticKnownError("tuple_type")
    return value


def once(fields: Iterable[F]) -> tuple[F, ...]:
    """Return each name at its first place."""
    first: dict[str, F] = {}
    for field in fields:
        first.setdefault(field.name, field)
    return tuple(first.values())


Listed = Annotated[tuple[T, ...], BeforeValidator(_in_order)]
ListedOnce = Annotated[Listed[F], AfterValidator(once)]


class Chunking(Section):
    """The chunks of a long text, in tokens of the embedder."""

    size: Count | None = None
    """Tokens in one chunk, at most; default: what the embedder takes."""
    overlap: Amount = 0
    """Tokens a chunk repeats of the one before."""
    context: ListedOnce[LabelledField] | None = None
    """Fields that head every chunk of a text that is cut; default: its short fields before the
    long one. An empty list: none."""

    @model_validator(mode="after")
    def _overlap_below_size(self) -> Chunking:
        if self.size is not None and self.overlap >= self.size:
            raise PydanticCustomError(
                "chunking",
                "overlap ({overlap}) must be smaller than size ({size})",
                {"overlap": self.overlap, "size": self.size},
            )
        return self


class CrudOperation(Section):
    """The effect of an operation on a row on the index."""

    enabled: bool | None = None
    """false: the operation leaves the index alone, until the next migration."""
    generate_embedding: bool | None = None
    """The same, of create and update."""
    auto_embedding: bool | None = None
    """The same as generate-embedding."""
    index_for_search: bool | None = None
    """The same, of create and update."""
    auto_indexing: bool | None = None
    """The same as index-for-search."""
    enable_analysis: Annotated[bool | None, INERT] = None
    ai_processing: Annotated[bool | None, INERT] = None
    remove_from_search: bool | None = None
    """The same, of delete: a deleted row stays in the index until the next migration."""
    cleanup_embeddings: bool | None = None
    """The same as remove-from-search."""

    @property
    def adds(self) -> bool:
        """Return whether a row that is created or updated is indexed."""
        embeds = False not in (self.generate_embedding, self.auto_embedding)
        return embeds and False not in (self.enabled, self.index_for_search, self.auto_indexing)

    @property
    def removes(self) -> bool:
        """Return whether a row that is deleted leaves the index."""
        return False not in (self.enabled, self.remove_from_search, self.cleanup_embeddings)

    @model_validator(mode="after")
    def _spellings_agree(self) -> CrudOperation:
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


Operation = Literal["create", "update", "delete", "search", "analyze"]
OPERATIONS: tuple[str, ...] = get_args(Operation)
IGNORED_OPERATIONS = ("search", "analyze")
"""They do not change rows."""
OperationName = Annotated[Operation, BeforeValidator(_lower)]


class EntityConfig(Section):
    """One entity type."""

    entity_type: EntityType | None = None
    """Repeats the entity type's name."""
    features: Annotated[Listed[str], INERT] = ()
    """Free words: embedding, search, analysis..."""
    auto_process: bool = True
    """false: live changes are ignored."""
    enable_search: bool = True
    """false: the entity type cannot be searched."""
    enable_recommendations: Annotated[bool | None, INERT] = None
    auto_embedding: bool = True
    """The same as auto-process: false: live changes are ignored."""
    indexable: bool = True
    """false: the entity type is not indexed."""
    searchable_fields: Listed[SearchableField] = ()
    """The text, where there are no embeddable fields."""
    embeddable_fields: Listed[EmbeddableField] = ()
    """The text that is embedded, in this order."""
    metadata_fields: ListedOnce[MetadataField] = ()
    """The metadata kept beside the vectors, to filter migrations and searches by."""
    crud_operations: dict[OperationName, CrudOperation | None] = {}
    """The effects of operations on a row: create, update, delete; search and analyze have none."""

    model: ModelLabel | None = None
    """Label of the Django model: shop.Product."""
    embedder: Name | None = None
    """Alias in AI_MIGRATION["EMBEDDERS"]."""
    store: Name | None = None
    """Alias in AI_MIGRATION["STORES"]."""
    template: Text | None = None
    """The text as a template, instead of a "label: value" line for each field."""
    chunking: Chunking = Chunking()
    """The chunks of a long text."""
    created_at_field: Name | None = None
    """Date field of the filters created-before and created-after."""
    updated_at_field: Name | None = None
    """Date field of a row's last change, by which changes are found that no signal told of;
    default: updated_at, if it has an index."""
    tenant_field: Name | None = None
    """Field of the row's tenant."""
    filterable_fields: ListedOnce[NamedField] = ()
    """An older name: adds to metadata-fields."""
    queryset: Name | None = None
    """Name of a manager, or dotted path of a callable, that gives the rows."""
    filter: dict[Name, Compared] | None = None
    """Conditions for the rows, all of which hold: a field, perhaps with a look-up, and its
    value."""
    using: Name | None = None
    """Alias of the database the rows are in."""
    batch_size: Rows | None = None
    """Source rows in one queue entry."""
    reindex_on: Listed[Name] | None = None
    """Relations that properties, methods or the template's code read, whose rows' changes reindex
    the row; those of plain fields are known. An empty list: changes of related rows are ignored."""

    @field_validator("crud_operations", mode="before")
    @classmethod
    def _each_operation_once(cls, value: object) -> object:
        names = [_lower(name) for name in value] if isinstance(value, Mapping) else []
        for name in {name for name in names if names.count(name) > 1}:
            raise PydanticCustomError(
                "operation", "the operation {name} appears twice", {"name": repr(name)}
            )
        return value


def _switches(schema: dict[str, Any], section: type[BaseModel]) -> None:
    _explain(schema, section)
    schema["patternProperties"] = {SWITCH_PATTERN: schema["additionalProperties"]}
    schema["additionalProperties"] = False


class GlobalConfig(Section):
    """Defaults for all entity types; None: the settings decide. Further enable-* switches are
    accepted."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_switches)
    __pydantic_extra__: dict[  # switches of other applications
        Annotated[str, StringConstraints(pattern=SWITCH_PATTERN)], bool | None
    ] = Field(init=False)

    default_embedding_model: Annotated[Text | None, INERT] = None
    default_search_limit: Count = 10
    """Hits of a search that names no limit."""
    batch_size: Rows | None = None
    """Source rows in one queue entry."""
    timeout_seconds: Annotated[Seconds | None, INERT] = None
    """Seconds a request to an embedder may take."""
    retry_attempts: Amount | None = None
    """Times a failed request is tried again."""
    retry_delay_ms: Amount | None = None
    """Milliseconds before the first of them."""
    max_concurrent_requests: Count | None = None
    """Requests to an embedder in flight at once."""
    enable_embedding_generation: bool = True
    """false: nothing is embedded."""
    enable_cleanup: Annotated[bool, INERT] = True
    """false: nothing is cleaned up."""


class ConfigDocument(Section):
    """The whole file."""

    ai_config: GlobalConfig = GlobalConfig()
    """Defaults for all entity types."""
    ai_entities: dict[EntityType, EntityConfig | None] = {}
    """The entity types, by name."""


def inert_keys(config: ConfigDocument) -> list[str]:
    """Return the keys of a file that are accepted but have no effect.

    Returns:
        Each once, sorted, as ``enable-recommendations`` or ``searchable-fields.weight``.
    """
    found = set(_inert(config.ai_config, "ai-config."))
    for entity in config.ai_entities.values():
        found.update(_inert(entity, ""))
    return sorted(found)


def _inert(value: object, prefix: str) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _inert(item, prefix)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name in IGNORED_OPERATIONS:
                yield f"{prefix}{name}"
            else:
                yield from _inert(item, prefix)
    elif isinstance(value, Section):
        yield from (f"{prefix}{key}" for key in value.model_extra or ())
        for name in value.model_fields_set & type(value).model_fields.keys():
            if is_inert(type(value).model_fields[name]):
                yield f"{prefix}{kebab(name)}"
            else:
                yield from _inert(getattr(value, name), f"{prefix}{kebab(name)}.")
