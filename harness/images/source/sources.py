"""Where a component's source comes from: a Debian package, a git commit, or a local tree.

A source is written as one field: `apt:PACKAGE` (a source package), `orig:PACKAGE` (its upstream
tarball alone, without Debian's patches), `host:PROGRAM` (the source of the package that the host
has a program from, in that very version), `deb:PACKAGE` (a binary package of i386; where it
carries a tarball below /usr/src, that is the source), `git:URL@COMMIT` or `dir:PATH`.  A second
Hurd may also be `commit:ID`, another commit of the first one's repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: a word that git and apt can't take for an option
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~_-]*")


@dataclass(frozen=True)
class AptSource:
    """The newest version of a Debian source package that the recipe's suite has."""

    package: str

    def __str__(self) -> str:
        return f"apt:{self.package}"


@dataclass(frozen=True)
class OrigSource:
    """The upstream tarball of a Debian source package, for archives that lack Debian's part."""

    package: str

    def __str__(self) -> str:
        return f"orig:{self.package}"


@dataclass(frozen=True)
class HostSource:
    """The source of the package that a program of the host is from, in the installed version."""

    program: str

    def __str__(self) -> str:
        return f"host:{self.program}"


@dataclass(frozen=True)
class DebSource:
    """The newest version of a Debian binary package for i386 that the recipe's suite has."""

    package: str

    def __str__(self) -> str:
        return f"deb:{self.package}"


@dataclass(frozen=True)
class GitSource:
    """One commit of a git repository; a full commit id needs no network once it is fetched."""

    url: str
    commit: str

    def __str__(self) -> str:
        return f"git:{self.url}@{self.commit}"


@dataclass(frozen=True)
class DirSource:
    """A local tree, used as it is on the disk; hidden files are not part of it."""

    path: Path

    def __str__(self) -> str:
        return f"dir:{self.path}"


@dataclass(frozen=True)
class CommitSource:
    """Another commit of the repository that the guest's Hurd comes from."""

    commit: str

    def __str__(self) -> str:
        return f"commit:{self.commit}"


Source = AptSource | OrigSource | HostSource | DebSource | GitSource | DirSource


def parse_source(text: str) -> Source | CommitSource:
    """`text` as a source; `ValueError`, which pydantic turns into a message, if it is none."""
    kind, _, rest = text.partition(":")
    if kind == "apt" and _SAFE.fullmatch(rest):
        return AptSource(rest)
    if kind == "orig" and _SAFE.fullmatch(rest):
        return OrigSource(rest)
    if kind == "host" and _SAFE.fullmatch(rest):
        return HostSource(rest)
    if kind == "deb" and _SAFE.fullmatch(rest):
        return DebSource(rest)
    if kind == "commit" and _SAFE.fullmatch(rest):
        return CommitSource(rest)
    if kind == "dir" and rest:
        return DirSource(Path(rest).expanduser().absolute())
    if kind == "git":
        url, at, commit = rest.rpartition("@")
        if at and url and not url.startswith("-") and _SAFE.fullmatch(commit):
            return GitSource(url, commit)
    raise ValueError(
        f"{text!r} is no source: write apt:PACKAGE, orig:PACKAGE, host:PROGRAM, deb:PACKAGE, "
        "git:URL@COMMIT or dir:PATH"
    )
