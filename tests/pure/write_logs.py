"""Write logs made by hand, for the tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.crash.writelog import DISCARD, FLUSH, HEADER, MAGIC, SUPERBLOCK


@dataclass(frozen=True)
class Item:
    """What to log: a write has data, a discard a number of sectors."""

    sector: int = 0
    data: bytes = b""
    flags: int = 0
    sectors: int = 0


def flush() -> Item:
    return Item(flags=FLUSH)


def discard(sector: int, sectors: int) -> Item:
    return Item(sector, flags=DISCARD, sectors=sectors)


def log_bytes(items: Iterable[Item], sector_size: int = 512, *, superblock: bool = True) -> bytes:
    """A log as dm-log-writes lays it out."""
    parts, count = [], 0
    for item in items:
        sectors = item.sectors or len(item.data) // sector_size
        header = HEADER.pack(item.sector, sectors, item.flags, 0)
        parts.append(header.ljust(sector_size, b"\0") + item.data)
        count += 1
    first = SUPERBLOCK.pack(MAGIC, 1, count, sector_size) if superblock else b""
    return first.ljust(sector_size, b"\0") + b"".join(parts)


def write_log(path: Path, items: Iterable[Item], sector_size: int = 512) -> Path:
    path.write_bytes(log_bytes(items, sector_size))
    return path
