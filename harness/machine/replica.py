"""A root disk with other files in it: a copy, changed by debugfs, made just before the start."""

from __future__ import annotations

import filecmp
from pathlib import Path

from harness.errors import InfraError
from harness.machine.spec import Replica
from harness.process import run, tail

_SECONDS = 120.0


def make_replica(replica: Replica, target: Path) -> None:
    """Copy the source to `target` (holes stay holes) and put the files into it.

    A file that the root has already is replaced with the same path's new content, mode 0755, owner
    root.  Raises `InfraError` when the source is missing or its file system takes no more.
    """
    if not replica.source.is_file():
        raise InfraError(
            f"the root image {replica.source} is missing",
            hint="build it, or mend root_image in the recipe",
        )
    run(
        ["cp", "--sparse=always", "--reflink=auto", "--", str(replica.source), str(target)],
        timeout=_SECONDS,
    )
    for file, path in replica.inject:
        _put(target, file, path)


def _put(image: Path, file: Path, path: str) -> None:
    """Write one file into the file system of `image`.

    debugfs ends with 0 even when it runs out of blocks, so what it wrote is read back.
    """
    if not file.is_file():
        raise InfraError(f"{file} is missing: it was to be put into the guest as {path}")
    if any(char in f"{file}{path}" for char in '"\n'):
        raise InfraError(f"debugfs can't name {file} or {path}", hint="use plain file names")
    folder, name = path.rsplit("/", 1)
    script = (
        f'rm "{path}"\ncd "{folder or "/"}"\nwrite "{file}" "{name}"\n'
        f'set_inode_field "{path}" mode 0100755\nset_inode_field "{path}" uid 0\n'
        f'set_inode_field "{path}" gid 0\n'
    )
    done = run(["debugfs", "-w", "-f", "-", str(image)], stdin=script, timeout=_SECONDS)
    back = image.with_name(f"{image.name}.back")
    run(["debugfs", "-R", f'dump "{path}" "{back}"', str(image)], timeout=_SECONDS)
    same = back.exists() and filecmp.cmp(file, back, shallow=False)
    back.unlink(missing_ok=True)
    if not same:
        raise InfraError(
            f"{file} could not be put into {image} as {path}\n{tail(done.stderr)}",
            hint="has the root image room for it, and is it an unpartitioned ext2?",
        )
