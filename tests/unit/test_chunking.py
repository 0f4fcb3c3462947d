"""Chunking: nothing lost, nothing too long, in order, in linear time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai_migration.embedders.base import Embedder
from ai_migration.embedders.chunking import chunk_spans, chunk_text
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.embedders.local import LocalEmbedder
from ai_migration.entities.config.schema import Chunking
from ai_migration.entities.entity import Entity
from ai_migration.indexing.batches import Target, chunks_of


class Counting(HashEmbedder):
    """Counts what it was asked to count."""

    def __init__(self, max_input_tokens: int | None = None) -> None:
        super().__init__(8)
        self.max_input_tokens = max_input_tokens
        self.characters = 0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.characters += sum(map(len, texts))
        return super().count_tokens(texts)


class Words(HashEmbedder):
    """A token for each word, however long, and one in front: dense and sparse at once."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + 1 for text in texts]


class Contrary(HashEmbedder):
    """Less text can have more tokens."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + 3 * text.endswith((".", "d")) for text in texts]


LOCAL = LocalEmbedder()

pieces = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["\n\n", ". ", " ", "\n", "。", "word ", "x" * 300, " " * 300, "🏳️‍🌈", "日本語"]
    ),
)
texts = st.lists(pieces, max_size=60).map("".join)


@pytest.mark.parametrize("embedder", [HashEmbedder(8), Words(8), Contrary(8), LOCAL], ids=repr)
@given(text=texts, size=st.integers(1, 60), overlap=st.integers(0, 60))
@example(text="x x end. x x x", size=5, overlap=0)
def test_every_character_is_in_a_chunk_and_no_chunk_is_too_long(
    embedder: Embedder, text: str, size: int, overlap: int
) -> None:
    spans = chunk_spans(text, embedder, size, overlap)
    chunks = chunk_text(text, embedder, size, overlap)
    assert chunks == [text[start:end] for start, end in spans]

    covered = 0
    for start, end in spans:
        assert end > covered, "each chunk brings something new"
        assert not text[covered:start].strip(), "nothing is left out"
        covered = end
    assert not text[covered:].strip()
    assert all(left < right for (left, _), (right, _) in pairwise(spans))
    for chunk, tokens in zip(chunks, embedder.count_tokens(chunks), strict=True):
        assert tokens <= size or len(chunk) == 1
        assert chunk == chunk.strip() or chunks == [text]


@pytest.mark.parametrize("embedder", [HashEmbedder(8), Words(8), Contrary(8), LOCAL], ids=repr)
@given(
    text=texts,
    size=st.integers(1, 80),
    overlap=st.integers(0, 60),
    head=pieces.map(str.strip).filter(bool),
)
@example(text="name: a\nbody: " + "word " * 200, size=40, overlap=10, head="name: a")
def test_every_chunk_has_the_head_and_no_chunk_is_too_long(
    embedder: Embedder, text: str, size: int, overlap: int, head: str
) -> None:
    spans = chunk_spans(text, embedder, size, overlap, head)
    chunks = chunk_text(text, embedder, size, overlap, head)
    covered = 0
    heads = set()
    for (start, end), chunk in zip(spans, chunks, strict=True):
        assert not text[covered:start].strip(), "nothing is left out"
        covered = end
        assert chunk.endswith(text[start:end])
        heads.add(chunk.removesuffix(text[start:end]))
    assert not text[covered:].strip()
    for chunk, tokens in zip(chunks, embedder.count_tokens(chunks), strict=True):
        assert tokens <= size or len(chunk) == 1
    cut = heads - {""}
    assert len(cut) <= 1
    assert all(each.endswith("\n") and head.startswith(each[:-1]) for each in cut)


def test_a_head_is_not_repeated_where_the_text_begins_with_it() -> None:
    first, *later = chunk_text(
        "name: Boots\nbody: " + "word " * 200, HashEmbedder(8), 50, 0, "name: Boots"
    )
    assert first.startswith("name: Boots\nbody: word")
    assert len(later) > 3
    assert all(chunk.startswith("name: Boots\nword") for chunk in later)
    one, *_ = chunk_text("word " * 200, HashEmbedder(8), 50, 0, "name: Boots")
    assert one.startswith("name: Boots\nword"), "the text does not say it itself"


def test_a_head_is_at_most_a_quarter_of_a_chunk() -> None:
    head = "name: " + "very long name " * 100_000
    embedder = Counting()
    chunks = chunk_text("word " * 1000, embedder, 100, 0, head)
    heads = {chunk.partition("\n")[0] for chunk in chunks}
    assert len(heads) == 1
    assert 20 <= embedder.count_tokens(list(heads))[0] <= 25
    assert all(each.endswith(("very", "long", "name")) for each in heads)
    assert embedder.characters <= 12 * 5000, "a head costs no more for being long"
    assert "name" not in chunk_text("word " * 1000, embedder, 30, 0, head)[1], "no room"


def test_a_text_that_fits_has_no_head() -> None:
    text = "word " * 10
    assert chunk_text(text, Words(8), 100, 0, "name: Boots") == [text]


def test_a_text_that_fits_is_left_alone_and_not_even_counted() -> None:
    embedder = Counting(max_input_tokens=512)

    assert chunk_text(" a short text\n", embedder, 100) == [" a short text\n"]
    assert embedder.characters == 0


@pytest.mark.parametrize("text", ["", " \n\t ", " " * 10_000])
def test_white_space_has_no_chunk(text: str) -> None:
    assert chunk_text(text, HashEmbedder(8), 100) == []


def test_without_any_limit_a_text_is_one_chunk() -> None:
    text = "word " * 10_000
    assert chunk_text(text, Counting(max_input_tokens=None), None) == [text]


def test_the_limit_of_the_embedder_holds_too() -> None:
    embedder = Counting(max_input_tokens=50)
    chunks = chunk_text("word " * 1000, embedder, 500)
    assert max(embedder.count_tokens(chunks)) <= 50


def test_ends_at_paragraphs_before_sentences_before_words() -> None:
    sentence = "Words make a sentence here. "
    paragraph = sentence * 5
    chunks = chunk_text(f"{paragraph}\n\n{paragraph}\n\n{paragraph}", HashEmbedder(8), 50)
    assert chunks == [paragraph.strip()] * 3

    chunks = chunk_text(sentence * 50, HashEmbedder(8), 50)
    assert all(chunk.endswith("here.") for chunk in chunks)

    chunks = chunk_text("word " * 500, HashEmbedder(8), 50)
    assert {word for chunk in chunks for word in chunk.split()} == {"word"}


def test_consecutive_chunks_repeat_at_most_the_overlap() -> None:
    embedder = HashEmbedder(8)
    text = " ".join(f"word{number}" for number in range(2000))
    spans = chunk_spans(text, embedder, 100, 20)

    repeated = [text[start:end] for (_, end), (start, _) in pairwise(spans)]
    assert all(10 <= tokens <= 20 for tokens in embedder.count_tokens(repeated))
    assert all(text[start:].startswith("word") for start, _ in spans)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "some words " * 90_000,
        "a" + " " * 1_000_000 + "b",
        (" " * 5000 + "b" * 3000) * 120,
        ("日" * 3000 + "a" * 3000) * 160,
        ".\n" * 500_000,
        "\n" * 1_000_000 + "x",
    ],
    ids=["no boundary", "words", "spaces", "both", "two scripts", "only boundaries", "newlines"],
)
@pytest.mark.parametrize("overlap", [0, 50])
def test_counts_each_character_a_bounded_number_of_times(text: str, overlap: int) -> None:
    embedder = Counting()
    chunk_text(text, embedder, 512, overlap)
    assert embedder.characters <= 8 * len(text)


def test_a_dense_text_is_chunked_though_the_size_asked_for_is_above_the_limit() -> None:
    """Of one token a character, and short beside that size."""
    target = cast(Target, SimpleNamespace(embedder=Counting(max_input_tokens=300)))
    definition = SimpleNamespace(chunking=Chunking(size=2000))
    entity = cast(Entity, SimpleNamespace(definition=definition))
    pieces = chunks_of("👟" * 400, target, entity, head="")
    assert len(pieces) == 2
    assert max(target.embedder.count_tokens(pieces)) <= 300
