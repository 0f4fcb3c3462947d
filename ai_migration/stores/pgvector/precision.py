"""The types in which pgvector keeps the elements of a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Precision:
    """A type of pgvector (https://github.com/pgvector/pgvector#reference).

    Attributes:
        type: Its name.
        element: The format of one element on the wire.
        indexable: Dimensions that an index supports, at most.
    """

    type: str
    element: np.dtype[Any]
    indexable: int


FLOAT32 = Precision("vector", np.dtype(">f4"), 2000)
FLOAT16 = Precision("halfvec", np.dtype(">f2"), 4000)
PRECISIONS = {"float32": FLOAT32, "float16": FLOAT16}
"""Precisions by the value of the option."""
