"""The server: HTTP, what is planned or left to chance, and its process."""

from __future__ import annotations

import argparse
import json
import random
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.types import Vectors
from tests.vendors.bedrock import BedrockVendor
from tests.vendors.cohere import CohereVendor
from tests.vendors.google import GoogleVendor
from tests.vendors.openai import OpenAIVendor
from tests.vendors.protocol import ANSWER, SPOKEN, Asked, Fault, Kind, Reply, Vendor
from tests.vendors.seen import Seen

VENDORS: dict[str, type[Vendor]] = {
    vendor.name: vendor for vendor in (OpenAIVendor, CohereVendor, GoogleVendor, BedrockVendor)
}


@dataclass
class Chance:
    """What befalls a request for which nothing is planned.

    Attributes:
        latency: Seconds before each answer.
        throttle: Share of the requests that are throttled.
        retry_after: What those are told; empty: nothing.
        fail: Share that gets an error of the server.
        refuse_word: Requests with this word in a text are refused; empty: none are.
        max_tokens: Requests with a text of more tokens are refused as too long; None: none are.
        outage_at: Seconds after the first request when the server goes away; None: never.
        outage_seconds: For how long: connections are reset.
        seed: Of the dice.
    """

    latency: float = 0.0
    throttle: float = 0.0
    retry_after: str = "1"
    fail: float = 0.0
    refuse_word: str = ""
    max_tokens: int | None = None
    outage_at: float | None = None
    outage_seconds: float = 10.0
    seed: int = 0
    _began: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._lock = threading.Lock()

    def fault(self, texts: Sequence[str]) -> Fault:
        """What befalls a request with these texts."""
        now = time.monotonic()
        with self._lock:
            self._began = self._began or now
            roll = self._dice.random()
        if self.outage_at is not None:
            away_for = now - self._began - self.outage_at
            if 0 <= away_for < self.outage_seconds:
                return Fault(Kind.RESET)
        if roll < self.throttle:
            return Fault(Kind.THROTTLED, retry_after=self.retry_after)
        if roll < self.throttle + self.fail:
            return Fault(Kind.SERVER_ERROR)
        if self.refuse_word and any(self.refuse_word in text for text in texts):
            return Fault(Kind.REFUSED)
        if self.max_tokens is not None and max(tokens_of(texts)) > self.max_tokens:
            return Fault(Kind.TOO_LONG)
        return ANSWER


def tokens_of(texts: Sequence[str]) -> list[int]:
    """Tokens of each text, as this server counts: one for every four bytes."""
    return HashEmbedder().count_tokens(texts)


