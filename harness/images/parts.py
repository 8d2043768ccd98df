"""What the cache keeps beside images, to be seen and freed: all of it comes back by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import InfraError
from harness.images.cache import Cache, size_of
from harness.images.source.workshop import discard


class Part(StrEnum):
    """A part of the cache, by the name of its folder."""

    DOWNLOADS = "downloads"
    STATES = "states"
    VARIANTS = "variants"
    SOURCE = "source"


@dataclass(frozen=True)
class _About:
    holds: str
    again: str  #: what it costs to have it again
    locks: tuple[str, ...] = ()  #: held by whoever works in it; in the part's folder


ABOUT: Mapping[Part, _About] = {
    Part.DOWNLOADS: _About("fetched disk images", "a build fetches them again"),
    Part.STATES: _About("saved machine states", "the next run of a guest boots it once"),
    Part.VARIANTS: _About(
        "trees and builds of variants",
        "a variant is compiled anew, in a minute or two",
        ("lock", "lock.variants"),
    ),
    Part.SOURCE: _About(
        "packages, repositories and stages of guests from source",
        "the next build begins with nothing, and needs the network",
        ("lock",),
    ),
}


def sizes(cache: Cache) -> dict[Part, int]:
    """Bytes on disk of each part that is there."""
    return {part: size_of(cache.folder / part) for part in Part if (cache.folder / part).is_dir()}


def free(part: Part, cache: Cache, *, dry_run: bool = False) -> int:
    """Remove a part of the cache; its bytes.  `InfraError` while another hurdle works in it."""
    folder = cache.folder / part
    total = size_of(folder)
    if dry_run or not folder.is_dir():
        return total
    locks = [FileLock(folder / name, timeout=0) for name in ABOUT[part].locks]
    try:
        for lock in locks:
            lock.acquire()
        _empty(folder, {Path(lock.lock_file) for lock in locks})
    except Timeout as exc:
        raise InfraError(
            f"another hurdle works in {folder}", hint="wait for its end, and try again"
        ) from exc
    finally:
        for lock in locks:
            lock.release()
    return total


def _empty(folder: Path, keep: set[Path]) -> None:
    """Remove all but the lock files: a lock on a file without a name holds nobody back."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            discard(each)
        elif each not in keep:
            each.unlink()
