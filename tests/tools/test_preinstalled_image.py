"""Debian's recipes against a server of the test's own, which has a small disk of that layout.

Everything but the first boot: pinned, fetched, unpacked, grown, made ours, kept.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.deadline import Deadline
from harness.disk.alone import put_back
from harness.disk.debugfs import Files, Stat
from harness.disk.partitions import disk_size, find_file_system, find_partitions
from harness.errors import Exit, HurdleError, InfraError, UsageError
from harness.guest.ssh import load_host_key, load_private_key
from harness.images.builders import build_image, fetch_image, find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.preinstalled.disk import check
from harness.images.preinstalled.pin import ask, replace_scalar
from harness.images.recipe import RECIPES, PreinstalledRecipe, load_recipe
from harness.machine.argv import Paths, qemu_argv
from harness.machine.spec import spec_for
from harness.oracles.selfcheck import samples
from harness.process import run
from harness.variants.install import install, rollback
from harness.variants.ready import built
from tests.tools.image_server import Site, serving
from tests.tools.images import folder_in_memory
from tests.tools.installed_disk import DATED, MIB, Layout, published, sums

pytestmark = pytest.mark.tools


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as made:
        yield made


NAMES = ("debian-hurd-i386", "debian-hurd-amd64")


def _say(_: str) -> None: ...


class Mirror:
    """A mirror with an image, and a recipe that a user can edit."""

    def __init__(self, site: Site, folder: Path, name: str, layout: Layout = "dos") -> None:
        self.site, self.folder = site, folder
        self.recipe = folder / f"{name}.yaml"
        shipped = (RECIPES / self.recipe.name).read_text()  # which a user may have pinned
        self.recipe.write_text(replace_scalar(shipped, ("download", "checksum"), '""')[1])
        self.path = f"/{load(self.recipe).download.path}"
        self.home = self.path.rpartition("/")[0]
        self.dated = f"{self.home}/{DATED}.tar.xz"
        self.cache = Cache(folder / "cache")
        self.tarball = published(layout)
        site.files[self.dated] = self.tarball
        site.redirects[self.path] = self.dated.rpartition("/")[2]
        site.files[f"{self.home}/SHA256SUMS"] = self.sums()

    def sums(self) -> bytes:
        return sums(other__iso=b"", **{f"{DATED}.tar.xz": self.tarball})

    @property
    def settings(self) -> dict[str, str]:
        """What differs from Debian's: where, how large, and no boot."""
        return {
            "download.mirror": self.site.url,
            "disk.size_mib": "80",
            "first_boot.tasks": "[]",
            "first_boot.versions": "{}",
        }

    def load(self, **more: str) -> PreinstalledRecipe:
        return load(self.recipe, {**self.settings, **more})

    def pin(self) -> None:
        text = self.recipe.read_text()
        digest = hashlib.sha256(self.tarball).hexdigest()
        self.recipe.write_text(text.replace('checksum: ""', f"checksum: sha256:{digest}"))

    def build(self, **more: str) -> Image:
        return build_image(self.load(**more), self.cache, _say)


def load(path: Path, settings: dict[str, str] | None = None) -> PreinstalledRecipe:
    recipe = load_recipe(str(path), settings)
    assert isinstance(recipe, PreinstalledRecipe)
    return recipe


@pytest.fixture
def mirror(folder: Path) -> Iterator[Mirror]:
    with serving() as site:
        yield Mirror(site, folder, NAMES[0])


