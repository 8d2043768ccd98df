"""A root disk with other files in it: a copy, changed by debugfs, made just before the start."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InfraError
from harness.machine.spec import Replica
from harness.process import run

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

    debugfs ends with 0 whatever happened, so its words decide; what it wrote is read back.
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
    run(["debugfs", "-w", "-f", "-", str(image)], stdin=script, timeout=_SECONDS)
    back = run(["debugfs", "-R", f'stat "{path}"', str(image)], timeout=_SECONDS)
    if f"Size: {file.stat().st_size}" not in back.stdout:
        raise InfraError(
            f"{file} could not be put into {image} as {path}\n{back.output}",
            hint="has the root image room for it, and is it an unpartitioned ext2?",
        )
