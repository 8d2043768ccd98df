"""An image on paper: what it is, with the hash of each of its files."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from harness.config import Spec
from harness.images.image import BootFiles, Image, RootDisk, SshKeys

MANIFEST = "manifest.json"


class FileRecord(Spec):
    size: int
    sha256: str


class ModuleRecord(Spec):
    file: str
    args: str


class InjectRecord(Spec):
    file: str
    guest_path: str


class InstalledRecord(Spec):
    """A variant's ext2fs that was put into an image after that had been made."""

    sha256: str
    guest_path: str
    root: bool  #: it serves the root as well, as the boot module


class Manifest(Spec):
    """An image on paper.  File names are relative to the image's folder."""

    name: str
    key: str  #: hash of everything that the image was made from
    made_from: str  #: hash of what the recipe alone says, to find the image without a network
    built: str  #: ISO 8601, UTC
    kernel: str | None  #: none: the root disk has a boot loader
    cmdline: str = ""
    initrd: str | None = None
    modules: tuple[ModuleRecord, ...] = ()
    root: str | None = None
    root_format: str = "raw"
    inject: tuple[InjectRecord, ...] = ()
    private_key: str | None = None
    host_key: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    installed: dict[str, InstalledRecord] = Field(default_factory=dict)  #: by variant
    files: dict[str, FileRecord] = Field(default_factory=dict)

    def image(self, folder: Path) -> Image:
        """The image whose files lie in `folder`."""
        return Image(
            name=self.name,
            key=self.key,
            folder=folder,
            boot=BootFiles(
                kernel=folder / self.kernel if self.kernel else None,
                cmdline=self.cmdline,
                initrd=folder / self.initrd if self.initrd else None,
                modules=tuple((folder / module.file, module.args) for module in self.modules),
            ),
            root=RootDisk(
                folder / self.root,
                self.root_format,
                tuple((folder / item.file, item.guest_path) for item in self.inject),
            )
            if self.root
            else None,
            ssh=SshKeys(folder / self.private_key, folder / self.host_key)
            if self.private_key and self.host_key
            else None,
            versions=dict(self.versions),
        )


def now() -> str:
    """The time as manifests have it; with microseconds, since builds are sorted by it."""
    return datetime.now(UTC).isoformat()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Size and hash of every file below `folder`."""
    return {
        str(path.relative_to(folder)): FileRecord(size=path.stat().st_size, sha256=file_hash(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def read_manifest(folder: Path) -> Manifest | str:
    """The manifest of the image in `folder`, or what is wrong with it."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as exc:
        return f"{folder / MANIFEST} can't be read: {str(exc).splitlines()[0]}"
    if manifest.key != folder.name:
        return f"{folder / MANIFEST} belongs to another image, {manifest.key}"
    return manifest


def check(folder: Path, manifest: Manifest, *, hashes: bool) -> str:
    """What is wrong with the image's files, or nothing."""
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != record.size:
            return f"{path} has {path.stat().st_size} bytes, not {record.size}"
        if hashes and file_hash(path) != record.sha256:
            return f"{path} has changed: its SHA-256 is not {record.sha256}"
    return ""
