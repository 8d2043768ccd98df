"""Brings a component's source into a folder, and tells beforehand what it is."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError, UsageError
from harness.images.source.apt import ArchiveFile, PrivateApt, host_version
from harness.images.source.sources import (
    AptSource,
    DebSource,
    DirSource,
    GitSource,
    HostSource,
    OrigSource,
    Source,
)
from harness.images.source.stage import digest_text, matches, tree_digest, tree_files
from harness.process import run

_Packaged = AptSource | OrigSource | HostSource | DebSource
_VERSION = re.compile(r"^[^_]+_(?P<version>.+?)(\.(orig|debian|diff)|_(all|i386)\.deb|\.tar)")


@dataclass(frozen=True)
class Identity:
    """Which source it is: a version for people, a digest of the content for the cache."""

    version: str
    digest: str


def version_of(files: Iterable[ArchiveFile]) -> str:
    """The Debian version in the files' names: the longest, since .orig lacks the revision."""
    found = (_VERSION.match(f.name) for f in files)
    versions = [
        m["version"].replace("%3a", ":").partition(":")[-1] or m["version"] for m in found if m
    ]
    return max(versions, key=len, default="unknown")


class Fetcher:
    """Identifies and unpacks sources; downloads are kept in `folder`."""

    def __init__(self, folder: Path, apt: PrivateApt, host_apt: PrivateApt | None = None) -> None:
        """`host_apt` is the archive of the host's own packages, where `host:` sources serve."""
        self._folder = folder
        self._apt = apt
        self._host_apt = host_apt

    def identify(self, source: Source, exclude: Iterable[str] = ()) -> Identity:
        """The source's identity, seen without files whose names match `exclude`.

        Downloads nothing but apt's index, or a git repository that lacks the commit.
        """
        match source:
            case AptSource() | OrigSource() | HostSource() | DebSource():
                files = self._files(source)
                return Identity(version_of(files), digest_text(*(f.digest for f in files)))
            case GitSource():
                _, commit = self._locate(source)
                return Identity(commit[:12], commit)
            case DirSource():
                _need_folder(source)
                digest = tree_digest(source.path, exclude)
                return Identity(f"local-{digest[:12]}", digest)

    def check(self, source: Source) -> None:
        """Raise at once what `identify` would raise, without reading a local tree."""
        if isinstance(source, DirSource):
            _need_folder(source)
        else:
            self.identify(source)

    def fetch(self, source: Source) -> Identity:
        """Bring the source into the folder, so that it can be unpacked without a network."""
        if isinstance(source, _Packaged):
            for file in self._files(source):
                self._apt.fetch(file)
        return self.identify(source)

    def unpack(self, source: Source, into: Path, exclude: Iterable[str] = ()) -> None:
        """Put the source's files into the new folder `into`."""
        into.mkdir(parents=True)
        match source:
            case AptSource() | OrigSource() | HostSource():
                self._unpack_source(self._files(source), into)
            case DebSource():
                self._unpack_deb(self._files(source)[0], into)
            case GitSource():
                self._unpack_commit(source, into)
            case DirSource():
                copy_tree(source.path, into, exclude)
                return
        for path in tree_files(into) if exclude else ():
            if matches(path, exclude):
                path.unlink()

    def _files(self, source: _Packaged) -> tuple[ArchiveFile, ...]:
        if isinstance(source, DebSource):
            return (self._apt.binary_file(source.package),)
        if isinstance(source, HostSource):
            return self._of_host(source)
        files = self._apt.source_files(source.package)
        if isinstance(source, OrigSource):
            return tuple(f for f in files if ".orig" in f.name)
        return files

    def _of_host(self, source: HostSource) -> tuple[ArchiveFile, ...]:
        if self._host_apt is None:
            raise UsageError(f"{source} is of no use here", hint="write apt:PACKAGE")
        try:
            return self._host_apt.source_files(host_version(source.program))
        except InfraError as exc:
            raise InfraError(
                f"{source}: {exc}",
                hint=f"bring the package of {source.program} up to date, or take another version, "
                "whose code may differ from what the host builds",
            ) from exc

    def _unpack_source(self, files: tuple[ArchiveFile, ...], into: Path) -> None:
        packed = {f.name: self._apt.fetch(f) for f in files}
        debian = [p for n, p in packed.items() if ".debian.tar." in n]
        for name, path in packed.items():
            if path in debian:
                continue
            if ".tar." not in name:
                raise InfraError(f"{name}: a source format that is not known here")
            part = re.search(r"\.orig-(.+?)\.tar", name)
            untar(path, into / part[1] if part else into)
        for path in debian:
            untar(path, into / "debian")
            apply_series(into)

    def _unpack_deb(self, file: ArchiveFile, into: Path) -> None:
        path = self._apt.fetch(file)
        with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
            run(["dpkg-deb", "-x", str(path), scratch], timeout=600)
            tarballs = sorted(Path(scratch).glob("usr/src/*/*.tar.*"))
            if tarballs:
                untar(tarballs[0], into)
            else:
                for entry in Path(scratch).iterdir():
                    shutil.move(entry, into)

    def _unpack_commit(self, source: GitSource, into: Path) -> None:
        repository, commit = self._locate(source)
        packed = into.with_name(f"{into.name}.tar")
        run(["git", "-C", str(repository), "archive", "-o", str(packed), commit], timeout=300)
        run(["tar", "-xf", str(packed), "-C", str(into)], timeout=300)
        packed.unlink()

    def _locate(self, source: GitSource) -> tuple[Path, str]:
        """The repository here that has the commit, and its full id.

        Any repository will do that has a full id, which is a hash of all that it names.  Else the
        source's branches and tags are fetched.
        """
        folder = self._folder / "git"
        own = folder / digest_text(source.url)[:16]
        others = folder.glob("*") if re.fullmatch("[0-9a-f]{40}", source.commit) else ()
        for repository in (own, *others):
            if repository.exists() and (commit := _commit_id(repository, source.commit)):
                return repository, commit
        if not own.exists():
            run(["git", "init", "--quiet", "--bare", str(own)])
        refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        try:
            run(["git", "-C", str(own), "fetch", "--quiet", source.url, *refs], timeout=3600)
        except InfraError as exc:
            raise InfraError(
                f"can't fetch {source}: {exc}",
                hint="check the network and the address, or give a local tree as dir:PATH",
            ) from exc
        commit = _commit_id(own, source.commit)
        if not commit:
            raise UsageError(f"{source}: the repository has no such commit", hint="check the id")
        return own, commit


