"""From a row's values to its text, its metadata and their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.core.files.base import File
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

from ai_migration.types import JSONValue

HASH_SIZE = 16
_NUMERIC = ("NUMERIC", "NUMBER", "DOUBLE", "FLOAT", "DECIMAL", "INT", "INTEGER", "LONG")
_BINARY = (bytes, bytearray, memoryview)


def as_text(value: Any) -> str:
    """Return a value as it appears in a text; empty when there is nothing to say.

    The same value is the same text in every process: a text that differs between them would be
    embedded, and paid for, again and again.

    Raises:
        TypeError: The value has no text of its own, only an address in memory.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, _BINARY):
        try:
            return bytes(value).decode().strip()
        except UnicodeDecodeError:
            return ""  # an image, say: no text
    if isinstance(value, Mapping):
        items = ((key, as_text(item)) for key, item in value.items())
        return ", ".join(f"{key}: {text}" for key, text in items if text)
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(filter(None, map(as_text, value))))
    if _is_list(value):
        return ", ".join(filter(None, map(as_text, value)))
    _require_text(value)
    return str(value).strip()


def clean(text: str) -> str:
    """Return the text as every database and provider takes it: no NUL, no lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return text


def clean_all(texts: list[str]) -> list[str]:
    """Apply :func:`clean` to each, and strip the blanks that it may leave; check all of them at
    once for whether there is anything to clean."""
    together = "".join(texts)
    if together.isascii() and "\0" not in together:
        return texts
    return [text if text.isascii() and "\0" not in text else clean(text).strip() for text in texts]


def content_hasher(salt: bytes) -> Callable[[str], bytes]:
    """Return a function from a clean text to its BLAKE2b hash (RFC 7693), 16 bytes; ``salt``
    carries the chunking. (A copied state costs two thirds of a new one.)"""
    copy = hashlib.blake2b(digest_size=HASH_SIZE, salt=salt).copy

    def content_hash(text: str) -> bytes:
        state = copy()
        state.update(text.encode())
        return state.digest()

    return content_hash


def headed_hash(content_hash: bytes, head: str) -> bytes:
    """Return the content hash of a text that is cut into chunks with this head, 16 bytes."""
    return hashlib.blake2b(content_hash + head.encode(), digest_size=HASH_SIZE).digest()


def metadata_hash(metadata: Mapping[str, JSONValue] | None) -> bytes:
    """Return BLAKE2b of the canonical JSON of metadata, 16 bytes; empty for none."""
    if not metadata:
        return b""
    canonical = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(canonical.encode(), digest_size=HASH_SIZE).digest()


def metadata_value(value: Any, declared_type: str) -> JSONValue:
    """Return a value as JSON, a number where the config declares one (``type: NUMERIC``).
    Binary values are base64; numbers that JSON does not have are null.

    Raises:
        TypeError: As :func:`as_text`.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Decimal):
        if declared_type.upper() not in _NUMERIC:
            return str(value)
        return metadata_value(float(value), declared_type) if value.is_finite() else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_iso_string(value)
    if isinstance(value, _BINARY):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {clean(str(key)): metadata_value(item, "") for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((metadata_value(item, declared_type) for item in value), key=repr)
    if _is_list(value):
        return [metadata_value(item, declared_type) for item in value]
    _require_text(value)
    return clean(str(value))


def _is_list(value: Any) -> bool:
    """Return whether a value is several values. Files and lazy texts can be iterated too."""
    return isinstance(value, Iterable) and not isinstance(value, File | Promise)


def _require_text(value: Any) -> None:
    kind: Any = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise TypeError(f"a {kind.__qualname__} has no text: give it a __str__")


class LineRenderer:
    """Writes ``label: value`` for each value of a row that is not empty.

    Args:
        labels: Labels of the values, in their order; at least one.
        positions: Positions of the values in a row; default: those that follow the row's key.
        read: For each value, the function that returns its text; default: :func:`as_text`.
    """

    def __init__(
        self,
        labels: Sequence[str],
        positions: Sequence[int] = (),
        read: Sequence[Callable[[Any], str]] = (),
    ) -> None:
        positions = positions or range(1, len(labels) + 1)
        self._values = list(zip(positions, read or [as_text] * len(labels), strict=True))
        self._prefixes = [f"{label}: " for label in labels]
        self._lines = "\n".join(prefix.replace("%", "%%") + "%s" for prefix in self._prefixes)

    def render(self, row: tuple[Any, ...]) -> str:
        """Return the text of a row.

        Raises:
            TypeError: As :func:`as_text`.
        """
        return self._written(read(row[position]) for position, read in self._values)

    def render_all(self, rows: Sequence[tuple[Any, ...]]) -> list[str]:
        """Return the text of each row, made column by column: calls for each row and column would
        be most of the cost.

        Raises:
            TypeError: As :func:`as_text`, for any of them.
        """
        if not rows:
            return []
        last = max(position for position, _ in self._values)
        found = list(islice(zip(*rows, strict=False), last + 1))
        columns = [_texts(found[position], read) for position, read in self._values]
        is_full = not any("" in column for column in columns)
        write = self._lines.__mod__ if is_full else self._written
        return list(map(write, zip(*columns, strict=True)))

    def _written(self, values: Iterable[str]) -> str:
        pairs = zip(self._prefixes, values, strict=True)
        return "\n".join([prefix + value for prefix, value in pairs if value])


def _texts(values: Iterable[Any], read: Callable[[Any], str]) -> list[str]:
    """Return the text of each."""
    if read is as_text:
        with suppress(TypeError):  # some are not strings
            return list(map(str.strip, values))
    return list(map(read, values))
