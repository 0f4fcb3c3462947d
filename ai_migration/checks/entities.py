"""Checks of the entity config, and of each entity type against its model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage

from ai_migration.checks import codes
from ai_migration.checks.settings import settings_are_valid
from ai_migration.conf import entity_config_path
from ai_migration.embedders import embedders
from ai_migration.entities import registry
from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.config.file import ConfigFile
from ai_migration.entities.config.schema import Chunking, inert_keys
from ai_migration.entities.resolving import EntityFault, FaultKind, examine_entity
from ai_migration.exceptions import EntityConfigError
from ai_migration.stores import stores

_CODES = {
    FaultKind.MODEL: codes.ENTITY_MODEL,
    FaultKind.DATABASE: codes.ENTITY_DATABASE,
    FaultKind.KEY: codes.ENTITY_KEY,
    FaultKind.FIELD: codes.ENTITY_FIELD,
    FaultKind.NO_TEXT: codes.ENTITY_NO_TEXT,
    FaultKind.TEMPLATE: codes.ENTITY_TEMPLATE,
    FaultKind.FILTER: codes.ENTITY_FILTER,
    FaultKind.DATE: codes.ENTITY_DATE,
    FaultKind.QUERYSET: codes.ENTITY_QUERYSET,
    FaultKind.ROWS: codes.ENTITY_ROWS,
    FaultKind.TENANT: codes.ENTITY_TENANT,
    FaultKind.HTML: codes.ENTITY_HTML,
    FaultKind.DATA: codes.ENTITY_DATA,
}
_MODEL_KEYS = ("ai-config.default-embedding-model", "embeddable-fields.model")
"""Inert keys that people expect to choose the embedder: they get a message of their own."""


def check_entities(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """Report a file that cannot be read, and entity types that do not fit their models."""
    if not settings_are_valid():
        return []
    try:
        found = registry.discover()
    except EntityConfigError as error:
        return _config_messages(error)
    with_model = [item for item in found.definitions.values() if item.model]
    messages = [message for item in with_model for message in _check_entity(item)]
    if found.config is not None:
        messages += _file_information(found.config, with_model)
    without_model = [item.entity_type for item in found.definitions.values() if not item.model]
    if without_model:
        text = f"Entity types without a model, which cannot be indexed: {', '.join(without_model)}."
        messages.append(codes.NO_MODEL.message(text, obj=_file_name()))
    if not found.definitions:
        messages.append(codes.NOTHING.message("There are no entity types: nothing is indexed."))
    return messages


def _config_messages(error: EntityConfigError) -> list[CheckMessage]:
    path = entity_config_path()
    code = codes.CONFIG_WRONG
    if path is not None and not os.path.exists(path):
        code = codes.CONFIG_MISSING
    return [code.message(line, obj=_file_name()) for line in error.message.splitlines()]


def _check_entity(definition: EntityDefinition) -> Iterator[CheckMessage]:
    resolved = examine_entity(definition)
    if isinstance(resolved, list):
        yield from fault_messages(resolved, definition)
    for aliases, alias, code in (
        (embedders, definition.embedder, codes.ENTITY_EMBEDDER),
        (stores, definition.store, codes.ENTITY_STORE),
    ):
        if alias is not None and alias not in aliases:
            known = ", ".join(sorted(aliases))
            text = (
                f"Entity type {definition.entity_type!r}: AI_MIGRATION[{aliases.setting!r}] has "
                f"no alias {alias!r}. Known aliases: {known}."
            )
            yield code.message(text, obj=definition.source)
    yield from _check_chunking(definition)


def fault_messages(
    faults: list[EntityFault], definition: EntityDefinition
) -> Iterator[CheckMessage]:
    """Report the faults of an entity type, each under its code."""
    for fault in faults:
        yield _CODES[fault.kind].message(fault.message, obj=definition.source)


def _check_chunking(definition: EntityDefinition) -> Iterator[CheckMessage]:
    chunking = definition.chunking
    if chunking == Chunking():
        return  # and do not ask: to know its limit, an embedder may have to load its model
    model_id = _fact(definition.embedder, "model_id")
    limit = _fact(definition.embedder, "max_input_tokens")
    where = f"Entity type {definition.entity_type!r}: 'chunking' has"
    takes = f"the embedder {model_id} takes {limit} tokens"
    if limit is not None and chunking.size is not None and chunking.size > limit:
        text = f"{where} size {chunking.size}, but {takes}: chunks are no longer than that."
        yield codes.CHUNKING.message(text, obj=definition.source)
    size = min((item for item in (chunking.size, limit) if item is not None), default=None)
    if size is not None and chunking.overlap > size // 2:
        text = (
            f"{where} overlap {chunking.overlap}, more than half of a chunk of {size} tokens: "
            f"only {size // 2} are repeated."
        )
        yield codes.CHUNKING.message(
            text, hint=f"Set the overlap to {size // 2} or less.", obj=definition.source
        )


def _file_information(
    config: ConfigFile, definitions: list[EntityDefinition]
) -> Iterator[CheckMessage]:
    inert = [key for key in inert_keys(config.document) if key not in _MODEL_KEYS]
    if inert:
        text = f"Keys that are accepted but have no effect: {', '.join(inert)}."
        yield codes.INERT_KEYS.message(text, obj=config.path.name)
    used = {item.embedder or "default" for item in definitions} or {"default"}
    models = used | {model_id for alias in used if (model_id := _fact(alias, "model_id"))}
    others = [name for name in _named_models(config) if name not in models]
    if others:
        text = (
            f"The file names the models {', '.join(others)}, which embed nothing here. Entity "
            f"types with a model use: {', '.join(sorted(models))}."
        )
        yield codes.OTHER_MODEL.message(text, obj=config.path.name)


def _named_models(config: ConfigFile) -> list[str]:
    """Return ``default-embedding-model`` and ``embeddable-fields[].model``, each value once."""
    named = [config.global_config.default_embedding_model]
    for entity in config.entities.values():
        named += [field.model for field in entity.embeddable_fields]
    return sorted({name for name in named if name})


def _fact(alias: str | None, name: str) -> Any:
    """Return an embedder's model or limit; None where it cannot be made, which ``check_backends``
    reports."""
    try:
        return getattr(embedders[alias or "default"], name)
    except Exception:  # a property of a custom class can raise anything
        return None


def _file_name() -> str:
    path = entity_config_path()
    return path.name if path else "@ai_capable"
