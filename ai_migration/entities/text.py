"""From a row's values to its text, its metadata and their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.template import Context, Engine, TemplateSyntaxError
from django.template.base import Template, VariableNode
from django.template.defaulttags import ForNode
from django.utils.duration import duration_iso_string

from ai_migration.exceptions import EntityConfigError
from ai_migration.types import JSONValue

HASH_SIZE = 16
_NUMERIC = ("NUMERIC", "NUMBER", "DOUBLE", "FLOAT", "DECIMAL", "INT", "INTEGER", "LONG")


def as_text(value: Any) -> str:
    """A value as it stands in a text; empty when there is nothing to say."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, (list, tuple, set)):
        return ", ".join(part for part in map(as_text, value) if part)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {as_text(item)}" for key, item in value.items() if as_text(item))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value)


def clean(text: str) -> str:
    """Text that every database and provider takes: no NUL, no lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return text


def content_hash(text: str, salt: bytes) -> bytes:
    """BLAKE2b (RFC 7693) of a clean text, 16 bytes; ``salt`` carries the chunking."""
    return hashlib.blake2b(text.encode(), digest_size=HASH_SIZE, salt=salt).digest()


def metadata_hash(metadata: Mapping[str, JSONValue] | None) -> bytes:
    """BLAKE2b of the canonical JSON of a payload, 16 bytes; empty for no payload."""
    if not metadata:
        return b""
    canonical = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(canonical.encode(), digest_size=HASH_SIZE).digest()


def metadata_value(value: Any, declared_type: str) -> JSONValue:
    """A value as JSON, a number where the config declares one (``type: NUMERIC``)."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Decimal):
        return float(value) if declared_type.upper() in _NUMERIC else str(value)
    if isinstance(value, (list, tuple, set)):
        return [metadata_value(item, declared_type) for item in value]
    if isinstance(value, dict):
        return {clean(str(key)): metadata_value(item, "") for key, item in value.items()}
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_iso_string(value)
    return clean(str(value))


def line_renderer(labels: Sequence[str]) -> Callable[[tuple[Any, ...]], str]:
    """A function that writes ``label: value`` for each value of a row that is not empty.
    The row's key comes before the values; what comes after them is left alone."""
    prefixes = [(index, f"{label}: ") for index, label in enumerate(labels, start=1)]

    def render(row: tuple[Any, ...]) -> str:
        return "\n".join(
            [
                prefix + text
                for index, prefix in prefixes
                if (
                    text := value.strip()
                    if (value := row[index]).__class__ is str
                    else as_text(value)
                )
            ]
        )

    return render


class TextTemplate:
    """A text written in Django's template language, without escaping.

    Args:
        source: The template; ``{{ name }}`` and ``{{ category__name }}`` are fields.
        entity_type: For the error message.

    Raises:
        EntityConfigError: The template does not compile.
    """

    def __init__(self, source: str, entity_type: str) -> None:
        try:
            self._template = Template(source, engine=Engine(autoescape=False))
        except TemplateSyntaxError as error:
            raise EntityConfigError(
                f"Entity type {entity_type!r}: its template does not compile: {error}"
            ) from error

    @property
    def names(self) -> list[str]:
        """The fields it prints, in order of appearance."""
        nodes = self._template.nodelist
        loops = [node for node in nodes.get_nodes_by_type(ForNode) if isinstance(node, ForNode)]
        expressions = [
            node.filter_expression
            for node in nodes.get_nodes_by_type(VariableNode)
            if isinstance(node, VariableNode)
        ]
        local = {"forloop", "block"}.union(*(loop.loopvars for loop in loops))
        found = []
        for expression in [*expressions, *(loop.sequence for loop in loops)]:
            lookups = getattr(getattr(expression, "var", None), "lookups", None)
            if lookups and lookups[0] not in local:
                found.append("__".join(lookups))
        return list(dict.fromkeys(found))

    def render(self, values: Mapping[str, Any]) -> str:
        """The text of one row.

        Args:
            values: By field name; ``category__name`` is also reached as ``category.name``.
        """
        context: dict[str, Any] = dict(values)
        for name, value in values.items():
            head, _, rest = name.partition("__")
            if rest and isinstance(context.setdefault(head, {}), dict):
                context[head][rest] = value
        return self._template.render(Context(context, autoescape=False)).strip()
