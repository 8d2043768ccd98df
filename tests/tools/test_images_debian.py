"""apt with an archive of the test's own: what it fetches, and what it makes of a broken one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import InfraError, UsageError
from harness.images.debian import Apt, unpack
from harness.process import run

pytestmark = pytest.mark.tools


class Archive:
    """A Debian archive in a folder: unsigned, flat, and as right or wrong as the test wants it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: list[str] = []
        folder.mkdir()
        self.write_index()

    def add(
        self, name: str, *, depends: str = "", version: str = "1:1.0", damage: bytes = b""
    ) -> None:
        tree = self.folder.parent / f"tree-{name}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/bin").mkdir(parents=True)
        (tree / "usr/bin" / name).write_text(f"I am {name} {version}\n")
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            f"Maintainer: Nobody <nobody@example.org>\nDescription: test\n"
            + (f"Depends: {depends}\n" if depends else "")
        )
        (tree / "DEBIAN/control").write_text(control)
        deb = self.folder / f"{name}.deb"
        run(["dpkg-deb", "--build", "--root-owner-group", str(tree), str(deb)])
        content = deb.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self._index.append(
            f"{control}Filename: ./{name}.deb\nSize: {len(content)}\nSHA256: {digest}\n"
        )
        if damage:
            deb.write_bytes(damage + content[len(damage) :])
        self.write_index()

    def write_index(self) -> None:
        (self.folder / "Packages").write_text("\n".join(self._index))


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """The only source that apt knows of in this test."""
    made = Archive(tmp_path / "archive")
    _sources(tmp_path, monkeypatch, f"copy:{made.folder}")
    return made


def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {uri} ./\n")
    (tmp_path / "host.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        f'Dir::Etc::sourceparts "{tmp_path}/none";\n'
        'Acquire::http::Timeout "2";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "host.conf"))


@pytest.fixture
def make_apt(tmp_path: Path) -> Callable[[], Apt]:
    def make() -> Apt:
        apt = Apt(tmp_path / "home", lambda _: None)
        apt.update()
        return apt

    return make


def test_packages_come_with_what_they_need(
    archive: Archive, make_apt: Callable[[], Apt], tmp_path: Path
) -> None:
    archive.add("libthing")
    archive.add("thing", depends="libthing (>= 0)")
    archive.add("unrelated")
    apt = make_apt()
    debs = apt.fetch(apt.closure(["thing"]))
    assert [(deb.name, deb.version) for deb in debs] == [("libthing", "1:1.0"), ("thing", "1:1.0")]
    unpack(debs, tmp_path / "tree")
    assert (tmp_path / "tree/usr/bin/libthing").read_text() == "I am libthing 1:1.0\n"
    # What is there and intact is not fetched again: it works with the archive gone.
    for deb in archive.folder.glob("*.deb"):
        deb.unlink()
    assert apt.fetch(apt.closure(["thing"])) == debs


def test_a_package_with_a_wrong_hash_is_refused(
    archive: Archive, make_apt: Callable[[], Apt]
) -> None:
    archive.add("thing", damage=b"!<arck>")
    apt = make_apt()
    with pytest.raises(InfraError, match=r"can't fetch the packages: .*thing\.deb"):
        apt.fetch(apt.closure(["thing"]))


def test_a_truncated_package_is_refused(archive: Archive, make_apt: Callable[[], Apt]) -> None:
    archive.add("thing")
    deb = archive.folder / "thing.deb"
    deb.write_bytes(deb.read_bytes()[:-10])
    apt = make_apt()
    with pytest.raises(InfraError, match=r"can't fetch the packages: .*thing\.deb"):
        apt.fetch(apt.closure(["thing"]))


def test_a_package_that_rots_in_the_cache_is_fetched_anew(
    archive: Archive, make_apt: Callable[[], Apt]
) -> None:
    archive.add("thing")
    apt = make_apt()
    deb = apt.fetch(apt.closure(["thing"]))[0]
    content = deb.path.read_bytes()
    deb.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = apt.fetch(apt.closure(["thing"]))[0]
    assert again.path.read_bytes() == content


def test_a_typo_in_a_package_s_name_is_the_recipe_s_fault(
    archive: Archive, make_apt: Callable[[], Apt]
) -> None:
    archive.add("thing")
    apt = make_apt()
    with pytest.raises(UsageError, match="no package 'thnig'") as caught:
        apt.closure(["thing", "thnig"])
    assert "recipe" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no package 'thnig'"):
        apt.show(["thnig"])


def test_a_dependency_that_nobody_has_is_explained(
    archive: Archive, make_apt: Callable[[], Apt]
) -> None:
    archive.add("thing", depends="gone")
    apt = make_apt()
    with pytest.raises(InfraError, match=r"(?s)can't resolve.*gone"):
        apt.closure(["thing"])


def test_without_a_network_the_lists_of_yesterday_serve(
    archive: Archive,
    make_apt: Callable[[], Apt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive.add("thing")
    apt = make_apt()
    debs = apt.fetch(apt.closure(["thing"]))
    archive.folder.rename(tmp_path / "unplugged")
    said: list[str] = []
    offline = Apt(tmp_path / "home", said.append)
    offline.update()
    assert any("earlier day" in line for line in said)
    assert offline.fetch(offline.closure(["thing"])) == debs
    with pytest.raises(InfraError, match="new ones can't be fetched"):
        offline.closure(["newer"])


def test_without_a_network_and_lists_the_network_is_named(
    make_apt: Callable[[], Apt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sources(tmp_path, monkeypatch, "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(InfraError, match=r"can't fetch the package lists.*127.0.0.1") as caught:
        make_apt()
    assert "network" in str(caught.value.hint)
