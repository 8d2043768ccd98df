"""Images by content: found again when nothing that they are made from has changed.

    CACHE/images/NAME/KEY/manifest.json     what an image is, with the hash of each of its files
    CACHE/locks/NAME.lock                   held by whoever builds NAME
    CACHE/debian/                           packages as they were downloaded, and apt's lists
    CACHE/downloads/                        disk images as they were downloaded, whole or in part
    CACHE/first-boot/NAME/logs/             what an image said when it was booted for the first time
    CACHE/kvm.json                          which guests' kernels KVM runs on this host
    CACHE/source/                           what a guest from source is made of, and its stages
    CACHE/states/                           saved machine states of guests
    CACHE/variants/                         trees and builds of variants

An image appears under its final name by one rename, so a build that was killed leaves none.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError
from harness.images.image import Image
from harness.images.manifest import MANIFEST, Manifest, check, read_manifest, record_files
from harness.locked import locked

Progress = Callable[[str], None]

_DRAFT = ".draft-"
_WAIT = 1800.0  # seconds for another builder: a guest from source takes half an hour


@dataclass(frozen=True)
class CachedImage:
    """A line of `hurdle image list`.  `current` is the one that a run takes."""

    name: str
    key: str
    size_bytes: int
    built: str  #: ISO 8601, UTC; empty if the manifest can't be read
    current: bool
    problem: str = ""  #: what is wrong with it; empty if nothing
    rollback: bool = False  #: `hurdle variants rollback` goes back to it

    @property
    def state(self) -> str:
        """In a word: current, older, or what is wrong with it."""
        if self.problem:
            return f"damaged: {self.problem}"
        return "current" if self.current else "for rollback" if self.rollback else "older"


class Cache:
    """The folder of images.  Safe to use from several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def default(cls) -> Cache:
        """HURDLE_CACHE, else XDG_CACHE_HOME/hurdle, else ~/.cache/hurdle."""
        chosen = os.environ.get("HURDLE_CACHE")
        if chosen:
            return cls(Path(chosen).absolute())
        base = os.environ.get("XDG_CACHE_HOME")
        return cls((Path(base) if base else Path.home() / ".cache").absolute() / "hurdle")

    def find(
        self, name: str, *, key: str | None = None, made_from: str | None = None
    ) -> Image | None:
        """The newest image of that name, of that key and made from that recipe where given.

        Sizes of all files are checked, hashes are not (`verify` does).  Raises `InfraError` for an
        image that is damaged.
        """
        unreadable = ""
        for folder, manifest in self._entries(name):
            if isinstance(manifest, str):
                unreadable = manifest
            elif key in (None, manifest.key) and made_from in (None, manifest.made_from):
                problem = check(folder, manifest, hashes=False)
                if problem:
                    raise _damaged(name, problem)
                return manifest.image(folder)
        if unreadable:
            raise _damaged(name, unreadable)
        return None

    def manifest(self, image: Image) -> Manifest:
        """What the cache has on paper of an image that it gave out."""
        found = read_manifest(image.folder)
        if isinstance(found, str):
            raise _damaged(image.name, found)
        return found

    def find_intact(
        self,
        name: str,
        progress: Progress,
        *,
        key: str | None = None,
        made_from: str | None = None,
    ) -> Image | None:
        """Like `find`, but a damaged image is none: for whoever is about to make it anew."""
        try:
            return self.find(name, key=key, made_from=made_from)
        except InfraError as exc:
            progress(f"{exc}; making it anew")
            return None

    def list(self, *, verify: bool = False) -> tuple[CachedImage, ...]:
        """All images, by name and then newest first; `verify` reads every file (seconds a GB)."""
        result = []
        images = self.folder / "images"
        for named in sorted(images.iterdir()) if images.is_dir() else []:
            above: Manifest | str = ""  # the one that was made after it
            for number, (folder, manifest) in enumerate(self._entries(named.name)):
                broken = isinstance(manifest, str)
                result.append(
                    CachedImage(
                        name=named.name,
                        key=folder.name,
                        size_bytes=size_of(folder),
                        built="" if isinstance(manifest, str) else manifest.built,
                        current=number == 0 and not broken,
                        problem=manifest
                        if isinstance(manifest, str)
                        else check(folder, manifest, hashes=verify),
                        rollback=number == 1
                        and isinstance(above, Manifest)
                        and bool(above.installed),
                    )
                )
                above = manifest
        return tuple(result)

    def remove(self, name: str, *, key: str | None = None) -> tuple[CachedImage, ...]:
        """Remove the images of that name (or the one of that key); those that were removed.

        A guest that runs from one keeps its open files.
        """
        with self._locked(name, lambda _: None):
            doomed = [i for i in self.list() if i.name == name and key in (None, i.key)]
            for image in doomed:
                folder = self.folder / "images" / name / image.key
                # Away from its name first: whoever looks never sees half an image.
                away = folder.with_name(f"{_DRAFT}{folder.name}-{os.getpid()}")
                folder.rename(away)
                shutil.rmtree(away)
        return tuple(doomed)

    def prune(self, keep: int, *, dry_run: bool = False) -> tuple[CachedImage, ...]:
        """Remove all but the newest `keep` good images of each name; those that were removed.

        The one that a rollback goes back to stays, too; damaged ones go.  `dry_run` only tells.
        """
        doomed = []
        for name in dict.fromkeys(image.name for image in self.list()):
            known = [i for i in self.list() if i.name == name]
            good = [i for i in known if not i.problem]
            stay = [*good[:keep], *(i for i in good if i.rollback)]
            gone = [i for i in known if i not in stay]
            doomed += gone
            for image in () if dry_run else gone:
                self.remove(name, key=image.key)
        return tuple(doomed)

    @property
    def downloads(self) -> Path:
        """Where fetched disk images lie, whole and in part."""
        return self.folder / "downloads"

    @contextmanager
    def building(self, name: str, progress: Progress) -> Iterator[Path]:
        """A folder to build an image in, and the right to be the only one who does.

        Waits for another builder of the same name.  The folder is removed at the end unless
        `publish` took it.  Raises `InfraError` when the cache can't be written.
        """
        with self._locked(name, progress):
            home = self.folder / "images" / name
            home.mkdir(parents=True, exist_ok=True)
            for left in home.glob(f"{_DRAFT}*"):  # of a builder that was killed
                shutil.rmtree(left, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home))
            try:
                yield draft
            finally:
                shutil.rmtree(draft, ignore_errors=True)
                if not any(home.iterdir()):
                    home.rmdir()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within the block, a full disk or a cache that can't be written is an `InfraError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _unwritable(self.folder, exc) from exc
        try:
            yield
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            forbidden = exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            ours = exc.filename and Path(os.fsdecode(exc.filename)).is_relative_to(self.folder)
            if full or (forbidden and ours):
                raise _unwritable(self.folder, exc) from exc
            raise

    def publish(self, draft: Path, manifest: Manifest) -> Image:
        """Make the files in `draft` an image of the cache, at once and wholly.

        Fills in `manifest.files`.  To be called inside `building`; an image of the same key, which
        can only be a damaged one, is replaced.
        """
        manifest = manifest.model_copy(update={"files": record_files(draft)})
        with (draft / MANIFEST).open("w") as stream:
            stream.write(manifest.model_dump_json(indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        final = draft.parent / manifest.key
        if final.exists():
            final.rename(draft.parent / f"{_DRAFT}{manifest.key}-{os.getpid()}")
        draft.chmod(0o755)
        draft.rename(final)
        return manifest.image(final)

    @contextmanager
    def _locked(self, name: str, progress: Progress) -> Iterator[None]:
        with self.writing():
            (self.folder / "locks").mkdir(exist_ok=True)
            lock = self.folder / "locks" / f"{name}.lock"
            with locked(lock, f"another hurdle builds {name}", progress, _WAIT):
                yield

    def _entries(self, name: str) -> tuple[tuple[Path, Manifest | str], ...]:
        """The folders of an image, newest first, each with its manifest or what is wrong with it.

        One that can't be read is first: it hides nothing and must not be hidden.
        """
        home = self.folder / "images" / name
        folders = sorted(home.iterdir()) if home.is_dir() else ()
        found = tuple(
            (folder, read_manifest(folder))
            for folder in folders
            if not folder.name.startswith(_DRAFT)
        )
        return tuple(
            sorted(found, key=lambda e: "~" if isinstance(e[1], str) else e[1].built, reverse=True)
        )


def size_of(folder: Path) -> int:
    """Bytes that the folder takes on disk (holes of a sparse root image take none)."""
    return sum(p.lstat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())


def _damaged(name: str, problem: str) -> InfraError:
    return InfraError(
        f"the image {name} in the cache is damaged: {problem}",
        hint=f"`hurdle image build {name}` makes it anew",
    )


def _unwritable(root: Path, exc: OSError) -> InfraError:
    return InfraError(
        f"can't write the image cache {root}: {exc.strerror}",
        hint="free space there (hurdle image rm NAME), or set HURDLE_CACHE to a folder of yours",
    )
