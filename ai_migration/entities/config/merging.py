"""Merges ``@ai_capable`` and YAML into one definition per entity type; YAML wins key by key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ai_migration.entities.config.decorator import AICapableDeclaration
from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.config.file import ConfigFile
from ai_migration.entities.config.schema import EntityConfig, GlobalConfig
from ai_migration.exceptions import EntityConfigError


def merge_all(
    declarations: Iterable[AICapableDeclaration], config: ConfigFile | None
) -> dict[str, EntityDefinition]:
    """Return the definitions of all entity types.

    Args:
        declarations: The declaration of each decorated model.
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
    """Return the definition of one entity type.

    Args:
        entity_type: Its name.
        declaration: The declaration by ``@ai_capable``.
        entity: The YAML entity; each key it sets replaces the decorator's.
        source: The place of the YAML entity.
        global_config: The defaults for keys that neither sets.

    Raises:
        EntityConfigError: Both name a model, and not the same.
    """
    given: dict[str, Any] = {"batch_size": global_config.batch_size}
    for config in (declaration.config if declaration else None, entity):
        if config is not None:
            given |= {name: getattr(config, name) for name in config.model_fields_set}
    model = given.get("model")
    if declaration and model and model.lower() != declaration.model.lower():
        raise EntityConfigError(
            f"{source}: {entity_type} has the model {model!r}, but {declaration.source} "
            f"declares the same entity type. Rename one of them."
        )
    if declaration:
        given["model"] = declaration.model
        source = " and ".join(filter(None, [declaration.source, source]))
    given |= {"entity_type": entity_type, "source": source}
    return EntityDefinition.model_construct(**given)  # each part was validated
