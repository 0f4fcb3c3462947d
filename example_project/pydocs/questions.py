"""The demo's questions: asked in words that their answers do not have."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ai_migration import search
from ai_migration.types import SearchHit
from pydocs.introspect import STANDARD_LIBRARY
from pydocs.loading import in_words

ENTITY_TYPE = "pydoc"
QUESTIONS = ("coin toss", "how long until christmas", "typical income")
"""The questions to the standard library."""
ANY_QUESTIONS = (
    "how long does it take",
    "keep it for later",
    "languages of the world",
    "letters to somebody",
    "make it faster",
    "paint with colours",
    "photo",
    "secret",
    "talk to another computer",
    "try once more",
    "what went wrong",
    "who may do this",
)
"""Questions that most packages have an answer to."""
ASKED = 3
ANSWERS = 5
Answered = tuple[str, list[SearchHit]]


def answered(package: str) -> list[Answered]:
    """Return a few questions with their answers: of any package, those it answers best."""
    if package == STANDARD_LIBRARY:
        return [(each, _ask(each, package)) for each in QUESTIONS]
    found = [(each, _ask(each, package)) for each in ANY_QUESTIONS]
    return sorted((each for each in found if each[1]), key=_worth, reverse=True)[:ASKED]


def words(text: str) -> set[str]:
    """Return the words of a text or a name, in lower case."""
    return set(re.findall(r"[^\W_]+", in_words(text).lower()))


def _ask(question: str, package: str) -> list[SearchHit]:
    return search(ENTITY_TYPE, question, limit=ANSWERS, filters={"package": package})


def _worth(each: Answered) -> tuple[int, float]:
    """Return how well a question shows that meaning is found, to be compared."""
    question, hits = each
    return _unlike(question, hits), hits[0].score


def _unlike(question: str, hits: Iterable[SearchHit]) -> int:
    """Return the number of answers without a word of the question."""
    return sum(words(question).isdisjoint(words(hit.text)) for hit in hits)
