"""An entity type, resolved: its definition met its Django model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from django.apps import apps
from django.db import router
from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string

from ai_migration.entities.definitions import EntityDefinition, MetadataField
from ai_migration.entities.fields import FieldKind, ResolvedField, resolve_field, text_columns
from ai_migration.entities.keys import KeyCodec
from ai_migration.entities.text import TextTemplate
from ai_migration.exceptions import EntityConfigError
from ai_migration.types import JSONValue


@dataclass(frozen=True)
class Entity:
    """One entity type, ready to be read.

    Attributes:
        definition: What the config says.
        model: Its Django model.
        key: How its primary keys travel.
        text_fields: The fields its text is made of, in config order.
        template: The text's template, where it has one.
        metadata_fields: The payload's fields, each with its declaration.
        filterable_fields: Resolved, by the name the config gives them.
        created_at: Where filters by date look; None when the model has no such field.
    """

    definition: EntityDefinition
    model: type[Model]
    key: KeyCodec
    text_fields: tuple[ResolvedField, ...]
    template: TextTemplate | None
    metadata_fields: tuple[tuple[ResolvedField, MetadataField], ...]
    filterable_fields: tuple[ResolvedField, ...]
    created_at: ResolvedField | None

    @property
    def name(self) -> str:
        """The entity type's name."""
        return self.definition.entity_type

    @property
    def embedder(self) -> str:
        """Alias of its embedder."""
        return self.definition.embedder or "default"

    @property
    def store(self) -> str:
        """Alias of its store."""
        return self.definition.store or "default"

    @property
    def using(self) -> str:
        """Database alias its rows are read from."""
        return self.definition.using or router.db_for_read(self.model)

    @cached_property
    def hash_salt(self) -> bytes:
        """What besides its text decides an entity's vectors: the chunking, 16 bytes."""
        chunking = self.definition.chunking
        return blake2b(f"{chunking.size}:{chunking.overlap}".encode(), digest_size=16).digest()

    @property
    def snapshot(self) -> dict[str, JSONValue]:
        """The config as collections and jobs keep it."""
        return self.definition.snapshot()

    def rows(self) -> QuerySet[Any]:
        """All source rows, through the configured manager or callable, unordered.

        Raises:
            EntityConfigError: ``queryset`` names nothing that gives rows of the model.
        """
        name = self.definition.queryset
        if not name:
            rows = self.model._default_manager.all()
        elif "." in name:
            rows = _imported(name, self)()
        else:
            manager = getattr(self.model, name, None)
            if manager is None or not hasattr(manager, "all"):
                raise EntityConfigError(
                    f"Entity type {self.name!r}: {self.model._meta.label} has no manager {name!r}"
                )
            rows = manager.all()
        if not isinstance(rows, QuerySet) or not issubclass(self.model, rows.model):
            raise EntityConfigError(
                f"Entity type {self.name!r}: queryset {name!r} gives no rows of "
                f"{self.model._meta.label}"
            )
        return rows.using(self.using).order_by()

    def require_indexable(self) -> None:
        """Refuse entity types whose config says they are not indexed.

        Raises:
            EntityConfigError: ``indexable: false``.
        """
        if not self.definition.indexable:
            raise EntityConfigError(
                f"Entity type {self.name!r} has 'indexable: false' ({self.definition.source}): "
                f"set it to true to index it"
            )


def resolve_entity(definition: EntityDefinition) -> Entity:
    """Hold a definition against its model; makes no query.

    Raises:
        EntityConfigError: The model, a field, the template or the chunking is wrong.
    """
    name = definition.entity_type
    model = _model(definition)

    def resolved(names: Sequence[str]) -> tuple[ResolvedField, ...]:
        return tuple(resolve_field(model, item, entity_type=name) for item in names)

    template = TextTemplate(definition.template, name) if definition.template else None
    text_names = [field.name for field in definition.text_fields]
    if template is not None:
        text_names += [item for item in template.names if item not in text_names]
    if not text_names:
        columns = ", ".join(text_columns(model)) or "none"
        raise EntityConfigError(
            f"Entity type {name!r} ({definition.source}) names no fields to embed: add "
            f"'embeddable-fields' or 'searchable-fields'. Text columns of "
            f"{model._meta.label}: {columns}."
        )
    entity = Entity(
        definition=definition,
        model=model,
        key=KeyCodec.of(model),
        text_fields=resolved(text_names),
        template=template,
        metadata_fields=tuple(
            (resolve_field(model, field.name, entity_type=name), field)
            for field in _with_tenant(definition)
        ),
        filterable_fields=resolved(definition.filterable_fields),
        created_at=_date_field(model, definition.created_at_field, "created_at", name),
    )
    _date_field(model, definition.updated_at_field, "updated_at", name)
    for field in entity.filterable_fields:
        if field.kind is FieldKind.ATTRIBUTE:
            raise EntityConfigError(
                f"Entity type {name!r}: filterable field {field.name!r} is a property or a "
                f"method of {model._meta.label}; only database fields can be filtered by"
            )
    entity.rows()
    json.dumps(entity.snapshot)
    return entity


def _with_tenant(definition: EntityDefinition) -> tuple[MetadataField, ...]:
    """The payload's fields; the tenant is always one of them, so that searches can filter."""
    fields, tenant = definition.metadata_fields, definition.tenant_field
    if tenant is None or any(field.name == tenant for field in fields):
        return fields
    return (*fields, MetadataField(tenant))


def _model(definition: EntityDefinition) -> type[Model]:
    where = f"Entity type {definition.entity_type!r} ({definition.source})"
    if not definition.model:
        raise EntityConfigError(
            f"{where} has no model: add 'model: app_label.ModelName', or decorate the model "
            f"with @ai_capable(entity_type={definition.entity_type!r})"
        )
    try:
        model = apps.get_model(definition.model)
    except (LookupError, ValueError) as error:
        raise EntityConfigError(
            f"{where} names the model {definition.model!r}, which does not exist: {error}"
        ) from error
    if model._meta.abstract:
        raise EntityConfigError(f"{where}: {definition.model} is abstract")
    if definition.using:
        from django.db import connections

        if definition.using not in connections:
            raise EntityConfigError(
                f"{where}: 'using' is {definition.using!r}, which is not in DATABASES"
            )
    return model


def _date_field(
    model: type[Model], configured: str | None, usual: str, entity_type: str
) -> ResolvedField | None:
    if configured:
        field = resolve_field(model, configured, entity_type=entity_type)
        if field.field is None or field.field.get_internal_type() not in {
            "DateTimeField",
            "DateField",
        }:
            raise EntityConfigError(
                f"Entity type {entity_type!r}: {configured!r} is no date field of "
                f"{model._meta.label}"
            )
        return field
    names = {field.name: field.get_internal_type() for field in model._meta.concrete_fields}
    if names.get(usual) in {"DateTimeField", "DateField"}:
        return resolve_field(model, usual, entity_type=entity_type)
    return None


def _imported(path: str, entity: Entity) -> Any:
    try:
        function = import_string(path)
    except ImportError as error:
        raise EntityConfigError(
            f"Entity type {entity.name!r}: queryset {path!r} cannot be imported: {error}"
        ) from error
    if not callable(function):
        raise EntityConfigError(f"Entity type {entity.name!r}: queryset {path!r} is not callable")
    return function
