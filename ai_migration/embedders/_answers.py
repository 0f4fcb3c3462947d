"""Vectors out of a vendor's answer, and errors of the libraries that fetch it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ai_migration.exceptions import FatalEmbedderError, TransientEmbedderError
from ai_migration.types import Vectors

_CONNECTION_ERRORS = (
    ("httpx", "TransportError"),
    ("httpx2", "TransportError"),
    ("requests", "RequestException"),
)


@contextmanager
def reading(vendor: str) -> Iterator[None]:
    """Wrap the block in which the library or the embedder reads an answer.

    Raises:
        TransientEmbedderError: It does not have the form of the vendor's answers.
    """
    try:
        yield
    except UnicodeEncodeError:
        raise  # of a text that cannot be sent
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransientEmbedderError(
            f"{vendor} answered with something that is not an embedding ({type(error).__name__})"
        ) from None


def stacked(vendor: str, rows: Sequence[Any]) -> Vectors:
    """Return the vectors as one array.

    Raises:
        FatalEmbedderError: They are not of one length.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise FatalEmbedderError(f"{vendor} answered vectors of different lengths")
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), *lengths or (0,))


def is_connection_error(error: Exception) -> bool:
    """Return whether the answer did not arrive, or not completely. Asks only the HTTP libraries
    that were imported: no other can have raised it."""
    kinds = [
        getattr(sys.modules[module], name)
        for module, name in _CONNECTION_ERRORS
        if module in sys.modules
    ]
    return isinstance(error, tuple(kinds))
