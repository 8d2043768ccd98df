"""An ext2fs put into an image of the cache, and taken back; a root that has to be replayed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from harness.disk import ext2
from harness.disk.jbd2 import journal_map, log_has_data
from harness.errors import GuestError, InfraError, UsageError
from harness.images.builders import build_image, find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import Recipe, load_recipe
from harness.oracles.selfcheck import samples
from harness.process import run
from harness.signals import Stopped
from harness.variants.install import attempt, install, replay, rollback

pytestmark = pytest.mark.tools

_KIND = ("-t", "ext2", "-o", "hurd", "-b", "4096", "-I", "128")


def _say(_: str) -> None: ...


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def recipe(tmp_path: Path, cache: Cache) -> Recipe:
    """A guest in the cache that has all the right marks and would not boot."""
    folder = tmp_path / "guest"
    (folder / "tree/hurd").mkdir(parents=True)
    (folder / "tree/hurd/ext2fs-vanilla").write_text("the old one")
    (folder / "gnumach").write_bytes(b"\x7fELF".ljust(4096, b"\0") + bytes.fromhex("02b0ad1b"))
    (folder / "ext2fs.static").write_text("module ext2fs")
    (folder / "exec.static").write_text("module exec")
    root = str(folder / "root.img")
    run(["mke2fs", "-q", *_KIND, "-d", str(folder / "tree"), root, "16M"])
    recipe = load_recipe("hurd-local", {"files": str(folder)})
    build_image(recipe, cache, _say)
    shutil.rmtree(folder)
    return recipe


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "ext2fs"
    path.write_text("the new one")
    return path


def content(image: Image, path: str) -> str:
    assert image.root
    return run(["debugfs", "-R", f"cat {path}", str(image.root.path)]).stdout


def modules(image: Image) -> list[str]:
    return [path.read_text() for path, _ in image.boot.modules]


def test_an_installed_ext2fs_is_in_a_new_image_and_rolled_back(
    recipe: Recipe, cache: Cache, program: Path
) -> None:
    before = find_image(recipe, cache)
    made = install("vanilla", program, "v2", recipe, cache, _say, root=False)
    assert made.key != before.key
    assert find_image(recipe, cache) == made
    assert content(made, "/hurd/ext2fs-vanilla") == "the new one"
    assert content(before, "/hurd/ext2fs-vanilla") == "the old one"
    assert modules(made) == modules(before)
    assert made.versions["ext2fs-vanilla"] == "v2"
    assert cache.list(verify=True)[0].problem == ""
    assert rollback(recipe, cache, _say) == before
    with pytest.raises(UsageError, match="nothing was installed"):
        rollback(recipe, cache, _say)


def test_the_same_is_not_installed_twice(recipe: Recipe, cache: Cache, program: Path) -> None:
    made = install("vanilla", program, "v2", recipe, cache, _say, root=False)
    assert install("vanilla", program, "v2", recipe, cache, _say, root=False) == made
    assert len(cache.list()) == 2


def test_an_installed_root_server_is_the_boot_module_and_has_its_journal(
    recipe: Recipe, cache: Cache, program: Path
) -> None:
    made = install("mainline", program, "v2", recipe, cache, _say, root=True)
    assert modules(made) == ["the new one", "module exec"]
    assert made.root and ext2.superblock(made.root.path).has_journal
    assert content(made, "/hurd/ext2fs-mainline") == "the new one"
    run(["e2fsck", "-fn", str(made.root.path)])
    back = rollback(recipe, cache, _say)
    assert modules(back) == ["module ext2fs", "module exec"]


def test_two_variants_are_installed_one_after_the_other(
    recipe: Recipe, cache: Cache, program: Path
) -> None:
    install("vanilla", program, "v2", recipe, cache, _say, root=False)
    both = install("mainline", program, "m2", recipe, cache, _say, root=False)
    assert set(cache.manifest(both).installed) == {"vanilla", "mainline"}
    assert content(both, "/hurd/ext2fs-vanilla") == "the new one"
    assert set(cache.manifest(rollback(recipe, cache, _say)).installed) == {"vanilla"}


def try_ends(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("harness.variants.install._boot_and_mount", fail)


def test_a_try_that_fails_takes_the_installation_back_with_what_came_after_it(
    recipe: Recipe, cache: Cache, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_image(recipe, cache)
    install("vanilla", program, "v2", recipe, cache, _say, root=False)
    install("mainline", program, "m2", recipe, cache, _say, root=False)
    again = install("vanilla", program, "v2", recipe, cache, _say, root=False)
    try_ends(monkeypatch, GuestError("it panicked"))
    with pytest.raises(GuestError, match=f"rolled back: .* {before.key[:12]} again\nit panicked"):
        attempt("vanilla", again, recipe, cache, _say)
    assert find_image(recipe, cache) == before


def test_a_try_that_fails_takes_nothing_back_twice(
    recipe: Recipe, cache: Cache, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone else rolled it back while the guest booted."""
    below = install("mainline", program, "m2", recipe, cache, _say, root=False)
    made = install("vanilla", program, "v2", recipe, cache, _say, root=False)

    def fail(*_: object) -> None:
        rollback(recipe, cache, _say)
        raise GuestError("it panicked")

    monkeypatch.setattr("harness.variants.install._boot_and_mount", fail)
    with pytest.raises(GuestError, match=f"{below.key[:12]} again"):
        attempt("vanilla", made, recipe, cache, _say)
    assert find_image(recipe, cache) == below


