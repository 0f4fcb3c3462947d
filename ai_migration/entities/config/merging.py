"""``@ai_capable`` and YAML become one definition per entity type; YAML wins key by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic.alias_generators import to_snake

from ai_migration.entities.config.decorator import AICapableDeclaration
from ai_migration.entities.config.definitions import (
    Chunking,
    CrudOperation,
    CrudOperations,
    EntityDefinition,
    FieldRef,
    GlobalConfig,
    MetadataField,
)
from ai_migration.entities.config.file import ConfigFile
from ai_migration.entities.config.schema import (
    CrudOperationConfig,
    EntityConfig,
    LabelledField,
    NamedField,
    OperationName,
)
from ai_migration.exceptions import EntityConfigError

F = TypeVar("F", bound=NamedField)


def merge_all(
    declarations: Iterable[AICapableDeclaration], config: ConfigFile | None
) -> dict[str, EntityDefinition]:
    """The definitions of all entity types.

    Args:
        declarations: What ``@ai_capable`` says, of each decorated model.
        config: The file, where there is one.

    Returns:
        The definitions by name of the entity type, sorted by it.

    Raises:
        EntityConfigError: Two models declare one entity type, or the file gives an entity
            type another model than the decorator.
    """
    by_type: dict[str, AICapableDeclaration] = {}
    for declaration in declarations:
        other = by_type.setdefault(declaration.entity_type, declaration)
        if other is not declaration:
            raise EntityConfigError(
                f"The entity type {declaration.entity_type!r} is declared twice: "
                f"{other.source} and {declaration.source}. Give one of them another entity_type."
            )
    entities = config.entities if config else {}
    return {
        entity_type: merge(
            entity_type,
            by_type.get(entity_type),
            entities.get(entity_type),
            source=config.source(entity_type) if config and entity_type in entities else "",
            global_config=config.global_config if config else GlobalConfig(),
        )
        for entity_type in sorted(by_type.keys() | entities.keys())
    }


def merge(
    entity_type: str,
    declaration: AICapableDeclaration | None,
    entity: EntityConfig | None,
    *,
    source: str = "",
    global_config: GlobalConfig = GlobalConfig(),  # noqa: B008  (frozen)
) -> EntityDefinition:
    """The definition of one entity type.

    Args:
        entity_type: Its name.
        declaration: What ``@ai_capable`` says.
        entity: What YAML says; each key it sets replaces the decorator's.
        source: Where the YAML entity is written.
        global_config: What holds where neither says anything.

    Raises:
        EntityConfigError: Both name a model, and not the same.
    """
    config = declaration.config if declaration else EntityConfig()
    if entity:
        config = config.model_copy(update=_set_keys(entity))
    if declaration and config.model and config.model.lower() != declaration.model.lower():
        raise EntityConfigError(
            f"{source}: {entity_type} has the model {config.model!r}, but {declaration.source} "
            f"declares the same entity type. Rename one of them."
        )
    sources = [declaration.source if declaration else "", source]
    return EntityDefinition(
        entity_type=entity_type,
        model=declaration.model if declaration else config.model,
        embedder=config.embedder,
        store=config.store,
        text_fields=_text_fields(config),
        template=config.template,
        chunking=_chunking(config),
        metadata_fields=_metadata_fields(config),
        filterable_fields=tuple(field.name for field in _once(config.filterable_fields or ())),
        created_at_field=config.created_at_field,
        updated_at_field=config.updated_at_field,
        tenant_field=config.tenant_field,
        queryset=config.queryset,
        using=config.using,
        features=config.features or (),
        auto_process=config.auto_process is not False,
        auto_embedding=config.auto_embedding is not False,
        indexable=config.indexable is not False,
        enable_search=config.enable_search is not False,
        crud_operations=_crud_operations(config),
        batch_size=config.batch_size or global_config.batch_size,
        source=" and ".join(filter(None, sources)),
    )


def _set_keys(config: EntityConfig) -> dict[str, Any]:
    values = {name: getattr(config, name) for name in config.model_fields_set}
    return {name: value for name, value in values.items() if value is not None}


def _text_fields(config: EntityConfig) -> tuple[FieldRef, ...]:
    embeddable: Sequence[LabelledField] = [
        field
        for field in config.embeddable_fields or ()
        if field.auto_generate is not False and field.include_in_similarity is not False
    ]
    searchable: Sequence[LabelledField] = [
        field
        for field in config.searchable_fields or ()
        if field.enable_semantic_search is not False
    ]
    return tuple(
        FieldRef(field.name, field.label or _in_words(field.name))
        for field in _once(embeddable or searchable)
    )


def _in_words(name: str) -> str:
    """``shortDescription`` and ``short_description`` both read ``short description``."""
    return " ".join(to_snake(name).replace("_", " ").replace(".", " ").split()) or name


def _chunking(config: EntityConfig) -> Chunking:
    given = config.chunking
    return Chunking(given.size, given.overlap or 0) if given else Chunking()


def _metadata_fields(config: EntityConfig) -> tuple[MetadataField, ...]:
    return tuple(
        MetadataField(field.name, field.type or "TEXT", field.include_in_search is not False)
        for field in _once(config.metadata_fields or ())
    )


def _crud_operations(config: EntityConfig) -> CrudOperations:
    given = config.crud_operations or {}

    def operation(name: OperationName) -> CrudOperation:
        flags = given.get(name) or CrudOperationConfig()
        return CrudOperation(
            enabled=flags.enabled is not False,
            generate_embedding=False not in (flags.generate_embedding, flags.auto_embedding),
            index_for_search=False not in (flags.index_for_search, flags.auto_indexing),
            remove_from_search=flags.remove_from_search is not False,
            cleanup_embeddings=flags.cleanup_embeddings is not False,
        )

    return CrudOperations(operation("create"), operation("update"), operation("delete"))


def _once(fields: Iterable[F]) -> Iterable[F]:
    """Each name where it first stands."""
    first: dict[str, F] = {}
    for field in fields:
        first.setdefault(field.name, field)
    return first.values()
