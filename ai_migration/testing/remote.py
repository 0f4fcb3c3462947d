"""The contract of embedders that call a vendor's API."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest

from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    TextTooLongError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.testing.embedders import EmbedderContract
from ai_migration.testing.faults import Fault, FaultyVendor, Kind
from ai_migration.types import EmbedAnswer

TEXTS = ['a text that "stays" with us', "the second text\n日本語", "the third text"]

KINDS: dict[Kind, type[EmbedderError]] = {
    Kind.THROTTLED: ThrottledError,
    Kind.NO_QUOTA: FatalEmbedderError,
    Kind.SERVER_ERROR: TransientEmbedderError,
    Kind.UNAVAILABLE: TransientEmbedderError,
    Kind.WRONG_KEY: FatalEmbedderError,
    Kind.UNKNOWN_MODEL: FatalEmbedderError,
    Kind.REFUSED: InputRefusedError,
    Kind.TOO_LONG: TextTooLongError,
    Kind.SLOW: TransientEmbedderError,
    Kind.HALF: TransientEmbedderError,
    Kind.RESET: TransientEmbedderError,
    Kind.FEWER: InputRefusedError,
    Kind.WRONG_DIMENSIONS: FatalEmbedderError,
    Kind.NOT_A_NUMBER: InputRefusedError,
}
"""The error that the pipeline expects for each fault."""


class RemoteEmbedderContract(EmbedderContract):
    """Subclass it and define the fixtures ``vendor``, ``embedder`` and ``impatient``.

    ``vendor`` is a server that imitates the API, with planned faults, as a
    :class:`~ai_migration.testing.faults.FaultyVendor`; none may be planned when a test begins.

    Attributes:
        absent: Faults the vendor's protocol cannot express.
        tells_tokens: Whether the vendor says how many tokens it charges for.
    """

    absent: frozenset[Kind] = frozenset()
    tells_tokens = True

    @pytest.fixture
    def vendor(self) -> FaultyVendor:
        raise NotImplementedError("Define a fixture 'vendor' that returns a server.")

    @pytest.fixture
    def impatient(self) -> Embedder:
        raise NotImplementedError(
            "Define a fixture 'impatient': your embedder with a timeout far below a second."
        )

    def test_is_remote(self, embedder: Embedder) -> None:
        assert embedder.is_remote

    def test_the_answer_is_the_vendors(self, embedder: Embedder, vendor: FaultyVendor) -> None:
        texts = texts_for(embedder)
        answer = accepted(embedder, texts)
        wanted = vendor.vectors(texts, embedder.dimensions)
        np.testing.assert_allclose(answer.vectors, wanted, atol=self.tolerance)
        assert vendor.received[-1] == texts

    def test_one_call_is_one_request(self, embedder: Embedder, vendor: FaultyVendor) -> None:
        before = len(vendor.received)
        embedder.request(texts_for(embedder))
        vendor.plan(Fault(Kind.SERVER_ERROR), Fault(Kind.THROTTLED, retry_after="0"))
        for _ in range(2):
            with pytest.raises(EmbedderError):
                embedder.request(texts_for(embedder))
        assert len(vendor.received) == before + 3

    def test_tokens_are_told(self, embedder: Embedder) -> None:
        tokens = embedder.request(texts_for(embedder)).tokens
        assert (type(tokens) is int and tokens > 0) if self.tells_tokens else tokens is None

    def test_an_answer_out_of_order_is_put_in_order(
        self, embedder: Embedder, vendor: FaultyVendor
    ) -> None:
        self.plan(vendor, Fault(Kind.OUT_OF_ORDER))
        answer = accepted(embedder, TEXTS)
        wanted = vendor.vectors(TEXTS, embedder.dimensions)
        np.testing.assert_allclose(answer.vectors, wanted, atol=self.tolerance)

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_what_goes_wrong_is_of_the_right_kind(
        self, kind: Kind, embedder: Embedder, impatient: Embedder, vendor: FaultyVendor
    ) -> None:
        self.plan(vendor, Fault(kind, seconds=2))
        with pytest.raises(EmbedderError) as caught:
            accepted(impatient if kind is Kind.SLOW else embedder, texts_for(embedder))
        assert type(caught.value) is KINDS[kind]
        assert 10 < len(caught.value.message) <= 500
        said = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert vendor.key not in said
        assert not any(text in said or repr(text)[1:-1] in said for text in TEXTS)
        accepted(embedder, texts_for(embedder))  # nothing is left of it

    def test_a_query_that_goes_wrong(self, embedder: Embedder, vendor: FaultyVendor) -> None:
        self.plan(vendor, Fault(Kind.THROTTLED, retry_after="3"))
        with pytest.raises(ThrottledError) as caught:
            embedder.embed_query("what a user searches")
        assert caught.value.retry_after == 3

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("7", 7), ("0.5", 0.5), ("86400", 86_400), ("", None), ("soon", None)],
        ids=["seconds", "fraction", "a day", "nothing", "no number"],
    )
    def test_how_long_to_wait(
        self, header: str, seconds: float | None, embedder: Embedder, vendor: FaultyVendor
    ) -> None:
        self.plan(vendor, Fault(Kind.THROTTLED, retry_after=header))
        assert throttled(embedder).retry_after == seconds

    def test_how_long_to_wait_as_a_date(self, embedder: Embedder, vendor: FaultyVendor) -> None:
        until = datetime.now(UTC) + timedelta(hours=1)
        self.plan(vendor, Fault(Kind.THROTTLED, retry_after=format_datetime(until, usegmt=True)))
        assert throttled(embedder).retry_after == pytest.approx(3600, abs=600)

    def test_the_key_is_nowhere_to_be_seen(self, embedder: Embedder, vendor: FaultyVendor) -> None:
        assert vendor.key not in repr(embedder)
        assert vendor.key not in embedder.fingerprint

    def plan(self, vendor: FaultyVendor, fault: Fault) -> None:
        """Plan a fault, or skip the test if the vendor cannot have it."""
        if fault.kind in self.absent:
            pytest.skip(f"this vendor cannot be {fault.kind}")
        vendor.plan(fault)


def texts_for(embedder: Embedder) -> list[str]:
    """Return a few texts, as many as one request takes."""
    return TEXTS[: embedder.max_batch_size]


def accepted(embedder: Embedder, texts: list[str]) -> EmbedAnswer:
    """Return an answer after the checks of the pipeline."""
    answer = embedder.request(texts)
    embedder.validated(answer.vectors, len(texts))
    return answer


def throttled(embedder: Embedder) -> ThrottledError:
    """Return the error of a request that is throttled."""
    with pytest.raises(ThrottledError) as caught:
        embedder.request(texts_for(embedder))
    return caught.value