def _need_folder(source: DirSource) -> None:
    if not source.path.is_dir():
        raise UsageError(f"{source}: no such folder", hint="check the path")


def _commit_id(repository: Path, commit: str) -> str:
    """The full id of a commit; empty if the repository lacks it."""
    ask = ["git", "-C", str(repository), "rev-parse", "--quiet", "--verify"]
    return run([*ask, f"{commit}^{{commit}}"], ok=None).stdout.strip()


def untar(archive: Path, into: Path) -> None:
    """Unpack a tarball that holds one folder, without that folder's name."""
    into.mkdir(parents=True, exist_ok=True)
    run(["tar", "-xf", str(archive), "-C", str(into), "--strip-components=1"], timeout=900)


def apply_series(root: Path) -> None:
    """Apply Debian's patches in the order of its series file, if the package has one."""
    series = root / "debian/patches/series"
    lines = series.read_text().splitlines() if series.exists() else []
    for line in lines:
        words = line.partition("#")[0].split()
        if words:
            strip = words[1] if len(words) > 1 else "-p1"
            patch = series.parent / words[0]
            run(["patch", "-d", str(root), "--batch", "--quiet", strip, "-i", str(patch)])


def copy_tree(source: Path, into: Path, exclude: Iterable[str] = ()) -> None:
    """Copy files and links, hidden ones excepted, with modes and times."""
    exclude = tuple(exclude)
    for path in tree_files(source):
        if not matches(path, exclude):
            target = into / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)
