"""Whole columns of a batch as one parameter each, in PostgreSQL's binary format.

No conversion row by row: numpy builds them where the elements have a fixed width. The arrays
carry no type of their own: **cast each in the statement** (``unnest($1::text[], $2::int[])``),
and the server takes the type from there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_migration.types import Vectors

BYTEA, INT8, INT4, TEXT, FLOAT8, JSONB = 17, 20, 23, 25, 701, 3802
"""Type oids that are the same in every PostgreSQL."""

_INT4 = struct.Struct(">i")
_INT8 = struct.Struct(">q")
_FLOAT4 = np.dtype(">f4")
_NULL = _INT4.pack(-1)


class BinaryArray:
    """One array parameter in PostgreSQL's binary format.

    Args:
        element: Oid of the element type.
        count: The number of elements.
        body: The elements, each an int32 length and its bytes.
        nulls: Whether some elements are NULL.
    """

    __slots__ = ("count", "data")

    def __init__(
        self, element: int, count: int, body: bytes | bytearray | memoryview, nulls: bool = False
    ) -> None:
        self.count = count
        if count:
            header = struct.pack(">iiIii", 1, int(nulls), element, count, 1)
        else:
            header = struct.pack(">iiI", 0, 0, element)
        self.data = b"".join((header, body))

    def __repr__(self) -> str:
        """Return the type and the count, never the content: parameters reach logs."""
        return f"<{type(self).__name__} of {self.count}>"


class TextArray(BinaryArray):
    """``text[]``; None is NULL.

    Raises:
        UnicodeEncodeError: A text holds a lone surrogate.
    """

    def __init__(self, values: Iterable[str | None]) -> None:
        encoded = [None if value is None else value.encode() for value in values]
        super().__init__(TEXT, len(encoded), _variable(encoded), None in encoded)


class JsonbArray(BinaryArray):
    """``jsonb[]`` of serialised documents; None is NULL."""

    def __init__(self, documents: Iterable[str | None]) -> None:
        # One leading byte: version 1 of jsonb's wire format.
        encoded = [None if text is None else b"\x01" + text.encode() for text in documents]
        super().__init__(JSONB, len(encoded), _variable(encoded), None in encoded)


class ByteaArray(BinaryArray):
    """``bytea[]`` of a list of bytes, or of the rows of a two-dimensional array."""

    def __init__(self, values: Sequence[bytes | None] | NDArray[Any]) -> None:
        if isinstance(values, np.ndarray):
            width = values.itemsize * math.prod(values.shape[1:])
            rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), width)
            super().__init__(BYTEA, len(rows), _fixed(rows, np.dtype("u1")))
        else:
            super().__init__(BYTEA, len(values), _variable(values), None in values)


class Int4Array(BinaryArray):
    """``int[]``."""

    def __init__(self, values: NDArray[Any] | Sequence[int]) -> None:
        super().__init__(INT4, len(values), _fixed(np.asarray(values), np.dtype(">i4")))


class Int8Array(BinaryArray):
    """``bigint[]``."""

    def __init__(self, values: NDArray[Any] | Sequence[int]) -> None:
        super().__init__(INT8, len(values), _fixed(np.asarray(values), np.dtype(">i8")))


class OptionalInt8Array(BinaryArray):
    """``bigint[]``; None is NULL."""

    def __init__(self, values: Sequence[int | None]) -> None:
        if None in values:
            packed = [None if value is None else _INT8.pack(value) for value in values]
            super().__init__(INT8, len(values), _variable(packed), nulls=True)
        else:
            super().__init__(INT8, len(values), _fixed(np.asarray(values), np.dtype(">i8")))


class VectorArray(BinaryArray):
    """pgvector's ``vector[]`` or ``halfvec[]``.

    Their oids differ per database. PostgreSQL 14 and later compare the oids of
    built-in types only, so none needs to be sent.

    Args:
        vectors: float32, shape ``(n, dimensions)``.
        element: An element on the wire: ``>f4`` for ``vector``, ``>f2`` for ``halfvec``.
    """

    def __init__(self, vectors: Vectors, element: np.dtype[Any] = _FLOAT4) -> None:
        count, dimensions = vectors.shape
        kind = [("size", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("v", element, (dimensions,))]
        body = np.empty(count, kind)
        body["size"] = 4 + element.itemsize * dimensions
        body["dim"] = dimensions
        body["unused"] = 0
        with np.errstate(over="ignore"):  # infinity, which the server refuses
            body["v"] = vectors
        super().__init__(0, count, body.data.cast("B") if count else b"")


def _variable(values: Iterable[bytes | None]) -> bytes:
    pack = _INT4.pack
    return b"".join([_NULL if value is None else pack(len(value)) + value for value in values])


def _fixed(values: NDArray[Any], kind: np.dtype[Any]) -> bytes:
    body = np.empty(len(values), [("size", ">i4"), ("value", kind, values.shape[1:])])
    body["size"] = body.dtype.itemsize - 4
    body["value"] = values
    return body.tobytes()
