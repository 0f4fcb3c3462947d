"""The entity types of this project, found through Django's app registry, without a query."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed

from ai_migration.conf import entity_config_path, get_settings
from ai_migration.entities.config.decorator import declared
from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.config.file import ConfigFile, load_config
from ai_migration.entities.config.merging import merge_all
from ai_migration.entities.config.schema import GlobalConfig
from ai_migration.entities.entity import Entity
from ai_migration.entities.resolving import resolve_entity
from ai_migration.exceptions import UnknownEntityTypeError


@dataclass(frozen=True)
class Discovery:
    """The entity types of the project.

    Attributes:
        config: The YAML file, where there is one.
        definitions: Every entity type, with and without a model.
    """

    config: ConfigFile | None
    definitions: dict[str, EntityDefinition]
    resolved: dict[str, Entity] = field(default_factory=dict)


_lock = threading.Lock()
_discovery: Discovery | None = None


def discover() -> Discovery:
    """Return all entity types; the same object until the settings change.

    Raises:
        EntityConfigError: The YAML file or a declaration is wrong.
    """
    global _discovery
    with _lock:
        if _discovery is None:
            config = _load_config()
            declarations = [
                declaration
                for model in apps.get_models()
                if (declaration := declared(model)) is not None
            ]
            _discovery = Discovery(config, merge_all(declarations, config))
        return _discovery


def get(entity_type: str) -> Entity:
    """Return one entity type, resolved against its model.

    Raises:
        UnknownEntityTypeError: There is no such entity type; names the known ones.
        EntityConfigError: Its config is wrong, or it has no model.
    """
    found = discover()
    if entity_type not in found.definitions:
        known = [name for name, item in found.definitions.items() if item.model]
        raise UnknownEntityTypeError(entity_type, known)
    if entity_type not in found.resolved:
        found.resolved[entity_type] = resolve_entity(found.definitions[entity_type])
    return found.resolved[entity_type]


def names() -> list[str]:
    """Return the entity types that have a model, sorted: those that can be migrated."""
    return sorted(name for name, item in discover().definitions.items() if item.model)


def global_config() -> GlobalConfig:
    """Return the section ``ai-config``, or its defaults."""
    config = discover().config
    return config.global_config if config else GlobalConfig()


def reset() -> None:
    """Forget the entity types; the next use looks again."""
    global _discovery
    with _lock:
        _discovery = None


def _load_config() -> ConfigFile | None:
    path = entity_config_path()
    if path is None:
        return None
    if "ENTITY_CONFIG" not in get_settings().model_fields_set and not path.exists():
        return None  # the default name, and decorators may be all there is
    return load_config(path)


def _forget(*, setting: str, **_: Any) -> None:
    if setting in {"AI_MIGRATION", "BASE_DIR", "INSTALLED_APPS"}:
        reset()


setting_changed.connect(_forget)
