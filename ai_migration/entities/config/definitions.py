"""What the configuration says of an entity type, merged from ``@ai_capable`` and YAML.

Nothing here is resolved: field names are as they were written, the model is a label.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ai_migration.types import JSONValue


@dataclass(frozen=True)
class FieldRef:
    """A field of the text.

    Attributes:
        name: As written: snake_case or camelCase, a path over relations
            (``category__name``), a property or a method without arguments.
        label: What stands before the value: ``label: value``.
    """

    name: str
    label: str


@dataclass(frozen=True)
class MetadataField:
    """A field of the payload that is kept beside the vectors.

    Attributes:
        name: As written.
        type: Free text, such as TEXT, STRING, NUMERIC, DOUBLE.
        include_in_search: Whether search results show it.
    """

    name: str
    type: str = "TEXT"
    include_in_search: bool = True


@dataclass(frozen=True)
class Chunking:
    """How a long text is cut, in tokens of the embedder.

    Attributes:
        size: Tokens in one chunk, at most; None: the embedder's ``max_input_tokens``.
        overlap: Tokens a chunk repeats of the one before. Below ``size``, where that is set.
    """

    size: int | None = None
    overlap: int = 0


@dataclass(frozen=True)
class CrudOperation:
    """What a live create, update or delete does to the index.

    ``generate_embedding`` and ``index_for_search`` speak of creates and updates,
    ``remove_from_search`` and ``cleanup_embeddings`` of deletes.
    """

    enabled: bool = True
    generate_embedding: bool = True
    index_for_search: bool = True
    remove_from_search: bool = True
    cleanup_embeddings: bool = True


@dataclass(frozen=True)
class CrudOperations:
    """The live operations that concern the index."""

    create: CrudOperation = CrudOperation()
    update: CrudOperation = CrudOperation()
    delete: CrudOperation = CrudOperation()


@dataclass(frozen=True)
class GlobalConfig:
    """The section ``ai-config``. None: not given, the settings decide.

    ``batch_size`` counts source rows, ``timeout_seconds`` seconds, ``retry_delay_ms``
    milliseconds, ``max_concurrent_requests`` requests in flight.
    """

    default_embedding_model: str | None = None
    default_search_limit: int = 10
    batch_size: int | None = None
    timeout_seconds: float | None = None
    retry_attempts: int | None = None
    retry_delay_ms: int | None = None
    max_concurrent_requests: int | None = None
    enable_embedding_generation: bool = True
    enable_cleanup: bool = True


@dataclass(frozen=True)
class EntityDefinition:
    """One entity type as it is configured.

    Attributes:
        entity_type: Its name.
        model: Label of the Django model, such as ``shop.Product``; None when neither a
            decorator nor the YAML names one, which is a fault only once it is asked for.
        embedder: Alias in ``EMBEDDERS``; None: the default one.
        store: Alias in ``STORES``; None: the default one.
        text_fields: The embeddable fields, else the searchable ones.
        template: Replaces the ``label: value`` lines.
        chunking: How long texts are cut.
        metadata_fields: The payload.
        filterable_fields: Names that ``MigrationFilters.lookups`` may start with.
        created_at_field: What ``created_before`` and ``created_after`` compare.
        updated_at_field: When a row last changed.
        tenant_field: Whose row it is.
        queryset: Name of a manager, or dotted path of a callable, that gives the rows.
        using: Alias of the database the rows are in.
        features: Free words.
        auto_process: Whether live changes are looked at.
        auto_embedding: Whether live changes are embedded.
        indexable: Whether it may be indexed at all.
        enable_search: Whether it may be searched.
        crud_operations: What live operations do.
        batch_size: Source rows in one queue entry; None: the setting decides.
        source: Where it is written, for messages: ``ai-entity-config.yml:12``.
    """

    entity_type: str
    model: str | None = None
    embedder: str | None = None
    store: str | None = None
    text_fields: tuple[FieldRef, ...] = ()
    template: str | None = None
    chunking: Chunking = Chunking()
    metadata_fields: tuple[MetadataField, ...] = ()
    filterable_fields: tuple[str, ...] = ()
    created_at_field: str | None = None
    updated_at_field: str | None = None
    tenant_field: str | None = None
    queryset: str | None = None
    using: str | None = None
    features: tuple[str, ...] = ()
    auto_process: bool = True
    auto_embedding: bool = True
    indexable: bool = True
    enable_search: bool = True
    crud_operations: CrudOperations = CrudOperations()
    batch_size: int | None = None
    source: str = field(default="", compare=False)

    def text_snapshot(self) -> dict[str, JSONValue]:
        """What decides the text: when it differs, texts are rendered and compared again."""
        return {
            "fields": [[ref.name, ref.label] for ref in self.text_fields],
            "template": self.template,
            "chunking": asdict(self.chunking),
        }

    def metadata_snapshot(self) -> dict[str, JSONValue]:
        """What decides the payload: when it differs, payloads are written again."""
        return {
            "fields": [[ref.name, ref.type, ref.include_in_search] for ref in self.metadata_fields],
            "tenant_field": self.tenant_field,
        }

    def snapshot(self) -> dict[str, JSONValue]:
        """The whole definition, JSON-able and equal whenever the configuration says the
        same. Where it is written is no part of it."""
        snapshot: dict[str, JSONValue] = {
            "text": self.text_snapshot(),
            "metadata": self.metadata_snapshot(),
            "filterable_fields": list(self.filterable_fields),
            "features": list(self.features),
            "crud_operations": asdict(self.crud_operations),
        }
        for name in _PLAIN:
            snapshot[name] = getattr(self, name)
        return snapshot


_PLAIN = (
    "entity_type",
    "model",
    "embedder",
    "store",
    "created_at_field",
    "updated_at_field",
    "queryset",
    "using",
    "auto_process",
    "auto_embedding",
    "indexable",
    "enable_search",
    "batch_size",
)