def hurdle(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hurdle", *args])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(("name", "layout"), [(NAMES[0], "logical"), (NAMES[1], "dos")])
def test_a_published_image_becomes_ours_without_root(
    folder: Path, name: str, layout: Layout
) -> None:
    with serving() as site:
        mirror = Mirror(site, folder, name, layout)
        mirror.pin()
        image = mirror.build()
    assert image.root is not None and image.ssh is not None
    disk = image.root.path
    root = find_file_system(disk)
    check(disk, root)
    assert disk_size(disk) == 80 * MIB and root.size > 70 * MIB
    files = Files.of(disk, root)
    key = load_private_key(image.ssh.private_key)
    assert files.stat("/root/.ssh") == Stat("directory", 0o700, 0, 0)
    assert files.stat("/root/.ssh/authorized_keys") == Stat("regular", 0o600, 0, 0)
    assert files.read("/root/.ssh/authorized_keys").split()[1].decode() == key.get_base64()
    host = folder / "host_key"
    host.write_bytes(files.read("/etc/ssh/ssh_host_ed25519_key"))
    assert load_private_key(host).get_base64() == load_host_key(image.ssh.host_key).get_base64()
    assert files.stat("/etc/ssh/ssh_host_ed25519_key") == Stat("regular", 0o600, 0, 0)
    grub = files.read("/boot/grub/grub.cfg").decode()
    kernels = [line for line in grub.splitlines() if line.strip().startswith("multiboot")]
    assert len(kernels) == 2 and all(line.endswith(" console=com0") for line in kernels)
    assert "gfxterm\nfi\nserial --unit=0 --speed=115200\nterminal_input serial console\n" in grub
    assert grub.count("set timeout=0\n") == 2 and "terminal_output gfxterm" not in grub
    assert files.read("/etc/default/grub").endswith(b'\nGRUB_CMDLINE_GNUMACH="console=com0"\n')
    inittab = files.read("/etc/inittab").decode()
    assert inittab.endswith("\nc:23:respawn:/usr/local/sbin/hurdle-console\n")
    assert files.stat("/etc/inittab") == Stat("regular", 0o640, os.getuid(), os.getgid())
    assert files.stat("/usr/local/sbin/hurdle-console") == Stat("regular", 0o755, 0, 0)
    assert "PermitRootLogin" in files.read("/etc/ssh/sshd_config.d/hurdle.conf").decode()
    assert image.versions["image"].startswith(f"{DATED} (sha256:")


def test_the_image_is_found_again_from_any_mirror_and_starts_from_its_disk(
    mirror: Mirror, folder: Path
) -> None:
    mirror.pin()
    built = mirror.build()
    assert mirror.build() == built
    elsewhere = mirror.load(**{"download.mirror": "https://mirror.example", "title": "other"})
    assert find_image(elsewhere, mirror.cache) == built
    with pytest.raises(UsageError, match="has changed since"):
        find_image(mirror.load(**{"disk.size_mib": "90"}), mirror.cache)
    paths = Paths(folder / "qmp", folder / "console", folder / "log", folder / "relay")
    argv = qemu_argv(spec_for(elsewhere, built), "tcg", paths)
    assert "-kernel" not in argv and "-append" not in argv
    assert any(str(built.root and built.root.path) in word for word in argv)
    assert any("restrict=on" in word for word in argv)  # only the first boot goes online


def test_an_unpinned_image_is_refused_before_anything_is_fetched(mirror: Mirror) -> None:
    for ask_for in (build_image, fetch_image):
        with pytest.raises(UsageError, match="no checksum of http") as caught:
            ask_for(mirror.load(), mirror.cache, _say)
        assert caught.value.hint and "hurdle image pin debian-hurd-i386" in caught.value.hint
    assert mirror.site.log == []


def test_pinning_changes_one_line_of_the_recipe(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HURDLE_MIRROR", mirror.site.url)
    before = mirror.recipe.read_text().splitlines()
    assert hurdle(monkeypatch, "image", "pin", str(mirror.recipe)) == Exit.OK
    after = mirror.recipe.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    digest = hashlib.sha256(mirror.tarball).hexdigest()
    assert changed == [('  checksum: ""', f"  checksum: sha256:{digest}")]
    assert f"SHA256SUMS says of {DATED}.tar.xz" in capsys.readouterr().err.replace("\n", " ")
    assert hurdle(monkeypatch, "image", "pin", str(mirror.recipe)) == Exit.OK
    assert "has that pin already" in capsys.readouterr().out
    mirror.tarball += b"newer"
    mirror.site.files[mirror.dated] = mirror.tarball
    mirror.site.files[f"{mirror.home}/SHA256SUMS"] = mirror.sums()
    monkeypatch.delenv("HURDLE_MIRROR")
    args = ("image", "pin", str(mirror.recipe), "--mirror", mirror.site.url)
    assert hurdle(monkeypatch, *args) == Exit.OK
    assert f"in place of sha256:{digest}" in capsys.readouterr().out
    assert hurdle(monkeypatch, "image", "pin", "linux-control") == Exit.USAGE


def test_a_list_with_longer_checksums_serves_as_well(mirror: Mirror) -> None:
    home = mirror.home
    del mirror.site.files[f"{home}/SHA256SUMS"]
    digest = hashlib.sha512(mirror.tarball).hexdigest()
    mirror.site.files[f"{home}/SHA512SUMS"] = f"{digest} *./{DATED}.tar.xz\n".encode()
    pinned = ask(mirror.load().download)
    assert str(pinned.checksum) == f"sha512:{digest}"
    recipe = mirror.load(**{"download.checksum": str(pinned.checksum)})
    assert build_image(recipe, mirror.cache, _say).root is not None


def test_a_list_beside_the_recipe_s_name_is_found_though_the_file_is_elsewhere(
    mirror: Mirror,
) -> None:
    site = mirror.site
    site.files["/pool/some-host.img.tar.xz"] = mirror.tarball
    site.redirects[mirror.path] = f"{site.url}/pool/some-host.img.tar.xz"
    name = mirror.path.rpartition("/")[2]
    site.files[f"{mirror.home}/SHA256SUMS"] = sums(**{name: mirror.tarball})
    assert ask(mirror.load().download).file == name


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        ("no list", UsageError, "no such list"),
        ("other files", UsageError, "does not name the file"),
        ("a web page", UsageError, "does not name the file|no such list"),
        ("no image", UsageError, "404"),
        ("cut in the list", InfraError, "can't ask"),
        ("nobody there", InfraError, "can't ask"),
    ],
)
def test_a_pin_that_fails_leaves_the_recipe_as_it_was(
    mirror: Mirror, trouble: str, kind: type[HurdleError], said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    site, listed = mirror.site, f"{mirror.home}/SHA256SUMS"
    url = site.url
    if trouble == "no list":
        del site.files[listed]
    elif trouble == "other files":
        site.files[listed] = sums(other=b"")
    elif trouble == "a web page":
        site.files[listed] = b"<html>Not here</html>" * 1_000_000
    elif trouble == "no image":
        del site.files[mirror.dated]
    elif trouble == "cut in the list":
        site.cuts[listed] = [len(mirror.sums()) - 10]
    else:
        url = "http://127.0.0.1:9"
    before = mirror.recipe.read_bytes()
    with pytest.raises(kind, match=said):
        ask(mirror.load(**{"download.mirror": url}).download)
    site.cuts[listed] = [len(mirror.sums()) - 10] if trouble == "cut in the list" else []
    code = hurdle(monkeypatch, "image", "pin", str(mirror.recipe), "--mirror", url)
    assert code == kind.exit_code
    assert "--mirror" in capsys.readouterr().err
    assert mirror.recipe.read_bytes() == before
    assert [path.name for path in mirror.folder.glob(".*")] == []


def interrupted(mirror: Mirror, verb: str, path: str) -> int:
    """`hurdle image VERB` ended by Ctrl-C while the server is silent in the middle of `path`."""
    where = {"HURDLE_CACHE": str(mirror.cache.folder), "HURDLE_MIRROR": mirror.site.url}
    argv = [sys.executable, "-m", "harness", "image", verb, str(mirror.recipe)]
    mirror.site.stalls[path] = 50
    with subprocess.Popen(argv, env={**os.environ, **where}, stderr=subprocess.PIPE) as process:
        deadline = Deadline.after(30)
        while path in mirror.site.stalls and not deadline.expired:
            time.sleep(0.02)
        time.sleep(0.2)  # until what was sent has arrived
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    return process.returncode


def test_a_pin_that_is_interrupted_leaves_the_recipe_as_it_was(mirror: Mirror) -> None:
    before = mirror.recipe.read_bytes()
    code = interrupted(mirror, "pin", f"{mirror.home}/SHA256SUMS")
    assert code == Exit.INTERRUPTED
    assert mirror.recipe.read_bytes() == before
    assert {path.name for path in mirror.folder.iterdir()} == {mirror.recipe.name}


def test_a_fetch_that_is_interrupted_goes_on_with_the_next_one(mirror: Mirror) -> None:
    mirror.pin()
    assert interrupted(mirror, "fetch", mirror.dated) == Exit.INTERRUPTED
    fetch_image(mirror.load(), mirror.cache, _say)
    assert mirror.site.log[-1] == (mirror.dated, "bytes=50-")


def test_a_fetch_that_was_cut_off_is_brought_to_its_end_by_the_build(mirror: Mirror) -> None:
    mirror.pin()
    mirror.site.cuts[mirror.dated] = [len(mirror.tarball) // 2]
    image = mirror.build()
    assert image.root is not None
    ranges = [wanted for path, wanted in mirror.site.log if path == mirror.dated]
    assert ranges == ["", f"bytes={len(mirror.tarball) // 2}-"]
    mirror.cache.remove(image.name)
    mirror.build()  # from the tarball that is in the cache
    assert len([path for path, _ in mirror.site.log if path == mirror.dated]) == 2


def test_a_wrong_tarball_makes_no_image(mirror: Mirror) -> None:
    mirror.pin()
    mirror.site.files[mirror.dated] = mirror.tarball[:-1] + b"x"
    with pytest.raises(InfraError, match="not the file that is pinned"):
        mirror.build()
    assert mirror.cache.list() == ()


@pytest.mark.parametrize(
    ("settings", "said", "cure"),
    [
        ({"download.member": "*.qcow2"}, r"no \*.qcow2", "download.member"),
        ({"disk.partition": "3"}, "has no partition 3", "name the partition"),
        (
            {"offline.change": "[{file: /etc/inittab, pattern: '^x:', replacement: y}]"},
            r"(?s)nothing in /etc/inittab .*matches '\^x:'.*c:23:respawn",
            "offline.change",
        ),
        (
            {"offline.change": "[{file: /etc/ttys, pattern: x, replacement: y}]"},
            "no file /etc/ttys",
            "offline.change",
        ),
        (
            {"offline.put": "{/no/such/folder/file: {content: x}}"},
            "no folder /no/such/folder",
            "offline.folders",
        ),
        ({"offline.folders": "{/etc/passwd: '0755'}"}, "is no folder but regular", ""),
    ],
)
def test_an_image_that_differs_from_the_recipe_names_the_line_to_mend(
    mirror: Mirror, settings: dict[str, str], said: str, cure: str
) -> None:
    mirror.pin()
    with pytest.raises(UsageError, match=said) as caught:
        mirror.build(**settings)
    assert cure in str(caught.value.hint)
    assert mirror.cache.list() == ()


def in_root(image: Image, path: str) -> str:
    assert image.root is not None
    disk = image.root.path
    return Files.of(disk, find_file_system(disk)).read(path).decode()


@pytest.mark.parametrize("layout", ["dos", "logical", "whole"])
def test_an_ext2fs_is_installed_into_the_partition_and_rolled_back(
    folder: Path, layout: Layout
) -> None:
    with serving() as site:
        mirror = Mirror(site, folder, NAMES[0], layout)
        mirror.pin()
        before = mirror.build()
    recipe, cache = mirror.load(), mirror.cache
    program = folder / "ext2fs"
    program.write_text("the new one")
    made = install("ours", program, "v1", recipe, cache, _say, root=False)
    assert in_root(made, "/hurd/ext2fs-ours") == "the new one"
    assert in_root(made, "/hurd/ext2fs.static") == "the image's own ext2fs"
    program.write_text("the newest")
    served = install("ours", program, "v2", recipe, cache, _say, root=True)
    for path in ("/hurd/ext2fs-ours", "/hurd/ext2fs.static"):
        assert in_root(served, path) == "the newest"
    assert served.root is not None and before.root is not None
    root = find_file_system(served.root.path)
    check(served.root.path, root)
    assert "has_journal" in run(["dumpe2fs", "-h", root.within(served.root.path)]).stdout
    assert disk_size(served.root.path) == disk_size(before.root.path)
    assert find_partitions(served.root.path) == find_partitions(before.root.path)
    assert rollback(recipe, cache, _say) == made
    assert rollback(recipe, cache, _say) == before
    assert not list(before.root.path.parent.glob("*.alone"))


def test_a_file_that_no_boot_loader_loads_is_not_taken_for_the_root_s_server(
    mirror: Mirror, folder: Path
) -> None:
    mirror.pin()
    before = mirror.build()
    program = folder / "ext2fs"
    program.write_text("the new one")
    wrong = {"/hurd/ext2fs": "no plain file /hurd/ext2fs", "/hurd": "no plain file /hurd"}
    for path, said in wrong.items():
        recipe = mirror.load(root_server=path)
        with pytest.raises(UsageError, match=said):
            install("ours", program, "v1", recipe, mirror.cache, _say, root=True)
    with pytest.raises(UsageError, match="does not say which file serves its root"):
        install(
            "ours", program, "v1", mirror.load(root_server="null"), mirror.cache, _say, root=True
        )
    assert find_image(mirror.load(), mirror.cache) == before


@pytest.mark.parametrize("number", [0, 1], ids=["flagged", "flag-clear"])
def test_a_dirty_root_in_a_partition_is_replayed_when_it_comes_back(
    mirror: Mirror, folder: Path, number: int
) -> None:
    mirror.pin()
    before = mirror.build()
    assert before.root is not None
    disk = before.root.path
    program = folder / "ext2fs"
    program.write_text("the new one")
    install("ours", program, "v1", mirror.load(), mirror.cache, _say, root=True)
    root = find_file_system(disk)
    put_back(samples(folder)[number].image, disk, root)
    said: list[str] = []
    assert rollback(mirror.load(), mirror.cache, said.append) == before
    assert said == [f"the journal of the root of {before.key[:12]} was replayed"]
    check(disk, root)
    assert Files.of(disk, root).stat("/checked") is not None
    assert find_file_system(disk) == root


def test_what_the_host_compiles_is_not_for_amd64(folder: Path) -> None:
    with pytest.raises(UsageError, match="is for i386, and debian-hurd-amd64 is x86_64") as caught:
        built("ours", load_recipe(NAMES[1]), Cache(folder), _say)
    assert "--program" in str(caught.value.hint)
