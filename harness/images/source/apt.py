"""Debian's archive through apt, with apt's whole state in a folder of ours.

The host's apt is left as it is: no root, no foreign architecture, no pinning.  apt checks the
archive's signature against `AptArchive.keyring` and each file against the hashes that it signs.
The package index is fetched once and then kept, so a build that ran once finds the same versions
again; removing the folder `apt` fetches it anew.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError
from harness.process import run
from harness.tools import tool

_URI = re.compile(r"^'(?P<url>[^']+)' (?P<name>\S+) (?P<size>\d+) (?P<hash>\S+)$", re.MULTILINE)
_HELPER = "/usr/lib/apt/apt-helper"


@dataclass(frozen=True)
class AptArchive:
    """Which archive packages come from."""

    mirror: str
    suites: tuple[str, ...]
    keyring: Path


@dataclass(frozen=True)
class ArchiveFile:
    """A file of the archive; `digest` is apt's, as `SHA256:hex`."""

    url: str
    name: str
    size: int  #: bytes
    digest: str


def parse_uris(text: str) -> tuple[ArchiveFile, ...]:
    """The files that `apt-get --print-uris` lists."""
    return tuple(
        ArchiveFile(m["url"], m["name"], int(m["size"]), m["hash"]) for m in _URI.finditer(text)
    )


def apt_conf(folder: Path) -> str:
    """An apt.conf that keeps every file of apt's below `folder`."""
    return "\n".join(
        (
            f'Dir::Etc "{folder}/etc";',
            f'Dir::Etc::parts "{folder}/etc/apt.conf.d";',
            f'Dir::State "{folder}/state";',
            f'Dir::State::status "{folder}/state/status";',
            f'Dir::Cache "{folder}/cache";',
            "#clear APT::Architectures;",
            'APT::Architecture "i386";',
            'APT::Architectures { "i386"; };',
            'APT::Sandbox::User "";',
            'Acquire::Languages "none";',
            # A mirror may lag behind, and a frozen one always does; signatures still count.
            'Acquire::Check-Valid-Until "false";',
            'Acquire::Retries "3";',
            # The host's hooks are configured for the host's state.
            "#clear APT::Update::Post-Invoke-Success;",
            "#clear APT::Update::Post-Invoke;",
            "",
        )
    )


class PrivateApt:
    """apt with its configuration, index and cache in `folder`."""

    def __init__(self, folder: Path, archive: AptArchive) -> None:
        self.folder = folder
        self.archive = archive
        self._conf = folder / "apt.conf"

    def source_files(self, package: str) -> tuple[ArchiveFile, ...]:
        """The archives of a source package, without the .dsc; `InfraError` if there is none."""
        found = self._ask("source", "--only-source", package)
        return tuple(f for f in found if not f.name.endswith((".dsc", ".asc")))

    def binary_file(self, package: str) -> ArchiveFile:
        """The .deb of a binary package, of architecture i386 or all."""
        return self._ask("download", package)[0]

    def fetch(self, file: ArchiveFile) -> Path:
        """The file on disk; downloaded and checked against its hash if it isn't there yet."""
        path = self.folder / "files" / file.digest.rpartition(":")[2][:16] / file.name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part")
            self._download(file, part)
            part.rename(path)
        return path

    def _download(self, file: ArchiveFile, target: Path) -> None:
        try:
            argv = [_HELPER, "download-file", file.url, str(target), file.digest]
            run(argv, timeout=1800, env=self._env)
        except InfraError as exc:
            raise InfraError(
                f"can't fetch {file.name}: {exc}",
                hint="check the network; if the archive has a newer version by now, remove "
                f"{self.folder}; or give the source as git:URL@COMMIT or dir:PATH",
            ) from exc

    def _ask(self, verb: str, *words: str) -> tuple[ArchiveFile, ...]:
        self._ready()
        # apt takes a second to think, and thinks the same for as long as the index stays.
        known = self.folder / "answers" / "-".join((verb, words[-1]))
        if known.exists():
            return parse_uris(known.read_text())
        said = run(["apt-get", "--print-uris", verb, *words], env=self._env, ok=None)
        files = parse_uris(said.stdout)
        if said.returncode or not files:
            suites = " and ".join(self.archive.suites)
            raise InfraError(
                f"{suites} has no package {words[-1]}: {said.stderr.strip()}",
                hint="name another package, or give the source as git:URL@COMMIT or dir:PATH",
            )
        known.write_text(said.stdout)
        return files

    @property
    def _env(self) -> dict[str, str]:
        return {"APT_CONFIG": str(self._conf)}

    def _ready(self) -> None:
        """Write the configuration and fetch the index, unless both were done for this archive."""
        tool("apt-get")
        if not self.archive.keyring.is_file():
            raise InfraError(
                f"{self.archive.keyring} is missing, by which apt checks what it fetches",
                hint="apt-get install debian-archive-keyring, or --set archive.keyring=FILE",
            )
        lines = sources_list(self.archive)
        stamp = self.folder / "index-of"
        if stamp.exists() and stamp.read_text() == lines:
            return
        shutil.rmtree(self.folder / "answers", ignore_errors=True)
        for part in (
            "answers",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "state/lists/partial",
            "cache",
        ):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "state/status").touch()
        (self.folder / "etc/sources.list").write_text(lines)
        self._conf.write_text(apt_conf(self.folder))
        argv = ["apt-get", "-o", "APT::Update::Error-Mode=any", "update"]
        try:
            run(argv, timeout=900, env=self._env)
        except InfraError as exc:
            raise InfraError(
                f"can't fetch the package index of {self.archive.mirror}: {exc}",
                hint="check the network, or take another mirror: --set archive.mirror=URL",
            ) from exc
        stamp.write_text(lines)


def host_mirror() -> str:
    """The Debian mirror that the host itself uses; `InfraError` where it uses none."""
    found = _index_targets("$(REPO_URI)")
    if not found:
        raise InfraError(
            "the host's apt has no Debian mirror", hint="name one: --set archive.mirror=URL"
        )
    return found[0].rstrip("/")


def host_suites() -> tuple[str, ...]:
    """The suites of that mirror that the host itself uses, such as bookworm."""
    return tuple(dict.fromkeys(_index_targets("$(CODENAME)")))


def host_version(program: str) -> str:
    """The source package that a program of the host was built from, as apt's NAME=VERSION."""
    owner = run(["dpkg", "-S", str(Path(tool(program)).resolve())], ok=None).stdout
    package = owner.partition(": ")[0]
    if not package:
        raise InfraError(
            f"{program} of this host is from no Debian package",
            hint="give the source as apt:PACKAGE, git:URL@COMMIT or dir:PATH",
        )
    return run(["dpkg-query", "-W", "-f", "${source:Package}=${source:Version}", package]).stdout


def _index_targets(format: str) -> list[str]:
    wanted = ["Created-By: Packages", "Origin: Debian", "Label: Debian"]
    return run(["apt-get", "indextargets", "--format", format, *wanted]).stdout.split()


def sources_list(archive: AptArchive) -> str:
    """apt's sources.list for the archive: for each suite i386 binaries (and `all`), and sources."""
    signed = f"signed-by={archive.keyring}"
    places = [f"{archive.mirror} {suite} main\n" for suite in archive.suites]
    return "".join(f"deb [arch=i386 {signed}] {p}deb-src [{signed}] {p}" for p in places)
