"""Files inside an ext2 image that is not mounted, by debugfs: read, written, removed.

debugfs ends with 0 whatever happens, so what it wrote is read back.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.disk.partitions import Partition
from harness.errors import InfraError, UsageError
from harness.process import run, tail

_SECONDS = 120.0
_TYPES = {"regular": 0o100000, "directory": 0o040000}


@dataclass(frozen=True)
class Stat:
    """What debugfs says of a file; `mode` has the permissions only."""

    type: str  #: regular, directory, symlink, ...
    mode: int
    uid: int
    gid: int


class Files:
    """The files of an image, by absolute path; symbolic links on the way are followed.

    `image` is what e2fsprogs take: a path, or `FILE?offset=BYTES`.  Errors are `InfraError`.
    """

    def __init__(self, image: str) -> None:
        self.image = image

    @classmethod
    def of(cls, disk: Path, part: Partition) -> Files:
        """The files of a partition."""
        return cls(part.within(disk))

    def stat(self, path: str) -> Stat | None:
        """None when there is no such file."""
        said = run(["debugfs", "-R", f"stat {_quoted(path)}", self.image], timeout=_SECONDS)
        kind = re.search(r"Type: (\w+)\s+Mode:\s+(\d+)", said.stdout)
        owner = re.search(r"User:\s+(\d+)\s+Group:\s+(\d+)", said.stdout)
        if kind and owner:
            return Stat(kind[1], int(kind[2], 8) & 0o7777, int(owner[1]), int(owner[2]))
        if "not found" not in said.stderr:
            raise InfraError(
                f"debugfs can't look at {path}:\n{tail(said.stderr)}", hint=f"ran: {said.command}"
            )
        return None

    def read(self, path: str) -> bytes:
        with tempfile.NamedTemporaryFile() as back:
            request = f"dump {_quoted(path)} {_quoted(back.name)}"
            done = run(["debugfs", "-R", request, self.image], timeout=_SECONDS)
            _complain(done.stderr, f"reading {path}", done.command)
            return Path(back.name).read_bytes()

    def write(self, path: str, data: bytes, stat: Stat) -> None:
        """Make a regular file, in place of the one that is there."""
        folder, _, name = path.rpartition("/")
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self._change(
                *([f"rm {_quoted(path)}"] if self.stat(path) else []),
                f"cd {_quoted(folder or '/')}",
                f"write {_quoted(file.name)} {_quoted(name)}",
                *_owner(path, stat),
            )
        if self.read(path) != data:
            raise InfraError(
                f"{path} could not be written into {self.image}", hint="has it room for it?"
            )

    def make_folder(self, path: str, stat: Stat) -> None:
        """Make a folder, and those above it, or give the one that is there these rights."""
        above = path.rpartition("/")[0]
        if above and self.stat(above) is None:
            self.make_folder(above, Stat("directory", 0o755, 0, 0))
        there = self.stat(path)
        if there is not None and there.type != "directory":
            raise UsageError(f"{path} in the image is no folder but {there.type}")
        self._change(*([] if there else [f"mkdir {_quoted(path)}"]), *_owner(path, stat))

    def remove(self, path: str) -> None:
        self._change(f"rm {_quoted(path)}")

    def _change(self, *requests: str) -> None:
        script = "".join(f"{each}\n" for each in requests)
        done = run(["debugfs", "-w", "-f", "-", self.image], stdin=script, timeout=_SECONDS)
        _complain(done.stderr, script.strip(), done.command)


def _owner(path: str, stat: Stat) -> list[str]:
    fields = (("mode", f"0{_TYPES[stat.type] | stat.mode:o}"), ("uid", stat.uid), ("gid", stat.gid))
    return [f"set_inode_field {_quoted(path)} {field} {value}" for field, value in fields]


def _quoted(name: str) -> str:
    if any(char in name for char in '"\n'):
        raise UsageError(f"debugfs can't name {name!r}", hint="use plain file names")
    return f'"{name}"'


def _complain(stderr: str, doing: str, command: str) -> None:
    """Raise if debugfs said more than its version."""
    said = "\n".join(line for line in stderr.splitlines() if not line.startswith("debugfs 1."))
    if said.strip():
        raise InfraError(f"debugfs failed: {doing}\n{tail(said)}", hint=f"ran: {command}")
