"""The parts of a recipe of kind preinstalled."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from pydantic import Field, field_validator

from harness.config import Spec

_DIGESTS = {64: "sha256", 128: "sha512"}  # hex digits to the name that hashlib knows


@dataclass(frozen=True)
class Checksum:
    """A hash of a file: `sha256:HEX` or `sha512:HEX`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read `ALGORITHM:HEX`, or HEX alone, whose length tells; `ValueError` if it is neither."""
        name, _, digits = text.rpartition(":")
        algorithm = _DIGESTS.get(len(digits), "")
        hexadecimal = re.fullmatch(r"[0-9a-fA-F]+", digits)
        if not (algorithm and hexadecimal) or name not in ("", algorithm):
            raise ValueError(f"{text!r} is no checksum: write sha256:HEX or sha512:HEX")
        return cls(algorithm, digits.lower())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def of(self, path: Path) -> Checksum:
        """The hash of a file's content, by the same algorithm."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, self.algorithm).hexdigest()
        return Checksum(self.algorithm, digest)


class DownloadRecipe(Spec):
    """Where the image is, and by what it is known."""

    mirror: str  #: URL of the folder from which `path` counts
    path: str  #: of the tarball; redirects are followed
    checksum: str = ""  #: of the tarball; `hurdle image pin` fills it in
    #: lists of checksums that may lie beside the tarball, the best one first
    checksums: tuple[str, ...] = Field(default=("SHA256SUMS", "SHA512SUMS"), min_length=1)
    member: str = "*.img"  #: pattern for the name of the one disk image in the tarball

    @field_validator("mirror")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if not re.match(r"https?://[^/]", url):
            raise ValueError("a mirror is a URL that begins with http:// or https://")
        return url

    @field_validator("checksum")
    @classmethod
    def _known_form(cls, text: str) -> str:
        return str(Checksum.parse(text)) if text else ""

    @property
    def url(self) -> str:
        return urljoin(self.mirror.rstrip("/") + "/", self.path)

    @property
    def pinned(self) -> Checksum | None:
        return Checksum.parse(self.checksum) if self.checksum else None


class DiskRecipe(Spec):
    """The disk inside the tarball."""

    partition: int | None = Field(default=None, ge=0)  #: of the root, 0 the whole disk; else found
    size_mib: int = Field(default=0, ge=0)  #: grown to this; 0 or less than it has: left as it is


class NewFile(Spec):
    """A file that is put into the root.  Keys stand for themselves between at signs.

    @authorized_key@, @host_key@ and @host_public_key@ are made for each image.
    """

    content: str
    mode: str = Field(default="0644", pattern="^0[0-7]{3}$")
    uid: int = 0
    gid: int = 0


class Change(Spec):
    """A change of a file that the root has: every match of `pattern` (multi-line) is replaced."""

    file: str
    pattern: str
    replacement: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as exc:
            raise ValueError(f"no regular expression: {exc}") from exc
        return pattern


class OfflineRecipe(Spec):
    """What is changed in the root before it boots for the first time.  Done in this order."""

    remove: tuple[str, ...] = ()  #: files, where the root has them
    folders: dict[str, str] = Field(default_factory=dict)  #: path to mode; made if missing
    put: dict[str, NewFile] = Field(default_factory=dict)
    change: tuple[Change, ...] = ()


class Task(Spec):
    """A command of the first boot; fails the build unless it ends with 0."""

    run: str
    seconds: float = Field(default=60, gt=0)  #: under TCG


class FirstBootRecipe(Spec):
    """What is done in the guest once, before its disk is frozen.  No tasks: no first boot."""

    tries: int = Field(default=1, ge=1)  #: boots from the same state until one gets through
    tasks: tuple[Task, ...] = ()
    halt_seconds: float = Field(default=120, gt=0)  #: from `halt` to its end, under TCG
    versions: dict[str, str] = Field(default_factory=dict)  #: for the report: name to command
