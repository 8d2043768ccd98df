"""A large file over HTTP, resumed where it broke off, and known by its checksum.

Two files lie beside the target while it is on the way: `.part`, and `.origin` with the validator by
which a server tells whether it still has the same file (RFC 9110, 13.1.5: If-Range).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.disk.copy import free_bytes
from harness.errors import InfraError, UsageError
from harness.images.cache import Progress
from harness.images.meter import Meter
from harness.images.preinstalled.spec import Checksum
from harness.locked import locked

_TRIES = 5  # connections in a row that brought nothing
_TIMEOUT = httpx.Timeout(60.0, connect=20.0)  # s without a byte
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})  # a server that may do better next time

Pause = Callable[[float], None]


class _Broken(Exception):
    """The connection ended early, or the server asks to come again."""


class _Other(Exception):
    """What the server has now can't follow what is here: begin anew."""


@contextmanager
def client() -> Iterator[httpx.Client]:
    """An HTTP client that follows redirects; proxies are those of the environment."""
    # identity: a .tar.gz must arrive as it is.
    headers = {"Accept-Encoding": "identity", "User-Agent": "hurdle"}
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=headers) as made:
        yield made


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: from where, to where, and what it has to be."""

    url: str
    target: Path
    checksum: Checksum

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def origin(self) -> Path:
        return self.target.with_name(f"{self.target.name}.origin")

    def forget(self) -> None:
        """Drop what has come so far."""
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)


def download(wanted: Wanted, say: Progress, meter: Meter, pause: Pause = time.sleep) -> None:
    """Bring the file to its target and verify it; one that is there and right is left alone.

    Raises `InfraError`: no connection (what has come is kept, and the next call goes on), no room,
    or a file that is not the one of the checksum; `UsageError` when the server has no such file;
    `OSError` when the disk fills up all the same.
    """
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
    lock = wanted.target.with_name(f"{wanted.target.name}.lock")
    with locked(lock, f"another hurdle fetches {wanted.target.name}", say):
        if wanted.target.exists() and _verify(wanted.target, wanted, say) is None:
            return
        wanted.target.unlink(missing_ok=True)
        found, pieced = _fetch_and_verify(wanted, say, meter, pause)
        if found and pieced:
            # Parts of two files, perhaps: one that comes in one piece is worth a try.
            say(f"{wanted.target.name} is not what is pinned; fetching it again as a whole")
            found, _ = _fetch_and_verify(wanted, say, meter, pause)
        if found:
            raise InfraError(
                f"{wanted.url} is not the file that is pinned: its checksum is {found}, "
                f"wanted is {wanted.checksum}",
                hint="if the server has a newer one under this name, `hurdle image pin NAME` "
                "takes that; else try another mirror: --mirror URL",
            )


def _fetch_and_verify(
    wanted: Wanted, say: Progress, meter: Meter, pause: Pause
) -> tuple[Checksum | None, bool]:
    """Fetch to the target.

    The checksum that was found if it is a wrong one (the file is gone then), and whether the file
    was put together from several answers.
    """
    pieced = _fetch(wanted, say, meter, pause)
    found = _verify(wanted.part, wanted, say)
    if found is None:
        wanted.part.replace(wanted.target)
    wanted.forget()
    return found, pieced


def _verify(path: Path, wanted: Wanted, say: Progress) -> Checksum | None:
    say(f"verifying {wanted.target.name}")
    found = wanted.checksum.of(path)
    return None if found == wanted.checksum else found


def _fetch(wanted: Wanted, say: Progress, meter: Meter, pause: Pause) -> bool:
    """Bring the part to its full length; whether that took more than one answer."""
    failures = 0
    with client() as http:
        while True:
            before = _length(wanted.part)
            try:
                return _connection(http, wanted, say, meter)
            except _Other as exc:
                say(f"{exc}; beginning anew")
                wanted.forget()
                failures += 1
                trouble: Exception = exc
            except (_Broken, httpx.TransportError) as exc:
                failures = 1 if _length(wanted.part) > before else failures + 1
                trouble = exc
            if failures >= _TRIES:
                raise InfraError(
                    f"can't fetch {wanted.url}: {trouble or type(trouble).__name__}",
                    hint="check the network, or try another mirror: --mirror URL.  The same "
                    f"command goes on from the {_length(wanted.part) >> 20} MiB that are here",
                ) from trouble
            say(f"the connection broke ({trouble}); going on at {_length(wanted.part) >> 20} MiB")
            pause(0.5 * 2**failures)


def _connection(http: httpx.Client, wanted: Wanted, say: Progress, meter: Meter) -> bool:
    """One request, written to the part until it ends; whether it added to an earlier one."""
    have = _length(wanted.part)
    with http.stream("GET", wanted.url, headers=_resume_headers(wanted, have)) as answer:
        start = _continued_at(answer, wanted, have)
        if start is None:
            return True
        have = start
        total = _total(answer, have)
        if not have:
            wanted.origin.write_text(_validator(answer))
            size = f" ({total >> 20} MiB)" if total else ""
            say(f"fetching {answer.url}{size}")
        _need_room(wanted, total, have)
        with (
            meter(wanted.target.name, total) as advance,
            wanted.part.open("ab") as part,
        ):
            part.truncate(have)
            # As they come: a chunker would lose what it holds when the connection breaks.
            for piece in answer.iter_raw():
                part.write(piece)
                have += len(piece)
                advance(have)
        if total is not None and have < total:
            raise _Broken(f"only {have} of {total} bytes came")
    return start > 0


def _resume_headers(wanted: Wanted, have: int) -> dict[str, str]:
    if not have:
        return {}
    origin = wanted.origin.read_text() if wanted.origin.exists() else ""
    # Without a validator the checksum alone tells whether the pieces fit.
    return {"Range": f"bytes={have}-", **({"If-Range": origin} if origin else {})}


def _continued_at(answer: httpx.Response, wanted: Wanted, have: int) -> int | None:
    """The offset at which the answer's bytes belong; None if there is nothing left to fetch."""
    if answer.status_code == 206:
        start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        known = wanted.origin.read_text() if wanted.origin.exists() else ""
        now = _validator(answer)
        if start != str(have) or (known and now and known != now):
            raise _Other("the server now has another file")
        return have
    if answer.status_code == 416:
        if answer.headers.get("Content-Range") == f"bytes */{have}":
            return None
        raise _Other("the server now has a shorter file")
    if answer.status_code in _AGAIN:
        raise _Broken(f"the server says {answer.status_code} {answer.reason_phrase}")
    if answer.status_code != 200:
        raise refused(answer)
    return 0


def refused(answer: httpx.Response) -> UsageError:
    """An error for an answer that no second try will change."""
    folder = str(answer.url).rpartition("/")[0] + "/"
    return UsageError(
        f"{answer.url}: the server says {answer.status_code} {answer.reason_phrase}",
        hint=f"see what {folder} has, then mend download.path in the recipe; or try another "
        "mirror: --mirror URL",
    )


def _validator(answer: httpx.Response) -> str:
    """What If-Range takes: a strong ETag, else the date; empty if there is neither."""
    etag: str = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    date: str = answer.headers.get("Last-Modified", "")
    return date


def _total(answer: httpx.Response, have: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _need_room(wanted: Wanted, total: int | None, have: int) -> None:
    free = free_bytes(wanted.target.parent)
    if total is not None and free < total - have:
        raise InfraError(
            f"{wanted.target.parent} has {free >> 20} MiB free, the rest of "
            f"{wanted.target.name} is {(total - have) >> 20} MiB",
            hint="free some space there (hurdle image prune), or set HURDLE_CACHE to another "
            "folder",
        )
