"""Reads source rows a batch at a time: tuples of the needed columns, never row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.db.models import Model, QuerySet

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.entities.text import clean, content_hash, line_renderer, metadata_hash
from ai_migration.entities.text import metadata_value as json_value
from ai_migration.types import JSONValue


RowValues: TypeAlias = Sequence[Any] | Exception
"""The values of a row's fields, or what its own code raised."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source row as the index sees it.

    Attributes:
        entity_id: Its primary key, as a string.
        text: What is embedded; empty when the row says nothing.
        content_hash: Of text and chunking, 16 bytes.
        metadata: The payload, or None where the entity type has none.
        metadata_hash: Of the payload.
        error: Why the row cannot be indexed; empty when it can.
    """

    entity_id: str
    text: str
    content_hash: bytes
    metadata: Mapping[str, JSONValue] | None
    metadata_hash: bytes
    error: str = ""


class EntityReader:
    """Reads one entity type.

    Args:
        entity: What to read.
    """

    def __init__(self, entity: Entity) -> None:
        self.entity = entity
        metadata_fields = [field for field, _ in entity.metadata_fields]
        self._fields = list(dict.fromkeys([*entity.text_fields, *metadata_fields]))
        self._needs_instances = any(f.kind is FieldKind.ATTRIBUTE for f in self._fields)
        labels = {ref.name: ref.label for ref in entity.definition.text_fields}
        self._lines = line_renderer([labels.get(f.name, f.name) for f in entity.text_fields])
        self._text_width = len(entity.text_fields)
        self._metadata = [
            (declaration.name, declaration.type, self._fields.index(field))
            for field, declaration in entity.metadata_fields
        ]

    def read(self, rows: QuerySet[Any]) -> list[SourceRow]:
        """The rows of a queryset: one query, and one more for each field over a to-many
        relation. Read now, never from a payload."""
        return list(self._source_rows(self._values(rows)))

    def read_entities(self, rows: QuerySet[Any], entity_ids: Sequence[str]) -> list[SourceRow]:
        """The rows of explicit entities among ``rows``; those that are gone are absent."""
        found: list[SourceRow] = []
        for part in self.entity.key.among(rows, entity_ids):
            found.extend(self.read(part))
        return found

    def _source_rows(self, values: Iterable[tuple[Any, RowValues]]) -> Iterator[SourceRow]:
        salt = self.entity.hash_salt
        to_entity_id = self.entity.key.to_entity_id
        width = self._text_width
        template = self.entity.template
        names = [field.path for field in self.entity.text_fields]
        for key, row in values:
            entity_id = to_entity_id(key)
            try:
                if isinstance(row, Exception):
                    raise row
                if template is None:
                    text = self._lines(row[:width])
                else:
                    text = template.render(dict(zip(names, row, strict=False)))
                if not text.isascii() or "\0" in text:
                    text = clean(text).strip()
                metadata = None
                if self._metadata:
                    metadata = {
                        name: json_value(row[index], kind) for name, kind, index in self._metadata
                    }
            except Exception as error:  # one row's own code must not cost the others
                problem = f"its text cannot be made: {type(error).__name__}"
                yield SourceRow(entity_id, "", b"", None, b"", problem)
                continue
            yield SourceRow(
                entity_id,
                text,
                content_hash(text, salt),
                metadata,
                metadata_hash(metadata),
                _id_error(entity_id),
            )

    def _values(self, rows: QuerySet[Any]) -> Iterator[tuple[Any, RowValues]]:
        """Each row's key and the values of ``_fields``, in their order."""
        many = {
            field.path: self._many_values(rows, field)
            for field in self._fields
            if field.kind is FieldKind.MANY
        }
        if self._needs_instances:
            yield from self._instance_values(rows, many)
            return
        columns = [field.path for field in self._fields if field.kind is FieldKind.COLUMN]
        found = rows.values_list("pk", *columns)
        if not many:
            for row in found:
                yield row[0], row[1:]
            return
        for row in found:
            joined = iter(row[1:])
            yield (
                row[0],
                [
                    many[field.path].get(row[0], []) if field.path in many else next(joined)
                    for field in self._fields
                ],
            )

    def _many_values(self, rows: QuerySet[Any], field: ResolvedField) -> dict[Any, list[Any]]:
        values: dict[Any, list[Any]] = defaultdict(list)
        pairs = rows.filter(**{f"{field.path}__isnull": False}).values_list("pk", field.path)
        for key, value in pairs.order_by("pk", field.path):
            values[key].append(value)
        return values

    def _instance_values(
        self, rows: QuerySet[Any], many: Mapping[str, Mapping[Any, list[Any]]]
    ) -> Iterator[tuple[Any, RowValues]]:
        """With a property or a method the whole instance is read: what it uses is unknown."""
        joins = {
            field.path.rpartition("__")[0] if field.kind is FieldKind.COLUMN else field.joins
            for field in self._fields
            if field.kind is not FieldKind.MANY
            and not (field.kind is FieldKind.COLUMN and field.field is None)
        } - {""}
        if joins:
            rows = rows.select_related(*joins)
        for instance in rows:
            key = instance.pk
            try:
                values = [
                    many[field.path].get(key, [])
                    if field.path in many
                    else attribute_value(instance, field.path)
                    for field in self._fields
                ]
            except Exception as error:
                yield key, error
            else:
                yield key, values


def attribute_value(instance: Model, path: str) -> Any:
    """Follow a path over an instance: attributes, keys of JSON values, and methods
    without arguments, which are called. None where something on the way is None."""
    value: Any = instance
    for part in path.split("__"):
        if value is None:
            return None
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
        if callable(value):
            value = value()
    return value


def _id_error(entity_id: str) -> str:
    from ai_migration.entities.keys import MAX_ENTITY_ID_LENGTH

    if len(entity_id) <= MAX_ENTITY_ID_LENGTH and "\0" not in entity_id:
        return ""
    return f"its primary key is longer than {MAX_ENTITY_ID_LENGTH} characters"
