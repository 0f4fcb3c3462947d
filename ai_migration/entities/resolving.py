"""Resolves a definition against its Django model and its rows: the entity, or all its faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.apps import apps
from django.db import connections, router
from django.db.models import BinaryField, Model, QuerySet

from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.config.schema import MetadataField
from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import (
    FieldKind,
    ResolvedField,
    annotated_field,
    resolve_field,
    text_columns,
)
from ai_migration.entities.filtering.conditions import row_condition
from ai_migration.entities.keys import KeyCodec
from ai_migration.entities.relations import reindexed_field
from ai_migration.entities.sources import RowCondition, RowSource
from ai_migration.entities.templates import TextTemplate
from ai_migration.entities.text_fields import context_of, html_fields, require_html_library
from ai_migration.exceptions import (
    EntityConfigError,
    InvalidRequestError,
    QuerysetError,
    nearest,
)
from ai_migration.models.sql.tenants import is_per_tenant, schema_of

P = ParamSpec("P")
T = TypeVar("T")

_DATES = frozenset({"DateTimeField", "DateField"})


class FaultKind(Enum):
    """The kinds of faults of an entity type."""

    MODEL = "model"
    DATABASE = "using"
    KEY = "primary key"
    FIELD = "a field"
    NO_TEXT = "no fields to embed"
    TEMPLATE = "template"
    FILTER = "filterable-fields"
    DATE = "created-at-field, updated-at-field"
    QUERYSET = "queryset"
    ROWS = "filter"
    TENANT = "tenants"
    HTML = "html"
    DATA = "the data of queryset"


@dataclass(frozen=True)
class EntityFault:
    """A fault of an entity type, as a sentence."""

    kind: FaultKind
    message: str


def resolve_entity(definition: EntityDefinition) -> Entity:
    """Resolve a definition against its model and its rows.

    Raises:
        EntityConfigError: The model, a field, the template or the queryset is wrong; names
            every fault.
    """
    resolved = examine_entity(definition, calls_queryset=True)
    if isinstance(resolved, Entity):
        return resolved
    raise EntityConfigError("\n".join(fault.message for fault in resolved))


def examine_entity(
    definition: EntityDefinition, *, calls_queryset: bool = False
) -> Entity | list[EntityFault]:
    """Resolve a definition against its model, and collect all faults.

    Args:
        definition: The config.
        calls_queryset: Whether to call ``queryset``, which may query. If not, names that only
            its annotations may have are neither found nor faults.

    Returns:
        The entity, or all its faults.
    """
    return _Resolver(definition, calls_queryset).resolve()


class _UnknownError(Exception):
    """Only the queryset knows whether there is such a field."""


class _Resolver:
    def __init__(self, definition: EntityDefinition, calls_queryset: bool) -> None:
        self.definition = definition
        self.calls_queryset = calls_queryset
        self.name = definition.entity_type
        self.faults: list[EntityFault] = []
        self._rows: QuerySet[Any] | None = None
        self._annotations: Mapping[str, Any] | None = None
        self._is_unknown = False

    def resolve(self) -> Entity | list[EntityFault]:
        model = self._try(FaultKind.MODEL, _model, self.definition)
        if model is None:
            return self.faults
        self._try(FaultKind.DATABASE, _require_database, self.definition)
        self._try(FaultKind.TENANT, _require_tenant, model, self.name)
        self._try(FaultKind.KEY, _require_key, model, self.name)
        self._try(FaultKind.QUERYSET, self._look_at_rows, RowSource(self.definition, model))
        source, definition = self.definition.template, self.definition
        template = (
            self._try(FaultKind.TEMPLATE, TextTemplate, source, self.name) if source else None
        )
        text_fields = self._fields(model, [field.name for field in definition.text_fields])
        if template is not None:
            text_fields += self._template_fields(model, template, text_fields)
        if not text_fields and not self.faults and not self._is_unknown:
            self.faults.append(EntityFault(FaultKind.NO_TEXT, _no_text(model, definition)))
        older = {field.name for field in definition.filterable_fields}
        context = tuple(context_of(definition, text_fields, partial(self._fields, model)))
        html = html_fields(definition, [*text_fields, *(field for field, _ in context)])
        self._try(FaultKind.HTML, require_html_library, definition, html, template)
        metadata = [
            (resolved, field)
            for field in _with_tenant(definition)
            for resolved in self._fields(model, [field.name], _kind_of(field, definition))
        ]
        for resolved, _ in metadata:
            if resolved.name in older:
                self._try(FaultKind.FILTER, _require_filterable, model, resolved, self.name)
        filterable = [resolved for resolved, _ in metadata if not _unfilterable(model, resolved)]
        conditions = [
            condition
            for name, value in (definition.filter or {}).items()
            if (condition := self._try(FaultKind.ROWS, self._condition, model, name, value))
        ]
        created = self._try(
            FaultKind.DATE, _date, model, definition.created_at_field, "created_at", self.name
        )
        updated = self._try(
            FaultKind.DATE, _date, model, definition.updated_at_field, _indexed(model), self.name
        )
        entity = Entity(
            definition=definition,
            model=model,
            key=KeyCodec.of(model),
            text_fields=tuple(text_fields),
            template=template,
            context=context,
            html_fields=html,
            metadata_fields=tuple(metadata),
            filterable_fields=tuple(filterable),
            conditions=tuple(conditions),
            created_at=created,
            updated_at=updated,
        )
        json.dumps(entity.snapshot)
        for name in definition.reindex_on or ():
            self._try(FaultKind.FIELD, reindexed_field, entity, name)
        return self.faults or entity

    def _look_at_rows(self, source: RowSource) -> None:
        """Check that there are rows, and find their annotations."""
        if self.calls_queryset:
            self._rows = source.rows()
            self._annotations = self._rows.query.annotations
            return
        source.function()
        if source.is_manager:
            with suppress(Exception):  # it may need a request, for example
                self._annotations = source.rows().query.annotations

    def _resolve(self, model: type[Model], name: str) -> ResolvedField:
        """Return a field of the model, or an annotation of the rows."""
        try:
            return resolve_field(model, name, entity_type=self.name)
        except EntityConfigError as error:
            found = annotated_field(name, self._annotations or {})
            if found is not None:
                return found
            may_be_one = name.isidentifier() and "__" not in name and not hasattr(model, name)
            if self._annotations is None and may_be_one:
                raise _UnknownError from error
            raise

    def _try(
        self, kind: FaultKind, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        try:
            return function(*args, **kwargs)
        except _UnknownError:
            self._is_unknown = True
        except EntityConfigError as error:
            kind = FaultKind.DATA if isinstance(error, QuerysetError) else kind
            self.faults.append(EntityFault(kind, error.message))
        return None

    def _fields(
        self, model: type[Model], names: Iterable[str], kind: FaultKind = FaultKind.FIELD
    ) -> list[ResolvedField]:
        found = (self._try(kind, self._resolve, model, name) for name in names)
        return [field for field in found if field is not None]

    def _condition(self, model: type[Model], name: str, value: Any) -> RowCondition:
        try:
            return row_condition(model, name, value, partial(self._resolve, model), self._rows)
        except (EntityConfigError, InvalidRequestError) as error:
            prefix = f"Entity type {self.name!r}"
            problem = error.message.removeprefix(f"{prefix}: ")
            raise EntityConfigError(
                f"{prefix} ({self.definition.source}): 'filter': {problem}"
            ) from error

    def _template_fields(
        self, model: type[Model], template: TextTemplate, known: list[ResolvedField]
    ) -> list[ResolvedField]:
        """Return the fields a template uses besides the configured ones."""
        fields = dict.fromkeys(known)
        for name in template.names:
            resolve = partial(self._resolve, model)
            field = self._try(FaultKind.TEMPLATE, _template_field, resolve, name)
            if field is not None:
                fields.setdefault(field)
        return [field for field in fields if field not in known]


def _template_field(resolve: Callable[[str], ResolvedField], name: str) -> ResolvedField:
    """Return the field a template's variable starts with: the template language looks up the rest,
    as in ``title.upper``, ``tags.name.0`` or ``attributes.items``."""
    head, _, last = name.rpartition("__")
    if head and last in {"items", "keys", "values"}:
        return resolve(head)
    try:
        return resolve(name)
    except EntityConfigError:
        while head:
            try:
                field = resolve(head)
            except EntityConfigError:
                head = head.rpartition("__")[0]
                continue
            if field.field is None or not field.field.is_relation:
                return field
            break
        raise


def _no_text(model: type[Model], definition: EntityDefinition) -> str:
    columns = ", ".join(text_columns(model)) or "none"
    return (
        f"Entity type {definition.entity_type!r} ({definition.source}) names no fields to "
        f"embed: add 'embeddable-fields' or 'searchable-fields'. Text columns of "
        f"{model._meta.label}: {columns}."
    )


def _kind_of(field: MetadataField, definition: EntityDefinition) -> FaultKind:
    """Return the kind of a fault of a metadata field, by the key that names it."""
    is_older = field not in definition.metadata_fields and field.name != definition.tenant_field
    return FaultKind.FILTER if is_older else FaultKind.FIELD


def _with_tenant(definition: EntityDefinition) -> tuple[MetadataField, ...]:
    """Return the metadata fields; the tenant is always one of them, so that searches can filter."""
    fields, tenant = definition.payload_fields, definition.tenant_field
    if tenant is None or any(field.name == tenant for field in fields):
        return fields
    return (*fields, MetadataField(name=tenant))


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
        close = nearest(definition.model, [item._meta.label for item in apps.get_models()])
        hint = f" Did you mean {close!r}?" if close else ""
        raise EntityConfigError(
            f"{where} names the model {definition.model!r}, which does not exist: {error}{hint}"
        ) from error
    if model._meta.abstract or model._meta.swapped:
        raise EntityConfigError(
            f"{where}: {definition.model} is abstract or swapped for {model._meta.swapped}"
        )
    return model


def _require_database(definition: EntityDefinition) -> None:
    if definition.using and definition.using not in connections:
        raise EntityConfigError(
            f"Entity type {definition.entity_type!r} ({definition.source}): 'using' is "
            f"{definition.using!r}, which is not in DATABASES: {', '.join(connections)}"
        )


def _require_tenant(model: type[Model], entity_type: str) -> None:
    if schema_of(router.db_for_write(model)) is None:
        return
    if is_per_tenant(model._meta.app_label) and not is_per_tenant("ai_migration"):
        raise EntityConfigError(
            f"Entity type {entity_type!r}: every tenant has a table of {model._meta.label}, and "
            f"all of them share those of ai_migration, which do not say for which tenant a job is"
        )


def _require_key(model: type[Model], entity_type: str) -> None:
    for field in KeyCodec.of(model).fields:
        if isinstance(field, BinaryField):
            raise EntityConfigError(
                f"Entity type {entity_type!r}: the primary key of {model._meta.label} is "
                f"binary, and cannot be written as text"
            )


def _require_filterable(model: type[Model], field: ResolvedField, entity_type: str) -> None:
    if reason := _unfilterable(model, field):
        raise EntityConfigError(
            f"Entity type {entity_type!r}: filterable field {field.name!r} {reason}"
        )


def _unfilterable(model: type[Model], field: ResolvedField) -> str:
    """Return why a migration cannot be filtered by a field; empty: it can."""
    if field.kind is FieldKind.ATTRIBUTE:
        return (
            f"is a property or a method of {model._meta.label}; only database fields can be "
            f"filtered by"
        )
    if any('"' in key for key in field.keys):
        return "has a double quote in a key of JSON, which SQLite and MySQL never find"
    return ""


def _indexed(model: type[Model]) -> str:
    """Return the usual name of the field of a row's last change, if it has an index: without one,
    a look for changes would read the whole table."""
    fields: list[Any] = [f for f in model._meta.concrete_fields if f.name == "updated_at"]
    firsts = {index.fields[0].removeprefix("-") for index in model._meta.indexes if index.fields}
    is_indexed = any(f.db_index or f.unique or f.name in firsts for f in fields)
    return "updated_at" if is_indexed else ""


def _date(
    model: type[Model], configured: str | None, usual: str, entity_type: str
) -> ResolvedField | None:
    """Return the configured date field, else the usual one where the model has it."""
    if not configured:
        names = {field.name: field.get_internal_type() for field in model._meta.concrete_fields}
        if names.get(usual) in _DATES:
            return resolve_field(model, usual, entity_type=entity_type)
        return None
    field = resolve_field(model, configured, entity_type=entity_type)
    if (
        field.kind is not FieldKind.COLUMN
        or field.field is None
        or field.field.get_internal_type() not in _DATES
    ):
        raise EntityConfigError(
            f"Entity type {entity_type!r}: {configured!r} is not a date field of "
            f"{model._meta.label}"
        )
    return field
