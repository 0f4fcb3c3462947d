"""An entity type, resolved: its definition met its Django model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

from django.db import router
from django.db.models import Model, QuerySet

from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.config.schema import MetadataField
from ai_migration.entities.fields import ResolvedField
from ai_migration.entities.keys import KeyCodec
from ai_migration.entities.sources import RowCondition, RowSource
from ai_migration.entities.templates import TextTemplate
from ai_migration.exceptions import EntityConfigError
from ai_migration.models.sql.dialects import dialect
from ai_migration.types import JSONValue


@dataclass(frozen=True)
class Entity:
    """One entity type, ready to be read.

    Attributes:
        definition: Its config.
        model: Its Django model.
        key: The codec of its primary keys.
        text_fields: The fields its text is made of, in config order.
        template: The text's template, where it has one.
        context: The fields that head every chunk of a text that is cut, each with its label.
        html_fields: Those of both whose values are HTML.
        metadata_fields: Its metadata fields, each with its declaration.
        filterable_fields: Those of them that migrations can be filtered by: database fields.
        conditions: The conditions of ``filter``: only rows that match all are indexed.
        created_at: The field of filters by date; None when the model has none.
        updated_at: The field of a row's last change; None: it has none, or none with an index.
    """

    definition: EntityDefinition
    model: type[Model]
    key: KeyCodec
    text_fields: tuple[ResolvedField, ...]
    template: TextTemplate | None
    context: tuple[tuple[ResolvedField, str], ...]
    html_fields: frozenset[ResolvedField]
    metadata_fields: tuple[tuple[ResolvedField, MetadataField], ...]
    filterable_fields: tuple[ResolvedField, ...]
    conditions: tuple[RowCondition, ...]
    created_at: ResolvedField | None
    updated_at: ResolvedField | None = None

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

    @cached_property
    def hash_salt(self) -> bytes:
        """The part of a content hash that is not the text: the chunking, 16 bytes. (Heads are not:
        they only matter to a text that is cut, see ``SourceRow.hash_in``.)"""
        chunking = self.definition.chunking
        return blake2b(f"{chunking.size}:{chunking.overlap}".encode(), digest_size=16).digest()

    @property
    def snapshot(self) -> dict[str, JSONValue]:
        """Return the config as collections and jobs keep it. Heads of chunks and fields of HTML are
        in it where there are any: an index that an earlier version built has none, and its texts
        differ."""
        snapshot = self.definition.snapshot()
        if self.context:
            snapshot["text"]["context"] = [[field.name, label] for field, label in self.context]
        if self.html_fields:
            snapshot["text"]["html"] = sorted(field.name for field in self.html_fields)
        return snapshot

    @property
    def source(self) -> RowSource:
        """The source of its rows."""
        return RowSource(self.definition, self.model)

    def rows(self, *, fresh: bool = False) -> QuerySet[Any]:
        """All source rows, through the configured manager or callable and ``filter``, unordered.

        Args:
            fresh: Read them from the primary, where the config names a standby of it.

        Raises:
            EntityConfigError: ``queryset`` gives no rows of the model.
        """
        rows = self.source.rows()
        for condition in self.conditions:
            rows = condition.applied(rows)
        return rows.using(self._primary_of(rows.db)) if fresh else rows

    @property
    def primary(self) -> str | None:
        """Alias of the primary, where the rows are read from a standby of it; else None."""
        using = self.rows().db
        primary = self._primary_of(using)
        return primary if primary != using else None

    def _primary_of(self, using: str) -> str:
        written = router.db_for_write(self.model)
        if using == written or not dialect(using).is_standby():
            return using
        here, there = (
            dialect(alias).table_identity(self.model._meta.db_table) for alias in (using, written)
        )
        return written if here is not None and here == there else using

    def as_routed(self) -> Entity:
        """Return the same entity, fixed to the database that routers choose here and now."""
        using = {"using": self.rows().db}
        return replace(self, definition=self.definition.model_copy(update=using))

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
