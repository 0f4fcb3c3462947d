"""The embedder of the how-to, against a server that answers as providers do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from ai_migration.embedders import Embedder
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    ThrottledError,
    TransientEmbedderError,
)
from tests.docs.pages import ROOT, blocks_of

HOWTO = ROOT / "docs" / "howto" / "own-project.md"


class Provider(ThreadingHTTPServer):
    status = 200
    headers: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        vectors = HashEmbedder(dimensions=8).embed(texts).tolist()
        self.wfile.write(json.dumps({"data": vectors}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def embedder(provider: Provider) -> Embedder:
    [code] = [b.body for b in blocks_of(HOWTO) if b.option("file") == "shop/embedder.py"]
    names: dict[str, Any] = {}
    exec(compile(code, "shop/embedder.py", "exec"), names)
    made = names["HttpEmbedder"](f"http://127.0.0.1:{provider.server_port}", "hash", 8)
    assert isinstance(made, Embedder)
    return made


def test_it_embeds(embedder: Embedder) -> None:
    texts = ["red shoes", "a tax return"]
    vectors = embedder.validated(embedder.embed(texts), 2)
    np.testing.assert_allclose(vectors, HashEmbedder(dimensions=8).embed(texts))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputRefusedError),
        (401, FatalEmbedderError),
        (404, FatalEmbedderError),
        (413, InputRefusedError),
        (429, ThrottledError),
        (500, TransientEmbedderError),
        (503, TransientEmbedderError),
    ],
)
def test_it_tells_errors_apart(
    status: int, kind: type[EmbedderError], embedder: Embedder, provider: Provider
) -> None:
    provider.status = status
    with pytest.raises(kind):
        embedder.embed(["text"])


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), (None, None)])
def test_it_passes_on_how_long_to_wait(
    header: str | None, seconds: float | None, embedder: Embedder, provider: Provider
) -> None:
    provider.status = 429
    provider.headers = {"Retry-After": header} if header else {}
    with pytest.raises(ThrottledError) as caught:
        embedder.embed(["text"])
    assert caught.value.retry_after == seconds


def test_no_answer_is_transient(embedder: Embedder, provider: Provider) -> None:
    provider.server_close()
    with pytest.raises(TransientEmbedderError):
        embedder.embed(["text"])
