"""A small web server of the test's own: redirects, ranges, and the ways in which one can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has and how it behaves; may be changed while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    #: for each path, after how many bytes the next answers break off; None: not at all
    cuts: dict[str, list[int | None]] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)  #: path to how often it says 503
    stalls: dict[str, int] = field(default_factory=dict)  #: path to bytes before it falls silent
    ranges: bool = True  #: whether it knows about Range
    if_range: bool = True  #: whether it heeds If-Range
    lengths: bool = True  #: whether it says how long a file is
    on_cut: dict[str, bytes] = field(default_factory=dict)  #: new content after the first cut
    log: list[tuple[str, str]] = field(default_factory=list)  #: path and Range of each request
    port: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def etag(self, path: str) -> str:
        return self.etags.get(path, f'"{hash(self.files[path])}"')


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        site, path = self.site, self.path
        wanted = self.headers.get("Range", "")
        site.log.append((path, wanted))
        if path in site.redirects:
            self._answer(302, b"", Location=site.redirects[path])
        elif site.busy.get(path, 0):
            site.busy[path] -= 1
            self._answer(503, b"")
        elif path not in site.files:
            self._answer(404, b"nothing here")
        else:
            self._file(path, wanted)

    def _file(self, path: str, wanted: str) -> None:
        site, data, etag = self.site, self.site.files[path], self.site.etag(self.path)
        same = not site.if_range or self.headers.get("If-Range", etag) == etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if not (wanted and site.ranges and same):
            self._answer(200, data, ETag=etag)
        elif start >= len(data):
            self._answer(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
        else:
            where = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._answer(206, data[start:], ETag=etag, **{"Content-Range": where})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.site.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.path in self.site.stalls and status in (200, 206):
            self.wfile.write(body[: self.site.stalls.pop(self.path)])
            self.wfile.flush()
            self.site.closed.wait(60)
            return
        cuts = self.site.cuts.get(self.path, [])
        cut = cuts.pop(0) if cuts and status in (200, 206) else None
        self.wfile.write(body[:cut])
        if cut is not None and self.path in self.site.on_cut:
            self.site.files[self.path] = self.site.on_cut.pop(self.path)
        self.close_connection = True


@contextmanager
def serving() -> Iterator[Site]:
    """A server in a thread of its own, for the length of the block."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.closed.set()
            server.shutdown()
            thread.join()
