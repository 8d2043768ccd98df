"""Small file systems for the tests, with defects made by debugfs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.images.recipe import GuestOs, Variant
from harness.oracles.selfcheck import debugfs
from harness.rundir import scratch_base
from harness.workloads.scenario import Disk

SIZE = 16 << 20  # bytes

_FOLDER = tempfile.TemporaryDirectory(prefix="hurdle-images-")


def make(path: Path, fs: str = "ext3", *commands: str, os: GuestOs = GuestOs.HURD) -> Path:
    """A file system with /home, /home/dir, /home/file (two blocks) and /link, then `commands`.

    The inodes are 12 to 15, in this order.
    """
    sparse_copy(_made(fs, os), path)
    if commands:
        said = debugfs(path, *commands)
        assert "not found" not in said and "Usage" not in said, said
    return path


@lru_cache
def _made(fs: str, os: GuestOs) -> Path:
    path = Path(_FOLDER.name) / f"{fs}-{os}.raw"
    journal = 1024 if fs != "ext2" else None
    ext2.mkfs(path, Disk(size=SIZE, journal_blocks=journal), Variant(fs=fs), os)
    content = path.with_suffix(".content")
    content.write_bytes(b"x" * 5000)
    said = debugfs(
        path,
        "mkdir home",
        "mkdir home/dir",
        f"write {content.name} home/file",
        "symlink link home/file",
    )
    assert "not found" not in said and "Usage" not in said, said
    return path


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for images: e2fsck and debugfs sync what they write, which takes a disk its time."""
    base = scratch_base()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="test-", dir=base) as name:
        yield Path(name)


def not_clean(path: Path) -> Path:
    """As after a kill without a journal: e2fsck -p checks everything."""
    debugfs(path, "ssv state 0")
    return path
