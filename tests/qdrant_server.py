"""A stand-in for a Qdrant server, on a loopback port: the client's own local mode does the
work, behind the REST protocol. Qdrant's server is in no wheel. It fails as it is told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic_core import to_jsonable_python
from qdrant_client import QdrantClient, models

Answer = tuple[int, Any]


class QdrantServer:
    """Keeps collections in memory.

    Attributes:
        url: Where it listens.
        requests: ``"PUT /collections/x/points"`` of every request, in order.
        largest: Bytes of the largest request.
        graph: ``m`` of each collection's HNSW graph.
        yellow: How often a collection is still being indexed when asked.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.largest = 0
        self.graph: dict[str, Any] = {}
        self.yellow = 0
        self._local = QdrantClient(":memory:")
        self._lock = threading.Lock()
        self._failures: list[Callable[[BaseHTTPRequestHandler], None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                server.handle(self)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator[QdrantServer]:
        """Listen meanwhile."""
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()
            self._local.close()

    def refuse(self, status: int, error: str = "told so", **headers: str) -> None:
        """Answer the next request with this status."""
        self._failures.append(lambda to: self._send(to, status, {"error": error}, **headers))

    def reset(self) -> None:
        """Reset the connection of the next request in the middle of the answer."""
        self._failures.append(self._reset)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        path = urlsplit(request.path).path
        with self._lock:
            self.requests.append(f"{request.command} {path}")
            self.largest = max(self.largest, len(body))
            if self._failures:
                self._failures.pop(0)(request)
                return
            try:
                status, result = self._answer(request.command, path, json.loads(body or "{}"))
            except ValueError as error:
                missing = "not found" in str(error)
                status, result = (404 if missing else 400), None
                words = "Not found: Collection doesn't exist!" if missing else str(error)
                self._send(request, status, {"error": words})
                return
            self._send(request, status, "ok", result)

    def _answer(self, method: str, path: str, body: Any) -> Answer:
        local = self._local
        parts = [unquote(part) for part in path.split("/")[2:]]
        match method, parts:
            case "POST", ["aliases"]:
                actions = models.ChangeAliasesOperation.model_validate(body).actions
                return 200, local.update_collection_aliases(actions)
            case "GET", []:
                return 200, local.get_aliases()
            case "GET", [name, "exists"]:
                return 200, {"exists": local.collection_exists(name)}
            case "GET", [name]:
                info = local.get_collection(name)
                info.config.hnsw_config.m = self.graph[name]
                if self.yellow:
                    self.yellow -= 1
                    info.status = models.CollectionStatus.YELLOW
                return 200, info
            case "PUT", [name]:
                if local.collection_exists(name):
                    raise ValueError(f"Wrong input: Collection `{name}` already exists!")
                fields = models.CreateCollection.model_validate(body)
                self.graph[name] = fields.hnsw_config and fields.hnsw_config.m
                return 200, local.create_collection(name, fields.vectors)
            case "PATCH", [name]:
                local.get_collection(name)
                change = models.UpdateCollection.model_validate(body)
                self.graph[name] = change.hnsw_config and change.hnsw_config.m
                return 200, True
            case "DELETE", [name]:
                return 200, local.delete_collection(name)
            case "PUT", [name, "index"]:
                local.get_collection(name)
                models.CreateFieldIndex.model_validate(body)
                return 200, self._done()
            case "PUT", [name, "points"]:
                return 200, local.upsert(name, models.Batch.model_validate(body["batch"]))
            case "POST", [name, "points"]:
                asked = models.PointRequest.model_validate(body)
                return 200, local.retrieve(name, asked.ids, with_vectors=bool(asked.with_vector))
            case "POST", [name, "points", "delete"]:
                return 200, local.delete(name, models.FilterSelector.model_validate(body))
            case "POST", [name, "points", "batch"]:
                local.get_collection(name)
                done = models.UpdateOperations.model_validate(body).operations
                return 200, local.batch_update_points(name, done)
            case "POST", [name, "points", "count"]:
                return 200, local.count(name, exact=True)
            case "POST", [name, "points", "scroll"]:
                page = models.ScrollRequest.model_validate(body)
                points, after = local.scroll(
                    name,
                    page.filter,
                    limit=page.limit or 10,
                    offset=page.offset,
                    with_payload=page.with_payload or False,
                    with_vectors=page.with_vector or False,
                )
                return 200, {"points": points, "next_page_offset": after}
            case "POST", [name, "points", "query"]:
                query = models.QueryRequest.model_validate(body)
                return 200, local.query_points(
                    name, query.query, query_filter=query.filter, limit=query.limit or 10
                )
        raise ValueError(f"no answer to {method} {path}")

    @staticmethod
    def _done() -> models.UpdateResult:
        return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)

    @staticmethod
    def _send(
        request: BaseHTTPRequestHandler, status: int, said: Any, result: Any = None, **headers: str
    ) -> None:
        answer = {"result": result, "status": said, "time": 0.001}
        document = json.dumps(to_jsonable_python(answer)).encode()
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(document)))
        request.end_headers()
        request.wfile.write(document)

    @staticmethod
    def _reset(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"result":')
        request.wfile.flush()
        linger = struct.pack("ii", 1, 0)  # closing sends RST
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.close_connection = True
