"""Debian packages without root: resolved, fetched and verified by apt itself.

apt runs with a state of its own in the cache, in which nothing is installed, but with the host's
sources, keys and proxy settings.  So it works for any user, never touches the host's package lists,
and resolves every dependency.  What apt downloads is checked by apt against the signed lists, and
what lies in the cache from an earlier day is checked again against the same SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError, UsageError
from harness.images.cache import Progress
from harness.images.manifest import file_hash
from harness.process import Completed, run, tail

_CONFIG = """\
Dir::State "{home}/state";
Dir::State::status "{home}/status";
Dir::Cache "{home}/cache";
Dir::Log "{home}/log";
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
// The host's hooks are for the host's lists.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
{release}
"""

_UNKNOWN = re.compile(r"Unable to locate package (\S+)|Package '?([^\s']+)'? has no installation")


@dataclass(frozen=True)
class Deb:
    """A package file that was fetched and verified."""

    name: str
    version: str
    sha256: str
    path: Path


@dataclass(frozen=True)
class Stanza:
    """What the archive's index says of a package's candidate version."""

    name: str
    version: str
    sha256: str
    depends: str

    @property
    def filename(self) -> str:
        """The name that apt gives the file; a colon in a version would not fit every disk."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_"


class Apt:
    """apt with a private state below `home`.  `suite` is preferred over the host's default."""

    def __init__(self, home: Path, progress: Progress, suite: str = "") -> None:
        self._home = home
        self._progress = progress
        self._suite = suite
        self._stale = ""

    def update(self) -> None:
        """Fetch the package lists (2 s); without a network, go on with those of an earlier day.

        Raises `InfraError` when there are none.
        """
        for name in ("state/lists/partial", "cache/archives/partial", "log"):
            (self._home / name).mkdir(parents=True, exist_ok=True)
        (self._home / "status").touch()
        release = f'APT::Default-Release "{self._suite}";' if self._suite else ""
        config = _CONFIG.format(home=self._home, release=release)
        (self._home / "apt.conf").write_text(config)
        self._progress("fetching the package lists")
        done = self._apt("apt-get", "update", "--quiet", ok=None, timeout=300)
        if done.returncode == 0:
            return
        self._stale = _first_complaint(done.output)
        if not list((self._home / "state" / "lists").glob("*_Packages*")):
            raise InfraError(
                f"can't fetch the package lists: {self._stale}",
                hint="check the network and the sources in /etc/apt, then: apt-get update",
            )
        self._progress(f"using the package lists of an earlier day: {self._stale}")

    def closure(self, packages: Sequence[str]) -> list[Stanza]:
        """The packages and all that they depend on.

        Raises `UsageError` for a package that the host's sources don't have.
        """
        done = self._apt("apt-get", "install", "--simulate", "--quiet", *packages, ok=None)
        if done.returncode != 0:
            raise self._unresolved(done)
        names = re.findall(r"^Inst (\S+) ", done.stdout, re.MULTILINE)
        return self.show(names)

    def show(self, packages: Iterable[str]) -> list[Stanza]:
        """The index entries of packages, by name; `UsageError` for one that doesn't exist."""
        names = sorted(set(packages))
        done = self._apt("apt-cache", "show", "--no-all-versions", *names, ok=None)
        stanzas = {}
        for text in done.stdout.split("\n\n"):
            fields = dict(re.findall(r"^([\w-]+): (.*)$", text, re.MULTILINE))
            if {"Package", "Version", "SHA256"} <= fields.keys():
                stanzas[fields["Package"]] = Stanza(
                    fields["Package"],
                    fields["Version"],
                    fields["SHA256"],
                    fields.get("Depends", ""),
                )
        missing = [name for name in names if name not in stanzas]
        if missing:
            raise self._no_package(missing[0])
        return [stanzas[name] for name in names]

    def fetch(self, stanzas: Iterable[Stanza]) -> list[Deb]:
        """Download what isn't there yet, and verify everything.

        A file in the cache whose hash is wrong is fetched anew.  Raises `InfraError` when a
        download fails or its hash is not the one in the signed index.
        """
        wanted = list(stanzas)
        missing = [stanza for stanza in wanted if self._local(stanza) is None]
        if missing:
            self._progress(f"fetching {len(missing)} of {len(wanted)} packages")
            names = [f"{stanza.name}={stanza.version}" for stanza in missing]
            done = self._apt("apt-get", "download", "--quiet", *names, ok=None, timeout=900)
            if done.returncode != 0:
                raise InfraError(
                    f"can't fetch the packages: {_first_complaint(done.output)}",
                    hint="check the network and the free space, then try again; what was fetched "
                    f"is kept.  By hand: {done.command}",
                )
        debs = []
        for stanza in wanted:
            path = self._local(stanza)
            if path is None:
                raise InfraError(
                    f"the package {stanza.name} {stanza.version} is not what the index says: "
                    f"its SHA-256 is not {stanza.sha256}",
                    hint="a broken mirror or proxy; try again, or use another mirror",
                )
            debs.append(Deb(stanza.name, stanza.version, stanza.sha256, path))
        return debs

    def _local(self, stanza: Stanza) -> Path | None:
        """The package's file if it is there and intact; a damaged one is removed."""
        for path in self._archives.glob(f"{stanza.filename}*.deb"):
            if file_hash(path) == stanza.sha256:
                return path
            self._progress(f"{path.name} in the cache is damaged; removed")
            path.unlink()
        return None

    @property
    def _archives(self) -> Path:
        return self._home / "cache" / "archives"

    def _apt(
        self, program: str, *args: str, ok: tuple[int, ...] | None = (0,), timeout: float = 120
    ) -> Completed:
        argv = [program, f"--config-file={self._home / 'apt.conf'}", *args]
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        return run(argv, timeout=timeout, ok=ok, cwd=self._archives, env=env)

    def _unresolved(self, done: Completed) -> Exception:
        unknown = _UNKNOWN.search(done.output)
        if unknown:
            return self._no_package(unknown.group(1) or unknown.group(2))
        return InfraError(
            f"apt can't resolve the packages:\n{tail(done.output)}",
            hint=f"run it by hand: {done.command}",
        )

    def _no_package(self, name: str) -> Exception:
        if self._stale:
            return InfraError(
                f"the package {name} is not in the package lists of an earlier day, and new ones "
                f"can't be fetched: {self._stale}",
                hint="check the network",
            )
        return UsageError(
            f"the host's package sources have no package {name!r}",
            hint="mend its name in the recipe, or add a source for it below /etc/apt",
        )


def _first_complaint(output: str) -> str:
    """apt's first error, else its first warning, without the mark in front."""
    for mark in ("E:", "Err:", "W:"):
        for line in output.splitlines():
            if line.startswith(mark):
                return line.partition(":")[2].strip()
    return tail(output, 1)


def unpack(debs: Iterable[Deb], folder: Path) -> None:
    """Unpack packages into `folder`, all into the same tree, without running their scripts."""
    for deb in debs:
        run(["dpkg-deb", "--extract", str(deb.path), str(folder)], timeout=120)
