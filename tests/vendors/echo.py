"""A server that answers every request with an error, and repeats all it was sent: what a
provider does on its worst day, whichever it is."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote

REPEATED = 100
"""Characters of a text that are repeated."""


class EchoServer(ThreadingHTTPServer):
    """On a free port of 127.0.0.1.

    Attributes:
        status: What every request is answered with.
        otherwise: Who answers instead; None: nobody.
        headers: Of the last request, names in lower case.
        paths: Of all requests.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 500
        self.otherwise: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Whoever does not like our certificate hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server: EchoServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        if self.server.otherwise is not None:
            self.server.otherwise(self)
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.server.headers = sent
        self.server.paths.append(self.path)
        said = " ".join(_words(sent, self.server.place, self.path, body))
        self._say(said, sent)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _say(self, said: str, sent: dict[str, str]) -> None:
        # In the shapes of all vendors at once, and of Qdrant.
        error = {"message": said, "code": self.server.status, "status": "INVALID_ARGUMENT"}
        body = {"error": error, "message": said, "detail": said, "status": {"error": said}}
        document = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.send_header("Retry-After", "3600")
        self.send_header("X-Amzn-ErrorType", "ValidationException")
        for name in ("authorization", "api-key", "x-goog-api-key"):
            if name in sent:
                self.send_header(f"X-You-Sent-{name}", sent[name])
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _words(sent: dict[str, str], place: str, path: str, body: bytes) -> Iterator[str]:
    """Whatever was sent, as unkindly as can be."""
    for name in ("authorization", "api-key", "x-goog-api-key", "x-amz-security-token"):
        if name not in sent:
            continue
        yield f"{name}: {sent[name]};"
        key = sent[name].split()[-1]
        yield from (key, quote(key, safe=""), json.dumps(key), repr(key.encode()))
        yield base64.b64encode(key.encode()).decode()
        if sent[name].startswith("Basic "):
            login = base64.b64decode(key).decode()
            user, _, password = login.partition(":")
            yield from (login, password, quote(password, safe=""), json.dumps(login))
            yield f"http://{quote(user, safe='')}:{quote(password, safe='')}@{place}{path}"
    text = max(_strings(json.loads(body or "{}")), key=len, default="")[:REPEATED]
    yield from (text, json.dumps(text), repr(text))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


@contextmanager
def echoing(certificate: Path | None = None) -> Iterator[EchoServer]:
    """Serves on a thread while the block runs.

    Args:
        certificate: Speak TLS with it.
    """
    with EchoServer() as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def write_certificate(directory: Path) -> Path:
    """A certificate of 127.0.0.1, with its key, that nobody trusts unless told to."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now, host = datetime.now(UTC), IPv4Address("127.0.0.1")
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "nobody.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
