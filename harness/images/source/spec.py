"""The parts of a recipe of kind hurd-source."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from harness.config import Spec
from harness.images.source.root import parse_node
from harness.images.source.sources import CommitSource, Source, parse_source


class OtherHurd(Spec):
    """A second Hurd tree, of which the guest gets ext2fs."""

    source: str  #: as a component's, or commit:ID

    @field_validator("source")
    @classmethod
    def _known_form(cls, text: str) -> str:
        parse_source(text)
        return text

    @property
    def where(self) -> Source | CommitSource:
        return parse_source(self.source)


class Component(Spec):
    """A component of the guest and where its source comes from."""

    source: str  #: see sources.py

    @field_validator("source")
    @classmethod
    def _known_form(cls, text: str) -> str:
        if isinstance(parse_source(text), CommitSource):
            raise ValueError("only a second Hurd can be a commit of the first one's repository")
        return text

    @property
    def where(self) -> Source:
        where = parse_source(self.source)
        assert not isinstance(where, CommitSource)
        return where


class NativeRecipe(Spec):
    """What a guest with a compiler of its own is made from beside the cross toolchain's sources."""

    binutils: Component  #: the version decides whether code is the same as the host's
    cxx: Component  #: gcc with the C++ library of the host's g++
    gmp: Component
    mpfr: Component
    mpc: Component


class ArchiveRecipe(Spec):
    """The Debian archive for `apt:` and `deb:` sources."""

    suite: str = "sid"  #: GNU/Hurd has no other
    mirror: str = ""  #: empty: the one that the host's own apt uses
    keyring: Path = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class RootRecipe(Spec):
    """The root file system beside what the components install."""

    size_mib: int = Field(default=256, ge=32, le=65536)
    folders: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()  #: empty files, on which servers set themselves
    put: dict[str, Path] = Field(default_factory=dict)  #: path in the guest to file
    links: dict[str, str] = Field(default_factory=dict)  #: path in the guest to what the link says
    nodes: tuple[str, ...] = ()  #: TYPE MODE PATH PROGRAM ARGS, for passive translators

    @field_validator("nodes")
    @classmethod
    def _are_nodes(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            parse_node(line)
        return lines
