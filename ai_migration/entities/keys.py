"""Primary keys of every kind: as a cursor in JSON, as an entity id, as a look-up."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import (
    CharField,
    CompositePrimaryKey,
    Field,
    FloatField,
    IntegerField,
    Model,
    QuerySet,
    TextField,
)

from ai_migration.exceptions import InvalidRequestError, shown
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.lookups import AmongKeys
from ai_migration.types import JSONValue

MAX_ENTITY_ID_LENGTH = 255
MAX_INTEGER = 2**63 - 1
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
"""NUL, and halves of surrogate pairs."""
COMPOSITE_IN_SIZE = 200
"""Composite keys in one ``IN``: databases without row values nest an OR for each."""


@dataclass(frozen=True)
class KeyCodec:
    """Translates one model's primary key.

    Attributes:
        fields: The fields of the key; more than one for a composite key.
        is_composite: Whether keys are tuples.
        is_integer: Whether keys are whole numbers, the usual kind.
    """

    fields: tuple[Field[Any, Any], ...]
    is_composite: bool
    is_integer: bool

    @classmethod
    def of(cls, model: type[Model]) -> KeyCodec:
        """The codec of a model's primary key."""
        key = model._meta.pk
        if isinstance(key, CompositePrimaryKey):
            return cls(tuple(f for f in key.fields if isinstance(f, Field)), True, False)
        target = _target(key)
        # A field that converts values may make anything of a number.
        is_plain = not hasattr(target, "from_db_value")
        return cls((key,), False, isinstance(target, IntegerField) and is_plain)

    def comes_back(self, using: str) -> bool:
        """Return whether a key that was read is sure to find its row again: a column without a
        type, or a field that converts values, may hold values that are written otherwise.

        Args:
            using: Database alias.
        """
        is_typed = dialect(using).is_typed
        return all(_comes_back(_target(field), is_typed) for field in self.fields)

    @property
    def is_text(self) -> bool:
        """Return whether the database may take two ids for the same: it may fold case, or
        blanks."""
        return any(isinstance(_target(field), CharField | TextField) for field in self.fields)

    def to_json(self, key: Any) -> JSONValue:
        """A key as a cursor column keeps it: a scalar, or a list for a composite key."""
        if self.is_composite:
            return [_plain(part) for part in key]
        return _plain(key)

    def from_json(self, value: JSONValue) -> Any:
        """The inverse of :meth:`to_json`, typed by the field.

        Raises:
            InvalidRequestError: The value is not a key of this model.
        """
        if self.is_integer:
            try:
                key = int(value if type(value) in (int, str) else "")  # no 1.5, no True
            except ValueError as error:
                raise self._refused(value) from error
            if not -MAX_INTEGER <= key <= MAX_INTEGER:
                raise self._refused(value)
            return key
        parts = value if self.is_composite else [value]
        if not isinstance(parts, list) or len(parts) != len(self.fields):
            raise self._refused(value)
        try:
            typed = tuple(
                field.to_python(part) for field, part in zip(self.fields, parts, strict=True)
            )
        except (ValidationError, ValueError, TypeError) as error:
            raise self._refused(value) from error
        if not all(map(_is_storable, typed)):
            raise self._refused(value)
        return typed if self.is_composite else typed[0]

    def to_entity_id(self, key: Any) -> str:
        """Return a key as the ledger, the stores and users write it."""
        if self.is_integer:
            return str(key)
        if self.is_composite:
            return json.dumps(self.to_json(key), separators=(",", ":"), ensure_ascii=False)
        return str(_plain(key))

    def from_entity_id(self, entity_id: str) -> Any:
        """The inverse of :meth:`to_entity_id`.

        Raises:
            InvalidRequestError: The string is not a key of this model.
        """
        if not self.is_composite:
            return self.from_json(entity_id)
        try:
            return self.from_json(json.loads(entity_id))
        except json.JSONDecodeError as error:
            raise self._refused(entity_id) from error

    def parse(self, item: object) -> str:
        """Return the entity id of a primary key, or of one as users write it: every spelling of
        a key is the same key.

        Raises:
            InvalidRequestError: It is not a key of this model.
        """
        if isinstance(item, str):
            return self.to_entity_id(self.from_entity_id(item))
        parts = item if self.is_composite else [item]
        if not isinstance(parts, (list, tuple)) or None in parts:
            raise self._refused(item)
        return self.to_entity_id(self.from_json(self.to_json(item)))

    def in_range(self, rows: QuerySet[Any], lower: JSONValue, upper: JSONValue) -> QuerySet[Any]:
        """The rows with ``lower < key <= upper``; None leaves that end open."""
        if lower is not None:
            rows = rows.filter(pk__gt=self.from_json(lower))
        if upper is not None:
            rows = rows.filter(pk__lte=self.from_json(upper))
        return rows

    def among(self, rows: QuerySet[Any], entity_ids: Sequence[str]) -> Iterable[QuerySet[Any]]:
        """The rows of these entities, as few querysets as the database can bear.
        Ids that are not keys of this model match nothing."""
        keys = self._keys(entity_ids)
        if not self.is_composite:
            if keys:
                yield rows.filter(AmongKeys(keys))
            return
        for start in range(0, len(keys), COMPOSITE_IN_SIZE):
            yield rows.filter(pk__in=keys[start : start + COMPOSITE_IN_SIZE])

    def _keys(self, entity_ids: Sequence[str]) -> list[Any]:
        """Return the keys of entity ids, without invalid ones."""
        if self.is_integer and entity_ids:  # the usual kind, thousands at a time
            with suppress(ValueError):
                integers = list(map(int, entity_ids))
                if min(integers) >= -MAX_INTEGER and max(integers) <= MAX_INTEGER:
                    return integers
        keys = []
        for entity_id in entity_ids:
            with suppress(InvalidRequestError):
                keys.append(self.from_entity_id(entity_id))
        return keys

    def _refused(self, value: object) -> InvalidRequestError:
        model = self.fields[0].model._meta.label
        shape = ", ".join(f"{field.name} ({type(field).__name__})" for field in self.fields)
        return InvalidRequestError(
            f"{shown(value, 100)} is not a primary key of {model}: it takes {shape}",
            field="entity_ids",
        )


def in_order(entity_ids: Iterable[str]) -> list[str]:
    """Return entity ids in order: as numbers where all of them are numbers."""
    ids = list(entity_ids)
    try:
        return sorted(ids, key=int)
    except ValueError:
        return sorted(ids)


def _target(field: Any) -> Any:
    """Return the field of a key's values, which is another one where the key is a relation."""
    while field.is_relation:
        field = field.target_field
    return field


def _comes_back(field: Any, is_typed: bool) -> bool:
    if not type(field).__module__.startswith("django."):
        return False
    if isinstance(field, IntegerField | CharField | TextField):
        return True
    return is_typed and not isinstance(field, FloatField)  # there are floats of two sizes


def _is_storable(part: Any) -> bool:
    """Return whether a database takes a part of a key."""
    if isinstance(part, str):
        return _UNSTORABLE.search(part) is None
    if isinstance(part, float):
        return not math.isnan(part)  # NaN is not equal to itself; infinity is
    if isinstance(part, Decimal):
        return part.is_finite()
    return part is not None


def _plain(value: Any) -> JSONValue:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has none
    if isinstance(value, (int, str, float)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value)
