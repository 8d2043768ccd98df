"""A root disk with other files in it: a copy, changed by debugfs, made just before the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.disk.debugfs import Files, Stat
from harness.disk.partitions import find_file_system
from harness.errors import InfraError
from harness.machine.spec import Replica
from harness.process import run

_SECONDS = 120.0
_PROGRAM = Stat("regular", 0o755, 0, 0)


def make_replica(replica: Replica, target: Path) -> None:
    """Copy the source to `target` (holes stay holes) and put the files into it.

    A file that the root has already is replaced with the same path's new content, mode 0755, owner
    root.  The root may be a partition, the only one with an ext file system.  Raises `InfraError`
    when the source is missing or its file system takes no more.
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
    put_files(replica.inject, target)


def put_files(inject: Sequence[tuple[Path, str]], target: Path) -> None:
    """Put host files into a root disk under their paths there, as `make_replica` does."""
    if not inject:
        return
    files = Files.of(target, find_file_system(target))
    for file, path in inject:
        if not file.is_file():
            raise InfraError(f"{file} is missing: it was to be put into the guest as {path}")
        try:
            files.write(path, file.read_bytes(), _PROGRAM)
        except InfraError as exc:
            raise InfraError(
                f"{file} could not be put into {target} as {path}\n{exc}",
                hint="has the root image room for it, and the folder?",
            ) from exc
