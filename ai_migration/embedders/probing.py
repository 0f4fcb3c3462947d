"""One plain text, to learn whether a provider answers at all."""

from __future__ import annotations

import re

from ai_migration.embedders.base import Embedder
from ai_migration.types import EmbedAnswer

PROBE = "A plain text."
_ALIKE = 0.75


def probe(embedder: Embedder) -> EmbedAnswer:
    """Ask for the vector of a harmless text.

    Raises:
        EmbedderError: The provider's refusal, or another error of an embedder.
    """
    answer = embedder.request([PROBE])
    embedder.validated(answer.vectors, 1)
    return answer


def say_the_same(one: str, other: str) -> bool:
    """Return whether two refusals are the same except for numbers, ids and quotations."""
    first, second = _words(one), _words(other)
    return len(first & second) >= _ALIKE * len(first | second)


def _words(message: str) -> frozenset[str]:
    plain = re.sub(r"""(["'`]).*?\1|<text>""", " ", message.lower())
    return frozenset(re.findall(r"(?<!\w)[^\W\d_]+(?!\w)", plain))
