"""A local server with the Hugging Face hub's endpoints, for one model."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY, BRANCH, COMMIT = "owner/model", "main", "0123456789abcdef" * 2 + "01234567"
ENTRIES_A_PAGE = 7
LARGE = ".safetensors"
"""The hub lists these files with their SHA-256, and others with their git blob hash."""


class Hub(ThreadingHTTPServer):
    """Serves `files`. Tests set its attributes to inject faults.

    Attributes:
        files: contents by path.
        asked: path and range of every request, in order.
        lies: for a path, the content to send instead of the listed one.
        cuts: for a path, the bytes after which to close the connection, once.
        stalls: for a path, the bytes after which to wait for `go_on`.
        go_on: see `stalls`.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked: list[str] = []
        self.lies: dict[str, bytes] = {}
        self.cuts: dict[str, int] = {}
        self.stalls: dict[str, int] = {}
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def entries(self) -> list[dict[str, Any]]:
        """The list of files in the hub's format."""
        return [_entry(path, content) for path, content in self.files.items()]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub that serves while the context is open."""
    hub = Hub(files)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        hub.shutdown()
        thread.join()
        hub.server_close()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": git}
    if path.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        address = urlsplit(self.path)
        wanted = self.headers.get("range", "")
        self.server.asked.append(f"{address.path} {wanted}".strip())
        api = f"/api/models/{REPOSITORY}"
        content = f"/{REPOSITORY}/resolve/{COMMIT}/"
        if address.path in (f"{api}/revision/{BRANCH}", f"{api}/revision/{COMMIT}"):
            self._json({"id": REPOSITORY, "sha": COMMIT})
        elif address.path == f"{api}/tree/{COMMIT}":
            self._page(int(parse_qs(address.query).get("from", ["0"])[0]))
        elif (path := unquote(address.path.removeprefix(content))) in self.server.files:
            start, _, last = wanted.removeprefix("bytes=").partition("-")
            self._file(path, int(start or 0), int(last) + 1 if last else None)
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _page(self, start: int) -> None:
        entries, end = self.server.entries(), start + ENTRIES_A_PAGE
        following = f'<{self.server.url}{urlsplit(self.path).path}?from={end}>; rel="next"'
        headers = {"Link": following} if end < len(entries) else {}
        folders = [{"type": "directory", "path": "unet", "oid": "0" * 40}] if start == 0 else []
        self._json([*folders, *entries[start:end]], headers=headers)

    def _file(self, path: str, start: int, end: int | None) -> None:
        whole = self.server.lies.get(path, self.server.files[path])
        rest = whole[start:end]
        partial = start > 0 or end is not None
        self.send_response(206 if partial else 200)
        if partial:
            last = start + len(rest) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(whole)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if (cut := self.server.cuts.pop(path, None)) is not None:
            self.wfile.write(rest[:cut])
            self.close_connection = True
            return
        stall = self.server.stalls.get(path, 0)
        try:
            self.wfile.write(rest[:stall])
            if stall:
                self.server.go_on.wait()
            self.wfile.write(rest[stall:])
        except OSError:
            self.close_connection = True  # the client disconnected

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Do not log requests."""
