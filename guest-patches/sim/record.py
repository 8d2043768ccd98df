#!/usr/bin/env python3
"""Record what a compile does to files: the input of the benchmark.

Reads what `strace -f -y -s 0` wrote about a build, and prints its changes of
files in order, one a line.  Files and folders are numbers.

  c FILE FOLDER             it is made
  t FILE                    it is emptied
  w FILE OFFSET LENGTH N    N writes of LENGTH bytes, one after the other
  m FILE                    its mode changes
  u FILE                    it is removed
"""

# SPDX-License-Identifier: GPL-2.0-or-later

from __future__ import annotations

import os.path
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)")
FOLDER = re.compile(r"AT_FDCWD<(?P<folder>[^>]*)>, ")
PATH = re.compile(r'"(?P<path>[^"]*)"')
FD = re.compile(r"^(?P<fd>\d+)<(?P<path>[^>]*)>")
SYSTEM = ("/dev/", "/proc/", "pipe:", "socket:", "anon_inode:")


@dataclass
class Recorder:
    """Turns calls into changes; `cwd` is where the build ran."""

    cwd: str
    files: dict[str, int] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    made: int = 0

    def path_of(self, args: str) -> str:
        folder = FOLDER.search(args)
        found = PATH.search(args)
        path = found["path"] if found else ""
        # As the text says: the build's folders need not be there any more.
        return os.path.normpath(Path(folder["folder"] if folder else self.cwd) / path)

    def opened(self, pid: str, args: str, result: int) -> Iterator[str]:
        path = self.path_of(args)
        self.offsets[pid, str(result)] = 0
        if "O_CREAT" not in args or path.startswith(SYSTEM):
            return
        if path not in self.files:
            self.made += 1
            self.files[path] = self.made
            folder = self.folders.setdefault(str(Path(path).parent), len(self.folders))
            yield f"c {self.made} {folder}"
        elif "O_TRUNC" in args:
            yield f"t {self.files[path]}"

    def call(self, pid: str, name: str, args: str, result: int) -> Iterator[str]:
        fd = FD.match(args)
        if result < 0:
            return
        if name in ("open", "openat", "creat"):
            yield from self.opened(pid, args, result)
        elif name == "lseek" and fd:
            self.offsets[pid, fd["fd"]] = result
        elif name == "write" and fd:
            at = self.offsets.get((pid, fd["fd"]), 0)
            self.offsets[pid, fd["fd"]] = at + result
            if fd["path"] in self.files and result:
                yield f"w {self.files[fd['path']]} {at} {result}"
        elif name in ("chmod", "fchmod", "fchmodat"):
            path = fd["path"] if fd else self.path_of(args)
            if path in self.files:
                yield f"m {self.files[path]}"
        elif name in ("unlink", "unlinkat"):
            known = self.files.pop(self.path_of(args), 0)
            if known:
                yield f"u {known}"
        elif name in ("rename", "renameat", "renameat2", "pwrite64", "writev", "ftruncate"):
            raise SystemExit(f"{name}: this build does what the benchmark does not know")


def joined(changes: Iterable[str]) -> Iterator[str]:
    """Writes that follow one another at one length become one line."""
    last: list[int] = []
    for change in changes:
        kind, *words = change.split()
        numbers = [int(word) for word in words]
        if kind == "w" and last:
            file, at, length, count = last
            if numbers == [file, at + length * count, length]:
                last[3] += 1
                continue
        if last:
            yield "w " + " ".join(map(str, last))
            last = []
        if kind == "w":
            last = [*numbers, 1]
        else:
            yield change
    if last:
        yield "w " + " ".join(map(str, last))


def changes(recorder: Recorder, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        found = CALL.match(line)
        if found:
            yield from recorder.call(
                found["pid"], found["name"], found["args"], int(found["result"])
            )
        elif "<unfinished" in line and '"' in line:
            raise SystemExit(f"a call in two parts: build with one job\n{line}")


def main() -> int:
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} STRACE-OUTPUT FOLDER-OF-THE-BUILD")
    recorder = Recorder(str(Path(sys.argv[2]).resolve()))
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        for change in joined(changes(recorder, file)):
            print(change)
    return 0


if __name__ == "__main__":
    sys.exit(main())
