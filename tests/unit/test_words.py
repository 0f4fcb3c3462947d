"""Counts in messages, and what they count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.indexing.embedding.packing import Packing
from ai_migration.words import counted

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, ("request",), "0 requests"),
        (1, ("request",), "1 request"),
        (1200, ("request",), "1,200 requests"),
        (1, ("entry",), "1 entry"),
        (2, ("entity",), "2 entities"),
        (2, ("key",), "2 keys"),
        (2, ("batch", "batches"), "2 batches"),
        (1, ("row matches", "rows match"), "1 row matches"),
    ],
)
def test_one_is_one_and_others_are_more(number: int, noun: tuple[str, ...], said: str) -> None:
    assert counted(number, *noun) == said


def test_no_message_counts_by_hand() -> None:
    """A number of rows, written with its thousands, is written with :func:`counted`."""
    nouns = "row|request|text|token|job|slot|batch|entr|vector|chang"
    by_hand = re.compile(rf":,\}} (?:[a-z]+ )?(?:{nouns})\w*s\b")
    for source in (ROOT / "ai_migration").rglob("*.py"):
        if not source.is_relative_to(ROOT / "ai_migration" / "testing"):
            assert not by_hand.search(source.read_text()), source


def test_requests_are_packed_as_they_are_sent() -> None:
    embedder = HashEmbedder(dimensions=4)
    embedder.max_batch_size = 3
    for is_untried, tokens, requests in (
        (False, [1] * 6, 2),
        (False, [1] * 7, 3),
        (True, [1] * 7, 3),  # one, three, three
        (True, [1], 1),
        (False, [], 0),
    ):
        packing = Packing(embedder, is_untried)
        packing.add(tokens[:2])
        packing.add(tokens[2:])
        assert (packing.requests, packing.tokens) == (requests, len(tokens))
    embedder.max_batch_tokens = 10
    packing = Packing(embedder)
    packing.add([6, 6, 4, 50, 1, 1, 8, 2])
    assert packing.requests == 5  # 6 · 6 4 · 50 · 1 1 8 · 2