class VendorServer(ThreadingHTTPServer):
    """Plays one vendor on a free port of 127.0.0.1.

    Args:
        vendor: Whose protocol.
        dimensions: Length of the vectors where the request does not say.
        chance: What befalls requests for which nothing is planned.
        port: 0: any that is free.
    """

    key = "sk-the-key-of-a-test-0123456789"
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        vendor: Vendor,
        *,
        dimensions: int = 16,
        chance: Chance | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.vendor = vendor
        self.dimensions = dimensions
        self.chance = chance or Chance()
        self.seen = Seen()
        self.closing = threading.Event()
        self._planned: deque[Fault] = deque()
        self._always: Fault | None = None

    @property
    def url(self) -> str:
        """Without a path and without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"

    def plan(self, *faults: Fault) -> None:
        """What happens to the next requests, one each."""
        self._planned.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """What happens to all requests for which nothing is planned; None: chance again."""
        self._always = fault

    def reset(self) -> None:
        """Forget what is planned and what was seen."""
        self._planned.clear()
        self._always = None
        self.seen = Seen()

    @property
    def received(self) -> list[list[str]]:
        """The texts of each request so far."""
        return [request.texts for request in self.seen.requests]

    def next_fault(self, asked: Asked) -> Fault:
        try:
            return self._planned.popleft()
        except IndexError:
            return self._always or self.chance.fault(asked.texts)

    def vectors(self, texts: Sequence[str], dimensions: int | None = None) -> Vectors:
        """What this server answers for these texts, float32."""
        return HashEmbedder(dimensions or self.dimensions).embed(texts)

    def server_close(self) -> None:
        self.closing.set()
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that gave up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: VendorServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet: no delay between them

    def do_GET(self) -> None:
        if self.path == "/_seen":
            self._reply(Reply(200, self.server.seen.statistics()))
        elif self.path == "/_requests":
            self._reply(Reply(200, self.server.seen.log()))
        else:
            self._reply(Reply(404, {"error": {"message": f"Invalid URL (GET {self.path})"}}))

    def do_POST(self) -> None:
        server = self.server
        at = server.seen.begin()
        due = time.monotonic() + server.chance.latency
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.loads(self.rfile.read(int(headers.get("content-length", 0))))
        asked = server.vendor.asked(self.path, headers, body)
        if asked is None:
            server.seen.end(at, self.path, headers, Asked([]), 0, Kind.UNKNOWN_MODEL)
            self._reply(Reply(404, {"error": {"message": f"Invalid URL (POST {self.path})"}}))
            return
        fault = server.next_fault(asked)
        tokens = sum(tokens_of(asked.texts))
        is_answered = fault.kind is not Kind.RESET and fault.kind not in SPOKEN
        answer = self._answer(fault, asked, tokens) if is_answered else None
        server.closing.wait(max(0.0, due - time.monotonic()))  # making the answer is part of it
        server.seen.end(at, self.path, headers, asked, tokens, fault.kind)
        self._meet(fault, asked, answer)

    def _meet(self, fault: Fault, asked: Asked, answer: Reply | None) -> None:
        headers = dict(fault.headers)
        if fault.retry_after:
            headers["Retry-After"] = fault.retry_after
        if fault.kind is Kind.RESET:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            socket.close(self.connection.detach())  # at once: no FIN goes before the RST
            self.close_connection = True
        elif answer is None:
            self._reply(self.server.vendor.refusal(asked, fault.kind), headers)
        else:
            if fault.kind is Kind.SLOW:
                self.server.closing.wait(fault.seconds)
            self._reply(answer, headers, half=fault.kind is Kind.HALF)

    def _answer(self, fault: Fault, asked: Asked, tokens: int) -> Reply:
        dimensions = asked.dimensions or self.server.dimensions
        if fault.kind is Kind.WRONG_DIMENSIONS:
            dimensions += 1
        vectors = self.server.vectors(asked.texts, dimensions)
        order = list(range(len(asked.texts)))
        if fault.kind is Kind.FEWER:
            vectors, order = vectors[:-1], order[:-1]
        elif fault.kind is Kind.OUT_OF_ORDER:
            vectors, order = vectors[::-1], order[::-1]
        elif fault.kind is Kind.NOT_A_NUMBER:
            vectors[-1, -1] = np.nan
        return self.server.vendor.answer(asked, vectors, order, tokens)

    def _reply(
        self, reply: Reply, headers: Mapping[str, str] | None = None, *, half: bool = False
    ) -> None:
        body = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.close_connection = self.close_connection or half

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(
    vendor: Vendor, *, dimensions: int = 16, chance: Chance | None = None
) -> Iterator[VendorServer]:
    """A server that serves on a thread while the block runs."""
    with VendorServer(vendor, dimensions=dimensions, chance=chance) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process is ended; the first line printed is the URL."""
    parser = argparse.ArgumentParser(prog="python -m tests.vendors.server", description=__doc__)
    parser.add_argument("--vendor", choices=sorted(VENDORS), default="openai")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dimensions", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--throttle", type=float, default=0.0, help="share of 429")
    parser.add_argument("--retry-after", default="1", help="what a 429 says; empty: nothing")
    parser.add_argument("--fail", type=float, default=0.0, help="share of 500")
    parser.add_argument("--refuse-word", default="", help="texts with it are refused")
    parser.add_argument("--outage-at", type=float, help="seconds after the first request")
    parser.add_argument("--outage-seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args(arguments))
    server = VendorServer(
        VENDORS[options.pop("vendor")](),
        dimensions=options.pop("dimensions"),
        port=options.pop("port"),
        chance=Chance(**options),
    )
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    with server:
        server.serve_forever()


if __name__ == "__main__":
    main()
