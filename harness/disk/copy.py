"""Copies of disk images that keep their holes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.errors import InfraError

_CHUNK = 256 << 10  # bytes; also the grain at which zeros become holes
_ZEROS = bytes(_CHUNK)


def sparse_copy(source: Path, target: Path) -> None:
    """Copy `source` over `target`; only its data is read and written, its holes stay holes.

    A 64 MiB file system with 1 MiB of data takes about a millisecond in memory.
    Raises `InfraError` when the disk is full or `source` can't be read; `target` may then be cut
    short.
    """
    with host_errors(target), source.open("rb") as reader, target.open("wb") as writer:
        size = os.lseek(reader.fileno(), 0, os.SEEK_END)  # of a device, too
        os.ftruncate(writer.fileno(), size)
        copy_range(reader.fileno(), writer.fileno(), 0, size, 0)


@contextmanager
def host_errors(path: Path) -> Iterator[None]:
    """Within the block, a failure to read or write `path` is an `InfraError` with a cure."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InfraError(
                f"the disk is full: writing {path}",
                hint=f"free some space below {path.parent}, or set HURDLE_SCRATCH to a folder on a "
                "larger disk",
            ) from exc
        raise InfraError(
            f"{exc.filename or path}: {exc.strerror or exc}", hint="check path and rights"
        ) from exc


def copy_range(source: int, target: int, begin: int, end: int, at: int) -> None:
    """Copy the bytes from `begin` to `end` to the offset `at` of the open file `target`.

    Zeros are not written: what they go to must be a hole.
    """
    for first, last in data_ranges(source, begin, end):
        _copy_piece(source, target, first, last, at - begin)


def data_ranges(fd: int, position: int, size: int) -> list[tuple[int, int]]:
    """Where between `position` and `size` a file has data."""
    ranges = []
    while position < size:
        try:
            begin = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # only a hole is left
                break
            if exc.errno == errno.EINVAL:  # a file system that can't tell: all is data
                return [(position, size)]
            raise
        position = os.lseek(fd, begin, os.SEEK_HOLE)
        if begin < size:
            ranges.append((begin, min(position, size)))
    return ranges


def _copy_piece(source: int, target: int, begin: int, end: int, shift: int) -> None:
    while begin < end:
        chunk = os.pread(source, min(_CHUNK, end - begin), begin)
        if not chunk:  # the file shrank meanwhile; what is missing reads as zeros
            return
        # Devices and FUSE files can't tell their holes, so zeros are looked for.
        if chunk != _ZEROS[: len(chunk)]:
            written = 0
            while written < len(chunk):
                written += os.pwrite(target, chunk[written:], begin + shift + written)
        begin += len(chunk)


def sparse_write(reader: IO[bytes], target: Path, told: Callable[[int], None]) -> int:
    """Write a stream to a new file, zeros as holes; its length.  `told` hears the bytes so far."""
    size = 0
    with target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            if chunk != _ZEROS[: len(chunk)]:
                writer.seek(size)
                writer.write(chunk)
            size += len(chunk)
            told(size)
        writer.truncate(size)
    return size


def free_bytes(folder: Path) -> int:
    """Bytes that a user may still write below an existing folder."""
    return shutil.disk_usage(folder).free
