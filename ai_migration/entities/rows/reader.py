"""Reads source rows a batch at a time: tuples of the needed columns, never row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

from django.conf import settings
from django.db import InterfaceError, OperationalError, router
from django.db.models import Model, QuerySet, prefetch_related_objects
from django.utils import timezone, translation

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.entities.keys import MAX_ENTITY_ID_LENGTH
from ai_migration.entities.rows.paging import reading_keys
from ai_migration.entities.rows.project_code import runs_project_code
from ai_migration.entities.rows.routing import reads_where_written
from ai_migration.entities.rows.texts import RowValues, TextMaker, each
from ai_migration.entities.text import content_hasher, headed_hash, metadata_hash
from ai_migration.entities.text import metadata_value as json_value
from ai_migration.models.sql.outages import is_unreadable
from ai_migration.models.sql.savepoints import sparing
from ai_migration.types import JSONValue

_TOO_LONG = f"its primary key is longer than {MAX_ENTITY_ID_LENGTH} characters"
_LOST = (
    "its primary key does not come back as it is: the database finds no row under the key that was "
    "read. Correct the stored key, or the field"
)


class SourceRow(NamedTuple):
    """One source row as the index sees it. (A tuple: there are millions of them.)

    Attributes:
        entity_id: Its primary key, as a string.
        text: The text to embed; empty when the row has none.
        content_hash: Hash of text and chunking, 16 bytes.
        metadata: The metadata, or None where the entity type has none.
        metadata_hash: Hash of the metadata.
        error: The reason why the row cannot be indexed, or empty.
        head: The lines before each chunk of its text, if that is cut.
    """

    entity_id: str
    text: str
    content_hash: bytes
    metadata: Mapping[str, JSONValue] | None
    metadata_hash: bytes
    error: str = ""
    head: str = ""

    def hash_in(self, chunks: int) -> bytes:
        """Return the content hash that the ledger keeps for vectors of so many chunks. The head was
        only embedded if there are several: for one, neither a new head nor the first version with
        heads makes a text another."""
        if chunks < 2 or not self.head:
            return self.content_hash
        return headed_hash(self.content_hash, self.head)


_source_row = partial(tuple.__new__, SourceRow)
"""``SourceRow._make``, without a call in Python for each of them."""


class EntityReader:
    """Reads one entity type.

    Args:
        entity: The entity type.
    """

    def __init__(self, entity: Entity) -> None:
        self.entity = entity
        fields = [*entity.text_fields, *(field for field, _ in entity.context)]
        fields += [field for field, _ in entity.metadata_fields]
        self._fields = list(dict.fromkeys(fields))
        self._needs_instances = any(f.kind is FieldKind.ATTRIBUTE for f in self._fields)
        self.runs_project_code = runs_project_code(entity)
        self._runs_code = self._needs_instances or entity.template is not None
        self._content_hash = content_hasher(entity.hash_salt)
        self._texts = TextMaker(entity, self._fields, may_be_errors=self._needs_instances)
        self._metadata = [
            (declaration.name, declaration.type, self._fields.index(field) + 1)
            for field, declaration in entity.metadata_fields
        ]

    def read(self, rows: QuerySet[Any]) -> list[SourceRow]:
        """Read the rows of a queryset that is not sliced: one query, and one more for each field
        over a to-many relation.

        Raises:
            UnusableKeyError: A primary key cannot be read.
        """
        found = self._read(rows)
        if self.entity.key.comes_back(rows.db):
            return found
        return self._without_lost(rows, found)

    def read_entities(self, rows: QuerySet[Any], entity_ids: Sequence[str]) -> list[SourceRow]:
        """Read explicit entities among ``rows``; those that are gone are absent."""
        found: list[SourceRow] = []
        for part in self.entity.key.among(rows, entity_ids):
            found.extend(self._read(part))
        return found

    def present(self, rows: QuerySet[Any], entity_ids: Sequence[str]) -> set[str]:
        """Return those of these entities that are among ``rows``."""
        parts = self.entity.key.among(rows, entity_ids)
        return {entity_id for part in parts for entity_id in self._ids(part)}

    def _read(self, rows: QuerySet[Any]) -> list[SourceRow]:
        try:
            return self._read_at_once(rows)
        except Exception as error:
            if not is_unreadable(error):
                raise
            ids = list(dict.fromkeys(self._ids(rows.order_by("pk"))))
            if not ids:
                raise
            found = self._read_by_halves(rows, ids, error)
        if not self.entity.key.comes_back(rows.db):
            lost = {*ids} - {row.entity_id for row in found}
            found.extend(self._failed(entity_id, _LOST) for entity_id in lost)
        return found

    def _read_at_once(self, rows: QuerySet[Any]) -> list[SourceRow]:
        with sparing(rows.db):
            if not self._runs_code:
                return self._source_rows(self._values(rows))
            # A text must not depend on the language and the time zone of the current user.
            with (
                translation.override(settings.LANGUAGE_CODE),
                timezone.override(None),
                self._related_reads(rows),
            ):
                return self._source_rows(self._values(rows))

    def _related_reads(self, rows: QuerySet[Any]) -> AbstractContextManager[None]:
        """Keep relations that a row's own code follows as new as the row."""
        is_pinned = self._needs_instances and rows.db == router.db_for_write(rows.model)
        return reads_where_written() if is_pinned else nullcontext()

    def _read_by_halves(
        self, rows: QuerySet[Any], ids: Sequence[str], error: Exception
    ) -> list[SourceRow]:
        """Read rows that could not be read together, down to the one with the bad value: only that
        row fails."""
        if len(ids) == 1:
            name = self._unreadable_field(rows, ids)
            what = f"its field {name!r}" if name else "its values"
            return [self._failed(ids[0], f"{what} cannot be read: {type(error).__name__}")]
        middle = len(ids) // 2
        found: list[SourceRow] = []
        for half in (ids[:middle], ids[middle:]):
            try:
                for part in self.entity.key.among(rows, half):
                    found.extend(self._read_at_once(part))
            except Exception as raised:
                if not is_unreadable(raised):
                    raise
                found.extend(self._read_by_halves(rows, half, raised))
        return found

    def _unreadable_field(self, rows: QuerySet[Any], ids: Sequence[str]) -> str:
        """Return the field of a single row that cannot be read; empty where no single one is."""
        for part in self.entity.key.among(rows, ids):
            for name, read in self._readings(part):
                try:
                    with sparing(rows.db):
                        list(read())
                except Exception as error:
                    if not is_unreadable(error):
                        raise
                    return name
        return ""

    def _readings(
        self, rows: QuerySet[Any]
    ) -> Iterator[tuple[str, Callable[[], Iterable[object]]]]:
        """Yield the reads of rows, one for each field, by the field's name."""
        for field in self._fields:
            if field.kind is FieldKind.MANY:
                yield field.name, partial(self._many_values, rows, field)
            elif field.kind is FieldKind.COLUMN:
                yield field.name, partial(rows.values_list, field.column)
        if self._needs_instances:
            for column in self.entity.model._meta.concrete_fields:
                yield column.name, partial(rows.values_list, column.name)

    def _without_lost(self, rows: QuerySet[Any], found: list[SourceRow]) -> list[SourceRow]:
        """Return the rows; those that the database does not find again under their id fail, because
        they would be taken for deleted later."""
        missing = {row.entity_id for row in found}
        missing -= self.present(rows, list(missing))
        if not missing:
            return found
        missing &= set(self._ids(rows))  # others were deleted meanwhile
        return [
            self._failed(row.entity_id, _LOST) if row.entity_id in missing else row for row in found
        ]

    def _ids(self, rows: QuerySet[Any]) -> list[str]:
        """Return only the ids of rows."""
        with reading_keys(self.entity), sparing(rows.db):
            keys = list(rows.values_list("pk"))
        return [self.entity.key.to_entity_id(key) for (key,) in keys]

    def _failed(self, entity_id: str, problem: str) -> SourceRow:
        return SourceRow(entity_id, "", self._content_hash(""), None, b"", problem)

    def _source_rows(self, found: Iterable[RowValues]) -> list[SourceRow]:
        """Make rows column by column: calls for each row and column would be most of the cost."""
        rows = list(found)
        errors: dict[int, str] = {}
        keys = [row[0] for row in rows]
        ids = list(map(str if self.entity.key.is_integer else self.entity.key.to_entity_id, keys))
        texts, heads = self._texts.make(rows, errors)
        payloads: Iterable[Mapping[str, JSONValue] | None] = repeat(None)
        payload_hashes: Iterable[bytes] = repeat(b"")
        if self._metadata:
            payloads = each(self._payload, rows, None, errors)
            payload_hashes = map(metadata_hash, payloads)
        if max(map(len, ids), default=0) > MAX_ENTITY_ID_LENGTH:
            errors |= {i: _TOO_LONG for i, key in enumerate(ids) if len(key) > MAX_ENTITY_ID_LENGTH}
        for index in errors:
            texts[index] = ""
        hashes = map(self._content_hash, texts)
        errors_of: Iterable[str] = repeat("")
        if errors:
            errors_of = (errors.get(index, "") for index in range(len(rows)))
        columns = zip(ids, texts, hashes, payloads, payload_hashes, errors_of, heads, strict=False)
        return list(map(_source_row, columns))

    def _payload(self, row: RowValues) -> dict[str, JSONValue]:
        """Return the metadata of a row."""
        return {name: json_value(row[index], kind) for name, kind, index in self._metadata}

    def _values(self, rows: QuerySet[Any]) -> Iterable[RowValues]:
        """Return each row's key and then the values of ``_fields``, in their order."""
        many = {
            field.path: self._many_values(rows, field)
            for field in self._fields
            if field.kind is FieldKind.MANY
        }
        if self._needs_instances:
            return self._instance_values(rows, many)
        single = [field for field in self._fields if field.path not in many]
        columns = list(dict.fromkeys(field.column for field in single))
        found = rows.values_list("pk", *columns)
        if columns == [field.path for field in self._fields]:
            return found
        return self._composed(found, columns, many)

    def _composed(
        self,
        found: Iterable[tuple[Any, ...]],
        columns: Sequence[str],
        many: Mapping[str, Mapping[Any, list[Any]]],
    ) -> Iterator[RowValues]:
        for row in found:
            read = dict(zip(columns, row[1:], strict=True))
            values = (
                many[field.path].get(row[0], [])
                if field.path in many
                else field.picked(read[field.column])
                for field in self._fields
            )
            yield (row[0], *values)

    def _many_values(self, rows: QuerySet[Any], field: ResolvedField) -> dict[Any, list[Any]]:
        values: dict[Any, list[Any]] = defaultdict(list)
        # From the base manager: filters of the rows must not filter the values.
        related = self.entity.model._base_manager.using(rows.db).filter(
            pk__in=rows.values("pk"), **{f"{field.column}__isnull": False}
        )
        for key, value in related.order_by("pk", field.column).values_list("pk", field.column):
            values[key].append(field.picked(value))
        return values

    def _instance_values(
        self, rows: QuerySet[Any], many: Mapping[str, Mapping[Any, list[Any]]]
    ) -> Iterator[RowValues]:
        """Read whole instances, where there is a property or a method: it may use any field."""
        single = [field for field in self._fields if field.path not in many]
        joins = {field.joins for field in single} - {""}
        rows = rows.defer(None)  # a deferred field would be a query a row
        if joins:
            rows = rows.select_related(*joins)
        generic = {field.prefetch for field in single} - {""}
        instances = list(rows.prefetch_related(*generic) if generic else rows)
        known = set(instances[0]._state.fields_cache) if instances else set()
        for position, instance in enumerate(instances):
            key = instance.pk
            try:
                values = [
                    many[field.path].get(key, [])
                    if field.path in many
                    else field.value_of(instance)
                    for field in self._fields
                ]
            except Exception as error:
                if isinstance(error, OperationalError | InterfaceError) and not is_unreadable(
                    error
                ):
                    raise  # the connection, not the row
                yield key, error
            else:
                yield (key, *values)
            # A relation that one row's code fetched is fetched for all others at once.
            if fetched := instance._state.fields_cache.keys() - known:
                known |= fetched
                _prefetch(instances[position + 1 :], fetched)


def _prefetch(instances: Sequence[Model], names: Iterable[str]) -> None:
    for name in names:
        try:
            prefetch_related_objects(instances, name)
        except (AttributeError, ValueError):
            continue  # cached under a name that is not a relation of all of them
