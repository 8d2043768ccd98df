"""The disk image out of a tarball: one file, whatever its name is today."""

from __future__ import annotations

import fnmatch
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from harness.disk.copy import sparse_write
from harness.errors import InfraError, UsageError
from harness.images.meter import Meter

_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError)


def unpack_image(tarball: Path, pattern: str, target: Path, meter: Meter) -> str:
    """Write the one file of the tarball whose name fits `pattern` to `target`; its name.

    Holes stay holes, those that tar recorded and other zeros.  No other member is written anywhere.
    Raises `UsageError` when none fits, or more than one, `InfraError` for a tarball that is damaged
    or has a member whose path leads out of it; `OSError` when the disk is full.
    """
    found, others = "", []
    try:
        with tarfile.open(tarball, "r|*") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise InfraError(
                        f"{tarball.name} has a path that leads out of it: {member.name}",
                        hint="an image for people has none: check where it comes from",
                    )
                if not member.isreg() or not fnmatch.fnmatch(path.name, pattern):
                    others.append(member.name)
                elif found:
                    raise UsageError(
                        f"{tarball.name} has more than one {pattern}: {found}, {member.name}",
                        hint="name one of them in download.member of the recipe",
                    )
                else:
                    found = member.name
                    _write(archive, member, target, meter)
    except _DAMAGE as exc:
        raise InfraError(
            f"{tarball} can't be unpacked: {exc or type(exc).__name__}",
            hint="is it a tarball (.tar, .tar.gz, .tar.xz)?  See download.path in the recipe",
        ) from exc
    if not found:
        raise UsageError(
            f"{tarball.name} has no {pattern}, only: {', '.join(others) or 'nothing'}",
            hint="mend download.member in the recipe",
        )
    return PurePosixPath(found).name


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, meter: Meter) -> None:
    reader = archive.extractfile(member)
    assert reader is not None  # a regular file has content
    with reader, meter(PurePosixPath(member.name).name, member.size) as advance:
        size = sparse_write(reader, target, advance)
    if size != member.size:
        raise InfraError(f"{member.name} ends after {size} of {member.size} bytes")
