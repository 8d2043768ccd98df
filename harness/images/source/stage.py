"""Stages: what a build step is, and the key by which its result is kept.

A stage is data: edits of its source and commands with placeholders.  Its key is the hash of that
data, of its source and of the *results* of the stages that it needs, so a stage that is built
again and ends in the same bytes makes nothing after it run again.

Placeholders: `{src}` the unpacked source, `{work}` the build folder, `{out}` where results go,
`{tools}` the union of the results of the needed stages, `{jobs}` the number of parallel jobs;
`{src:NAME}`, `{work:NAME}` and `{out:NAME}` are those of a stage that is needed.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import InfraError
from harness.images.source.sources import Source

NOTES = "hurdle-notes"


@dataclass(frozen=True)
class Edit:
    """A change of one source file by rule: every match of `pattern` (multi-line) is replaced."""

    path: str
    pattern: str
    replacement: str

    def apply(self, root: Path) -> None:
        """Edit the file below `root`; `InfraError` if nothing matches."""
        file = root / self.path
        text = file.read_text(errors="surrogateescape") if file.exists() else ""
        changed, hits = re.subn(self.pattern, self.replacement, text, flags=re.MULTILINE)
        if not hits:
            raise InfraError(
                f"the edit of {self.path} matches nothing: {self.pattern}",
                hint="this version of the source differs: mend the rule or take another version",
            )
        file.write_text(changed, errors="surrogateescape")


@dataclass(frozen=True)
class Addition(Edit):
    """An edit that brings what some versions of a source lack.

    A file that has the text `unless` stays as it is.  Where it was edited, the file `NOTES` in the
    source's folder says so with `note` (if that is not empty), for the report.
    """

    unless: str
    note: str = ""

    def apply(self, root: Path) -> None:
        file = root / self.path
        if file.exists() and self.unless in file.read_text(errors="surrogateescape"):
            return
        super().apply(root)
        if self.note:
            with (root / NOTES).open("a") as notes:
                notes.write(f"{self.note}\n")


@dataclass(frozen=True)
class Step:
    """A shell command of a stage.

    A `once` step is not repeated when an interrupted build goes on or an incremental one is
    brought up to date; other steps must be repeatable, as `make` is.
    """

    name: str
    command: str
    once: bool = False
    cwd: str = "{work}"


@dataclass(frozen=True)
class Stage:
    """One component's way from source to result."""

    name: str
    steps: tuple[Step, ...]
    source: Source | None = None
    needs: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  #: file name patterns of the source that the stage never sees
    #: file name patterns of the source whose change needs `make` only, in the same build folder
    incremental: tuple[str, ...] = ()
    keep_work: bool = False  #: a later stage goes on in this one's build folder


def digest_text(*parts: str) -> str:
    """A hash of texts, which tells their borders apart."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _file_line(root: Path, path: Path) -> bytes:
    name = path.relative_to(root).as_posix()
    if path.is_symlink():
        return f"{name} -> {path.readlink()}\n".encode()
    mode = "x" if path.stat().st_mode & 0o100 else "-"
    return f"{name} {mode} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()


def matches(path: Path, patterns: Iterable[str]) -> bool:
    """Whether the file's name fits one of the shell patterns."""
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)


def tree_files(root: Path) -> list[Path]:
    """Files and links below `root` in a fixed order, without hidden ones such as .git."""
    found = []
    for name, folders, files in os.walk(root):
        folder = Path(name)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        links = [f for f in folders if (folder / f).is_symlink()]
        folders[:] = [f for f in folders if f not in links]
        found += [folder / f for f in (*links, *files) if not f.startswith(".")]
    return sorted(found)


def tree_digest(root: Path, exclude: Iterable[str] = ()) -> str:
    """A hash of names, links, executable bits and contents below `root`."""
    total = hashlib.sha256()
    exclude = tuple(exclude)
    for path in tree_files(root):
        if not matches(path, exclude):
            total.update(_file_line(root, path))
    return total.hexdigest()
