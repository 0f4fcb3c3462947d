"""Makes the texts of rows, and the heads of their chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import ResolvedField
from ai_migration.entities.markup import html_as_text
from ai_migration.entities.text import LineRenderer, as_text, clean_all

RowValues: TypeAlias = tuple[Any, ...]
"""A row's key and the values of its fields; or its key and the error of its own code."""

_T = TypeVar("_T")


class TextMaker:
    """Makes the texts of an entity type's rows.

    Args:
        entity: The entity type.
        fields: The fields of the rows, in the order of their values.
        may_be_errors: Whether a row may have an error in the place of its values.
    """

    def __init__(
        self, entity: Entity, fields: Sequence[ResolvedField], *, may_be_errors: bool
    ) -> None:
        self._template = entity.template
        self._names = [field.name.replace(".", "__") for field in entity.text_fields]
        labels = {field.name: field.words for field in entity.definition.text_fields}
        readers = dict.fromkeys(entity.html_fields, html_as_text)
        self._html = [
            name
            for name, field in zip(self._names, entity.text_fields, strict=True)
            if field in readers
        ]
        self._lines = LineRenderer(
            [labels.get(field.name, field.name) for field in entity.text_fields],
            read=[readers.get(field, as_text) for field in entity.text_fields],
        )
        self._head = LineRenderer(
            [label for _, label in entity.context],
            [fields.index(field) + 1 for field, _ in entity.context],
            [readers.get(field, as_text) for field, _ in entity.context],
        )
        self._has_context = bool(entity.context)
        self._may_be_errors = may_be_errors

    def make(
        self, rows: Sequence[RowValues], errors: dict[int, str]
    ) -> tuple[list[str], Sequence[str]]:
        """Return the text and the head of each row, clean; those in ``errors`` have none.

        Args:
            rows: Keys and values.
            errors: Gets the errors of rows by their position: one row's value or code must not
                affect the others.
        """
        heads: Sequence[str] = [""] * len(rows)
        if self._template is not None:
            pairs = each(self._from_template, rows, ("", ""), errors)
            texts, heads = [text for text, _ in pairs], [head for _, head in pairs]
        else:
            texts = self._made(self._lines, rows, errors)
        if self._has_context:
            heads = self._made(self._head, rows, errors)
        for index in errors:
            texts[index] = ""
        return clean_all(texts), clean_all(list(heads))

    def _from_template(self, row: RowValues) -> tuple[str, str]:
        assert self._template is not None
        _require_values(row)
        values = dict(zip(self._names, row[1:], strict=False))
        for name in self._html:
            values[name] = html_as_text(values[name])
        return self._template.render_with_head(values)

    def _made(
        self, lines: LineRenderer, rows: Sequence[RowValues], errors: dict[int, str]
    ) -> list[str]:
        if not self._may_be_errors:
            with suppress(Exception):  # an error of some row, which is found one by one
                return lines.render_all(rows)

        def made(row: RowValues) -> str:
            _require_values(row)
            return lines.render(row)

        return each(made, rows, "", errors)


def _require_values(row: RowValues) -> None:
    if len(row) == 2 and isinstance(row[1], Exception):
        raise row[1]


def each(
    function: Callable[[RowValues], _T],
    rows: Sequence[RowValues],
    default: _T,
    errors: dict[int, str],
) -> list[_T]:
    """Return a column: ``function`` of each row. Its errors go to ``errors``: one row's own code
    must not affect the others."""
    try:
        return list(map(function, rows))
    except Exception:
        column = []
        for index, row in enumerate(rows):
            try:
                column.append(function(row))
            except Exception as raised:
                errors.setdefault(index, f"its text cannot be made: {type(raised).__name__}")
                column.append(default)
        return column