@pytest.mark.parametrize(
    "error", [InfraError("no QEMU"), Stopped(signal.SIGINT)], ids=["the host failed", "Ctrl-C"]
)
def test_what_could_not_be_tried_does_not_stay(
    recipe: Recipe,
    cache: Cache,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    before = find_image(recipe, cache)
    made = install("vanilla", program, "v2", recipe, cache, _say, root=True)
    try_ends(monkeypatch, error)
    said: list[str] = []
    with pytest.raises(type(error)):
        attempt("vanilla", made, recipe, cache, said.append)
    assert find_image(recipe, cache) == before
    assert said == [
        f"the new vanilla could not be tried, and was rolled back: {before.key[:12]} again"
    ]


def test_a_few_installations_are_kept_and_the_image_itself_always(
    recipe: Recipe, cache: Cache, program: Path
) -> None:
    before = find_image(recipe, cache)
    for number in range(7):
        program.write_text(f"number {number}")
        install("vanilla", program, f"v{number}", recipe, cache, _say, root=False)
    keys = [each.key for each in cache.list()]
    assert len(keys) == 5
    assert before.key in keys
    assert content(find_image(recipe, cache), "/hurd/ext2fs-vanilla") == "number 6"


def test_a_rollback_without_the_image_before_is_refused(
    recipe: Recipe, cache: Cache, program: Path
) -> None:
    before = find_image(recipe, cache)
    install("vanilla", program, "v2", recipe, cache, _say, root=False)
    cache.remove(recipe.name, key=before.key)
    with pytest.raises(UsageError, match="from before the installation is gone"):
        rollback(recipe, cache, _say)
    assert find_image(recipe, cache)


def test_what_no_root_can_hold_changes_nothing(recipe: Recipe, cache: Cache, program: Path) -> None:
    before = find_image(recipe, cache)
    program.write_bytes(os.urandom(17 << 20))
    with pytest.raises(InfraError, match="could not be put"):
        install("vanilla", program, "v2", recipe, cache, _say, root=False)
    assert find_image(recipe, cache) == before
    with pytest.raises(UsageError, match="no variant 'zfs'"):
        install("zfs", program, "v2", recipe, cache, _say, root=False)


@pytest.mark.parametrize("number", [0, 1], ids=["flagged", "flag-clear"])
def test_a_dirty_root_is_replayed_when_it_comes_back(
    recipe: Recipe, cache: Cache, program: Path, tmp_path: Path, number: int
) -> None:
    image = find_image(recipe, cache)
    assert image.root
    install("vanilla", program, "v2", recipe, cache, _say, root=True)
    shutil.copyfile(samples(tmp_path)[number].image, image.root.path)
    assert log_has_data(image.root.path)
    said: list[str] = []
    assert rollback(recipe, cache, said.append) == image
    assert said == [f"the journal of the root of {image.key[:12]} was replayed"]
    assert not log_has_data(image.root.path)
    assert ext2.stat_object(image.root.path, "checked").present
    assert not replay(image.root.path)


def test_a_dirty_root_is_replayed_before_a_file_is_put_there(
    recipe: Recipe, cache: Cache, program: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("hurd-local", {"variants.vanilla.translator": "/ext2fs"})
    image = find_image(recipe, cache)
    assert image.root
    shutil.copyfile(samples(tmp_path)[0].image, image.root.path)
    made = install("vanilla", program, "v2", recipe, cache, _say, root=False)
    assert made.root and not log_has_data(made.root.path)
    assert content(made, "/ext2fs") == "the new one"
    assert ext2.stat_object(made.root.path, "checked").present
    assert log_has_data(image.root.path)


def test_a_journal_that_can_not_be_replayed_is_said(tmp_path: Path) -> None:
    disk = samples(tmp_path)[0].image
    offset = journal_map(disk).superblock_offset
    assert offset
    with disk.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(4096))
    with pytest.raises(GuestError, match="can't be replayed"):
        replay(disk)
