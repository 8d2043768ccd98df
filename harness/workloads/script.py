"""Real work in the guest's shell: commands, and what the guest itself says is there after each.

No model knows what `tar` or a makefile does.  So after each command the guest lists its own tree,
with a digest of each file, and then syncs: what it listed is what the sync acknowledged.
Pure: commands and what they print, as text.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import GuestError

#: prints each object with mode, owner, size, and then each file's digest; runs in the root of the
#: crashed file system, with busybox and with coreutils and findutils
LISTING = (
    "find . -path ./lost+found -prune -o -exec stat -c '%f %u %g %s %n' {} + && echo = && "
    "find . -path ./lost+found -prune -o -type f -exec md5sum {} +"
)
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "regular", stat.S_IFLNK: "symlink"}


@dataclass(frozen=True)
class Listed:
    """An object as the guest sees it; `size` and `digest` (MD5) are those of a regular file."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    digest: str = ""

    def __str__(self) -> str:
        text = f"{self.kind} {self.mode:04o} {self.uid}:{self.gid}"
        return f"{text}, {self.size} bytes, MD5 {self.digest}" if self.digest else text


def parse_listing(text: str) -> dict[str, Listed]:
    """What `LISTING` printed, by path; the root's is empty.  Raises `GuestError`."""
    objects, equals, digests = text.partition("\n=\n")
    try:
        if not equals:
            raise ValueError("it was cut off")
        by_path = {}
        for line in digests.splitlines():
            digest, _, path = line.partition("  ")
            by_path[_plain(path)] = digest
        found = {}
        for line in objects.splitlines():
            raw, uid, gid, size, path = line.split(" ", 4)
            mode, path = int(raw, 16), _plain(path)
            kind = _KINDS.get(stat.S_IFMT(mode), "other")
            more = (int(size), by_path[path]) if kind == "regular" else (0, "")
            found[path] = Listed(kind, stat.S_IMODE(mode), int(uid), int(gid), *more)
        return found
    except (ValueError, KeyError) as exc:
        raise GuestError(
            f"the guest's list of its files can't be read: {exc}",
            hint=f"it began with {text[:200]!r}",
        ) from exc


def _plain(path: str) -> str:
    """`./a/b` as `a/b`, and the root as nothing."""
    return "" if path == "." else path.removeprefix("./")


def kept(before: Mapping[str, Listed], after: Mapping[str, Listed]) -> dict[str, Listed]:
    """What a command left alone: the same in both listings."""
    return {path: each for path, each in before.items() if after.get(path) == each}
