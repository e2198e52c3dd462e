"""A small Hugging Face Hub on 127.0.0.1: it serves models and data sets from folders, and takes pushes.

The real client libraries talk to it over real HTTP, so that a test proves the loading and publishing code as it stands.
They read `HF_ENDPOINT` when they are imported: use it from a subprocess, with the environment that the hub gives.

    with LoopbackHub(datasets={"me/pairs": folder}, storage=tmp_path / "hub") as hub:
        subprocess.run([sys.executable, "script.py"], env=hub.environment(tmp_path / "home"), check=True)
        assert ("GET", "/datasets/me/pairs/resolve/main/README.md", 200) in hub.requests

It answers what huggingface_hub 2.4, datasets 5.2 and transformers 5.23 ask when they load and push, and no more: no
Xet, no listing in pages; a pull request is one commit and stays open. Anything else is answered with 404 and shows in
`requests`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_answers import TOKEN, USER, Reply, Request, answer
from loopback_repos import Refused, Store

__all__ = ["SILENCE", "TOKEN", "USER", "LoopbackHub", "Refused"]

_BODY_LIMIT = 1 << 30  # bytes: far above any model that a test pushes
_PIECE = 1 << 20
SILENCE = 3.0  # seconds
_FOREIGN = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "SENTENCE_TRANSFORMERS_HOME")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@dataclass
class _Fault:
    method: str
    pattern: str
    status: int
    times: int
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "answer"
    skip: int = 0
    done: Callable[[], object] | None = None


class LoopbackHub:
    """Serves folders by Hub id and keeps what is pushed; a context manager.

    Args:
        models: Hub id -> folder with the model's files; read at the first request for it, never written to.
        datasets: Hub id -> folder with the data set's files, likewise.
        storage: folder for the contents of pushed files; their history lives as long as the hub.

    Attributes:
        url: `http://127.0.0.1:PORT`.
        requests: (method, path, status) of every request so far; paths are decoded and come without their query.
        errors: what went wrong inside the hub.

    Leaving the context closes every connection and waits for every thread. It raises RuntimeError if the hub itself
    failed while answering: a bug in here must not look like a Hub that is down.
    """

    def __init__(
        self,
        models: Mapping[str, Path] | None = None,
        datasets: Mapping[str, Path] | None = None,
        *,
        storage: Path,
    ) -> None:
        folders = {("models", name): folder for name, folder in (models or {}).items()}
        folders |= {("datasets", name): folder for name, folder in (datasets or {}).items()}
        self._store = Store(folders, storage)
        self._faults: list[_Fault] = []
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str, int]] = []
        self.url = ""

    def __enter__(self) -> LoopbackHub:
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="loopback-hub")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()
        if self.errors and error is None:
            raise RuntimeError(f"the loopback Hub failed on {len(self.errors)} request(s)") from self.errors[0]

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """The whole environment for a subprocess: this process's, less proxies and Hub settings, pointed at this hub.

        Args:
            home: HF_HOME, where the subprocess keeps its caches.
            more: further variables, such as `HF_HUB_OFFLINE="1"`.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        kept = {name: value for name, value in kept.items() if name.lower() not in _PROXIES}
        ours = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            # datasets looks for a viewer at "datasets-server.127.0.0.1" and goes on without: let no resolver hold it.
            "RES_OPTIONS": "timeout:1 attempts:1",
        }
        return kept | ours | more

    def fail(
        self,
        method: str,
        pattern: str,
        status: int = 500,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        *,
        how: str = "answer",
        skip: int = 0,
    ) -> None:
        """Answer the next `times` requests of that method ("*": any) whose path matches with `status` and `headers`.

        `pattern` is a regular expression, found anywhere in the decoded path. Clients try 429, 500, 502, 503 and 504
        again on many requests, up to five times and ever more slowly (`headers={"Retry-After": "0"}` makes it a second
        each); 403 or 501 fails at once.

        `how`: "answer" does that; "reset" drops the connection before the body is read, "lost" after the request was
        carried out, and "silent" keeps it open for `SILENCE` seconds without a word. They are logged with status 0.
        "echo" answers with `status` and sends the request's own Authorization header back, as a careless proxy does: by
        the status, in a header and in the body.
        `skip` lets so many matching requests pass first.
        """
        re.compile(pattern)
        with self._lock:
            self._faults.append(_Fault(method, pattern, status, times, headers or {}, how, skip))

    def meanwhile(self, method: str, pattern: str, done: Callable[[], object]) -> None:
        """Let something else happen on the Hub just before the next such request is answered, once."""
        with self._lock:
            self._faults.append(_Fault(method, pattern, 0, 1, how="meanwhile", done=done))

    def pulls(self, name: str) -> list[str]:
        """The commits of a model's pull requests."""
        with self._lock:
            return [sha for at, sha in self._store.get("models", name).branches.items() if at.startswith("refs/pr/")]

    def create(self, name: str) -> None:
        """Somebody else's new and empty model repository."""
        with self._lock:
            self._store.create("models", name)

    def put(self, name: str, path: str, content: bytes, *, tag: str | None = None) -> str:
        """Somebody else's commit to a model's main, and a tag of theirs; its hash."""
        line = {"key": "file", "value": {"path": path, "content": base64.b64encode(content).decode()}}
        with self._lock:
            repository = self._store.get("models", name)
            sha = repository.commit("main", [line], self._store.objects).sha
            repository.tags |= {tag: sha} if tag else {}
        return sha

    def due(self, method: str, path: str) -> _Fault | None:
        """The fault that a request meets, counted as met."""
        with self._lock:
            for fault in self._faults:
                if fault.times and fault.method in ("*", method) and re.search(fault.pattern, path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def calm(self) -> None:
        """Forget the faults that nobody met."""
        with self._lock:
            self._faults.clear()

    def read(self, kind: str, name: str, path: str, revision: str = "main") -> bytes:
        """A file's content; `kind` is "models" or "datasets". Raises `Refused` where a client would be answered 404."""
        with self._lock:
            return self._store.get(kind, name).at(revision).blob(path).file.read_bytes()

    def paths(self, kind: str, name: str, revision: str = "main") -> list[str]:
        """The files of a repository, sorted. Raises `Refused` where a client would be answered 404."""
        with self._lock:
            return sorted(self._store.get(kind, name).at(revision).tree)

    def sha(self, kind: str, name: str, revision: str = "main") -> str:
        """The commit that `revision` names. Raises `Refused` where a client would be answered 404."""
        with self._lock:
            return self._store.get(kind, name).at(revision).sha

    def reply_to(self, request: Request, fault: _Fault | None = None) -> Reply:
        """The answer to a request, a fault that was asked for, or 500 (kept for the end) where the hub has a bug."""
        try:
            with self._lock:
                if fault and fault.how == "answer":
                    raise Refused(fault.status, "a fault that the test asked for", headers=fault.headers)
                reply = _echo(request, fault) if fault and fault.how == "echo" else answer(self._store, request)
        except Refused as refused:
            coded = {"X-Error-Code": refused.code} if refused.code else {}
            reply = Reply(refused.status, refused.body, {**coded, **refused.headers})
        except Exception as error:  # noqa: BLE001 - kept, and raised again when the hub is left
            self.errors.append(error)
            reply = Reply(500, {"error": f"the loopback Hub failed: {error!r}"})
        self.requests.append((request.method, request.path, 0 if fault and fault.how == "lost" else reply.status))
        return reply


def _echo(request: Request, fault: _Fault) -> Reply:
    told = f"refused with Authorization: {request.headers.get('authorization', 'none')}"
    return Reply(fault.status, {"error": told}, {"X-Error-Message": told, **fault.headers}, reason=told)


class _Server(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1; knows its open connections, so that closing never waits for a client."""

    daemon_threads = False  # tracked, and joined by server_close
    request_queue_size = 64

    def __init__(self, hub: LoopbackHub) -> None:
        self.hub = hub
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own looks its host name up
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):  # OSError: the client went away or stalled
            self.hub.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    """Reads one request, answers it and closes the connection, so that no thread waits for a second one."""

    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a silent client is waited for
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `requests` is the log, and headers hold tokens."""

    def reply(self) -> None:
        self.close_connection = True
        parts = urlsplit(self.path)
        fault = self.server.hub.due(self.command, unquote(parts.path))
        if fault and fault.done:
            fault.done()
        if fault and fault.how in ("reset", "silent"):
            self.server.hub.requests.append((self.command, unquote(parts.path), 0))
            if fault.how == "silent":
                time.sleep(SILENCE)
            self._drop()
            return
        body = self._body()
        if body is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub = self.server.hub
        reply = hub.reply_to(Request(self.command, parts.path, parse_qs(parts.query), headers, body, hub.url), fault)
        if fault and fault.how == "lost":
            self._drop()
            return
        if reply.file is None:
            text = json.dumps(reply.body).encode()
            self._send(reply, io.BytesIO(text), len(text))
        else:
            with reply.file.open("rb") as stream:
                stream.seek(reply.start)
                self._send(reply, stream, reply.end - reply.start)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = reply

    def _drop(self) -> None:
        """End the connection at once, with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _body(self) -> bytes | None:
        """The request's body; None, and already answered where anyone listens, if it cannot be read."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > _BODY_LIMIT:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = self.rfile.read(int(length))
            return body if len(body) == int(length) else None  # less: the client hung up
        return None

    def _send(self, reply: Reply, stream: BinaryIO, length: int) -> None:
        self.send_response(reply.status, reply.reason)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json" if reply.file is None else "application/octet-stream")
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        while self.command != "HEAD" and length > 0 and (piece := stream.read(min(_PIECE, length))):
            self.wfile.write(piece)
            length -= len(piece)
