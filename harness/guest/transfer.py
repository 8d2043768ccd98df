"""Files between host and guest by a disk: the host writes the file under it, the guest reads.

Both see the same bytes: QEMU keeps none of them, and Hurd's storeio hands on reads and writes of
whole blocks as they come; it keeps what is less.  So all goes in pieces of 64 KiB.  (Its --no-cache
is no help: in the Hurd of 2026 it reads the wrong place everywhere but at the disk's begin.)
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import GuestError
from harness.guest.command import CommandResult, Progress
from harness.guest.shell import shorten

_PIECE = 64 << 10  # bytes
_SECONDS = 5.0  # for a short command of our own, on top of what is left of the caller's time


@dataclass(frozen=True)
class TransferDisk:
    """`file` is the disk on the host, `device` the same in the guest; `run` runs a command there,
    for some seconds at most."""

    file: Path
    device: str
    run: Callable[[str, float], CommandResult]

    def put(self, local: Path, remote: str, *, timeout: float, progress: Progress) -> None:
        """Copy a file into the guest; mode and owner are the shell's.  Raises `GuestError`."""
        deadline, target = Deadline.after(timeout), shlex.quote(remote)
        room, total = self._room(), local.stat().st_size
        self._must(f": > {target}", deadline)
        done, found = 0, hashlib.sha256()
        with local.open("rb") as source:
            while data := source.read(room):
                self._fill(data)
                count = -(-len(data) // _PIECE)
                self._must(
                    f"dd if={self.device} bs={_PIECE} count={count} 2>/dev/null >> {target} && "
                    f"truncate -s {done + len(data)} {target}",
                    deadline,
                )
                found.update(data)
                done += len(data)
                progress(done, total)
        self._compare(remote, found.hexdigest(), deadline)

    def get(self, remote: str, local: Path, *, timeout: float, progress: Progress) -> None:
        """Copy a file out of the guest.  Raises `GuestError`."""
        deadline, name = Deadline.after(timeout), shlex.quote(remote)
        total, done = int(self._must(f"stat -c %s {name}", deadline)), 0
        pieces, found = self._room() // _PIECE, hashlib.sha256()
        with local.open("wb") as target:
            while done < total:
                self._must(
                    f"dd if={name} of={self.device} bs={_PIECE} skip={done // _PIECE} "
                    f"count={pieces} conv=notrunc,sync 2>/dev/null",
                    deadline,
                )
                data = self._drain(min(total - done, pieces * _PIECE))
                target.write(data)
                found.update(data)
                done += len(data)
                progress(done, total)
        self._compare(remote, found.hexdigest(), deadline)

    def _room(self) -> int:
        return self.file.stat().st_size // _PIECE * _PIECE

    def _fill(self, data: bytes) -> None:
        with self.file.open("r+b") as disk:
            disk.write(data)

    def _drain(self, size: int) -> bytes:
        with self.file.open("rb") as disk:
            return os.pread(disk.fileno(), size, 0)

    def _compare(self, remote: str, wanted: str, deadline: Deadline) -> None:
        there = self._must(f"sha256sum {shlex.quote(remote)}", deadline).split()[0]
        if there != wanted:
            raise GuestError(
                f"{remote} differs from what went over the transfer disk",
                hint=f"is {self.device} in the guest this disk, and does something else use it?",
            )

    def _must(self, command: str, deadline: Deadline) -> str:
        result = self.run(command, deadline.remaining + _SECONDS)
        if result.rc != 0:
            said = (result.err or result.out).strip()
            raise GuestError(f"`{shorten(command)}` ended with {result.rc}: {said}")
        return result.out
