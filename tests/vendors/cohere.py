"""The protocol of Cohere, version 2.

https://docs.cohere.com/reference/embed
https://docs.cohere.com/reference/errors
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ai_migration.types import Vectors
from tests.vendors.protocol import Asked, Kind, Reply

_REFUSALS = {
    Kind.THROTTLED: (
        429,
        "You are using a Trial key, which is limited to 40 API calls / minute. You can continue "
        "to use the Trial key for free or upgrade to a Production key with higher rate limits.",
    ),
    Kind.NO_QUOTA: (
        429,
        "You are using a Trial key, which is limited to 1000 API calls / month. You can continue "
        "to use the Trial key for free or upgrade to a Production key with higher rate limits.",
    ),
    Kind.SERVER_ERROR: (500, "internal server error, this has been reported to our developers."),
    Kind.UNAVAILABLE: (503, "upstream is not available"),
    Kind.WRONG_KEY: (401, "invalid api token: {key}"),
    Kind.UNKNOWN_MODEL: (
        404,
        "model '{model}' not found, make sure the correct model ID was used and that you have "
        "access to the model.",
    ),
    Kind.TOO_LONG: (400, "too many tokens: text at index 0 exceeds 512, and truncate is NONE."),
    Kind.REFUSED: (400, "invalid request: {text!r} cannot be embedded."),
}


class CohereVendor:
    """``POST /v2/embed``."""

    name = "cohere"

    def asked(self, path: str, headers: Mapping[str, str], body: Any) -> Asked | None:
        if path != "/v2/embed":
            return None
        return Asked(
            texts=body["texts"],
            model=body["model"],
            dimensions=body.get("output_dimension"),
            input_type=body["input_type"],
            key=headers.get("authorization", "").removeprefix("Bearer "),
            encoding=body["embedding_types"][0],
            other={name: value for name, value in body.items() if name != "texts"},
        )

    def answer(self, asked: Asked, vectors: Vectors, order: Sequence[int], tokens: int) -> Reply:
        if asked.encoding == "base64":
            rows: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()) for row in vectors]
            rows = [row.decode() for row in rows]
        else:
            rows = vectors.tolist()
        body = {
            "id": "0",
            "response_type": "embeddings_by_type",
            "embeddings": {asked.encoding: rows},
            "texts": list(asked.texts),
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
        }
        return Reply(200, body)

    def refusal(self, asked: Asked, kind: Kind) -> Reply:
        status, words = _REFUSALS[kind]
        message = words.format(model=asked.model, key=asked.key, text=asked.texts[0])
        return Reply(status, {"id": "0", "message": message})
