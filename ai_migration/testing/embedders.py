"""The contract of every embedder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from django.core.checks import CheckMessage

from ai_migration.embedders.base import Embedder

TEXTS = [
    "red running shoes",
    "Compress a file with gzip.",
    "red running shoes",
    "日本語のテキスト",
    "نص من اليمين إلى اليسار",
    "👩‍👩‍👧‍👦 family",
    "name: shoes\nprice: 12.50\n",
    "x",
    "word " * 300,
]


class EmbedderContract:
    """Subclass it and define a fixture ``embedder`` that returns your embedder.

    Attributes:
        tolerance: The largest difference of an element of a vector between two batches.
    """

    tolerance = 1e-5

    @pytest.fixture
    def embedder(self) -> Embedder:
        raise NotImplementedError("Define a fixture 'embedder' that returns your embedder.")

    def test_describes_itself(self, embedder: Embedder) -> None:
        assert embedder.model_id
        assert embedder.dimensions >= 1
        assert embedder.max_batch_size >= 1
        assert embedder.max_batch_tokens is None or embedder.max_batch_tokens >= 1
        assert embedder.max_input_tokens is None or embedder.max_input_tokens >= 1
        assert embedder.concurrency >= 1
        assert isinstance(embedder.is_remote, bool)

    def test_fingerprint_is_stable(self, embedder: Embedder) -> None:
        assert len(embedder.fingerprint) == 32
        assert int(embedder.fingerprint, 16) >= 0
        assert embedder.fingerprint == embedder.fingerprint

    def test_check_lists_messages(self, embedder: Embedder) -> None:
        messages = embedder.check()
        assert all(isinstance(message, CheckMessage) for message in messages)
        assert all(message.id for message in messages)
        assert not any(message.is_serious() for message in messages)

    def test_vectors_are_float32_of_the_right_shape(self, embedder: Embedder) -> None:
        texts = TEXTS[: embedder.max_batch_size]
        vectors = embedder.embed(texts)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(texts), embedder.dimensions)
        assert np.isfinite(vectors).all()
        assert embedder.validated(vectors, len(texts)) is not None

    def test_one_text(self, embedder: Embedder) -> None:
        assert embedder.embed(["one text"]).shape == (1, embedder.dimensions)

    def test_a_full_batch(self, embedder: Embedder) -> None:
        texts = [f"text number {number}" for number in range(min(embedder.max_batch_size, 2048))]
        assert embedder.embed(texts).shape == (len(texts), embedder.dimensions)

    def test_accepts_any_sequence_and_leaves_it_alone(self, embedder: Embedder) -> None:
        texts = ["first", "second"][: embedder.max_batch_size]
        kept = tuple(texts)
        expected = embedder.embed(kept)
        np.testing.assert_allclose(embedder.embed(texts), expected, atol=self.tolerance)
        assert tuple(texts) == kept

    def test_a_vector_depends_on_its_text_alone(self, embedder: Embedder) -> None:
        """Neither on the batch nor on the place in it."""
        alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
        together = np.concatenate(
            [
                embedder.embed(TEXTS[::-1][start : start + embedder.max_batch_size])
                for start in range(0, len(TEXTS), embedder.max_batch_size)
            ]
        )[::-1]
        np.testing.assert_allclose(together, alone, atol=self.tolerance)

    def test_other_texts_have_other_vectors(self, embedder: Embedder) -> None:
        [left], [right] = embedder.embed(["red running shoes"]), embedder.embed(["a tax return"])
        assert not np.allclose(left, right, atol=1e-3)

    def test_odd_texts_do_not_break_it(self, embedder: Embedder) -> None:
        for text in (" ", "\n", "�", "\u200b", "a" * 2000, "\u202ertl\u202c"):
            assert np.isfinite(embedder.embed([text])).all(), repr(text)

    def test_a_query_is_one_vector(self, embedder: Embedder) -> None:
        query = embedder.embed_query("red running shoes")
        assert query.dtype == np.float32
        assert query.shape == (embedder.dimensions,)
        assert np.isfinite(query).all()

    def test_a_query_is_nearest_to_its_own_text(self, embedder: Embedder) -> None:
        texts = ["red running shoes", "a tax return", "the sine of an angle"]
        vectors = np.concatenate([embedder.embed([text]) for text in texts])
        scores = vectors @ embedder.embed_query(texts[0])
        scores /= np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
        assert scores.argmax() == 0

    def test_counts_tokens(self, embedder: Embedder) -> None:
        counts = embedder.count_tokens(["", "word", "word " * 100, "日本語"])
        assert all(type(count) is int for count in counts)
        assert len(counts) == 4
        assert 0 <= counts[0] <= counts[1] < counts[2]
        assert counts[3] >= 1
        assert embedder.count_tokens([]) == []

    def test_a_token_is_at_least_a_byte(self, embedder: Embedder) -> None:
        """One more may be added in front. Texts shorter than the limit are not even counted."""
        for text, count in zip(TEXTS, embedder.count_tokens(TEXTS), strict=True):
            assert count <= len(text.encode()) + 1

    def test_several_threads_at_once(self, embedder: Embedder) -> None:
        batches = [[f"{text} {number}" for text in TEXTS[:3]] for number in range(16)]
        batches = [batch[: embedder.max_batch_size] for batch in batches]
        expected = [embedder.embed(batch) for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(embedder.embed, batches))
        for answer, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer, wanted, atol=self.tolerance)

    def test_repr_names_the_model_alone(self, embedder: Embedder) -> None:
        assert embedder.model_id in repr(embedder)
        assert len(repr(embedder)) < 200
        for secret in embedder.secrets():
            assert isinstance(secret, str)
            assert not secret or secret not in repr(embedder)

    def test_vectors_belong_to_the_caller(self, embedder: Embedder) -> None:
        """Changing one answer does not change later ones."""
        first = embedder.embed(["a text"])
        kept = first.copy()
        first *= 0
        np.testing.assert_allclose(embedder.embed(["a text"]), kept, atol=self.tolerance)
