"""An entity type, resolved: its definition met its Django model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

from django.db import DatabaseError, InterfaceError, router
from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager
from django.utils.module_loading import import_string

from ai_migration.entities.definitions import EntityDefinition, MetadataField
from ai_migration.entities.fields import ResolvedField
from ai_migration.entities.keys import KeyCodec
from ai_migration.entities.templates import TextTemplate
from ai_migration.exceptions import AIMigrationError, EntityConfigError
from ai_migration.models.sql import replicas
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
        """Database alias its rows are read from: where they are written, unless the config
        names another. A replica lags, and a stale read would undo what is newer."""
        return self.definition.using or router.db_for_write(self.model)

    @cached_property
    def hash_salt(self) -> bytes:
        """What besides its text decides an entity's vectors: the chunking, 16 bytes."""
        chunking = self.definition.chunking
        return blake2b(f"{chunking.size}:{chunking.overlap}".encode(), digest_size=16).digest()

    @property
    def snapshot(self) -> dict[str, JSONValue]:
        """The config as collections and jobs keep it."""
        return self.definition.snapshot()

    def rows(self, *, fresh: bool = False) -> QuerySet[Any]:
        """All source rows, through the configured manager or callable, unordered.

        Args:
            fresh: Read them from the primary, where the config names a standby of it.

        Raises:
            EntityConfigError: ``queryset`` names nothing that gives rows of the model.
        """
        try:
            rows = self.row_source()()
        except (DatabaseError, InterfaceError, AIMigrationError):
            raise
        except Exception as error:
            raise self._unfit(f"raised {error!r}") from error
        if not isinstance(rows, QuerySet):
            raise self._unfit(f"gives no rows, but a {type(rows).__name__}")
        if rows.model._meta.concrete_model is not self.model._meta.concrete_model:
            raise self._unfit(f"gives rows of {rows.model._meta.label}")
        # A job pages through the rows by primary key, and adds its own filters.
        if rows.query.is_sliced or rows.query.combinator or rows.query.distinct_fields:
            raise self._unfit("gives a queryset that is sliced, combined or distinct by fields")
        if getattr(rows, "_fields", None) is not None:
            raise self._unfit("gives values(), not rows")
        using = self.definition.using or getattr(rows, "_db", None) or self.using
        return rows.using(self._primary_of(using) if fresh else using).order_by()

    @property
    def primary(self) -> str | None:
        """Alias of the primary, where the rows are read from a standby of it; else None."""
        using = self.rows().db
        primary = self._primary_of(using)
        return primary if primary != using else None

    def _primary_of(self, using: str) -> str:
        written = router.db_for_write(self.model)
        if using == written or not replicas.is_standby(using):
            return using
        is_same = replicas.is_same_table(using, written, self.model._meta.db_table)
        return written if is_same else using

    def as_routed(self) -> Entity:
        """The same, read from the database that it is read from here and now, whoever asks
        where."""
        return replace(self, definition=replace(self.definition, using=self.rows().db))

    def row_source(self) -> Callable[[], Any]:
        """What :meth:`rows` calls; nothing is called here.

        Raises:
            EntityConfigError: ``queryset`` names no manager and nothing that can be called.
        """
        name = self.definition.queryset
        if not name:
            manager: Any = self.model._default_manager
            return manager.all  # type: ignore[no-any-return]
        if "." not in name:
            manager = getattr(self.model, name, None)
            if isinstance(manager, BaseManager):
                return manager.all
            managers = ", ".join(item.name for item in self.model._meta.managers)
            raise EntityConfigError(
                f"Entity type {self.name!r}: {self.model._meta.label} has no manager {name!r}. "
                f"It has: {managers}. A callable is named by its dotted path."
            )
        try:
            function = import_string(name)
        except Exception as error:  # a module can raise anything while it is imported
            words = str(error) if isinstance(error, ImportError) else repr(error)
            raise self._unfit(f"cannot be imported: {words}") from error
        if not callable(function):
            raise self._unfit("is not callable")
        return function  # type: ignore[no-any-return]

    def _unfit(self, problem: str) -> EntityConfigError:
        name = self.definition.queryset or "the default manager"
        return EntityConfigError(
            f"Entity type {self.name!r}: queryset {name!r} {problem}. It should give all rows "
            f"of {self.model._meta.label}, as a plain queryset."
        )

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
