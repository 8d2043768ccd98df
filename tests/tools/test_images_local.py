"""A Hurd guest given by path: checked, imported once, found again without a path."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.images.builders import build_image, find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.process import run

pytestmark = pytest.mark.tools


def _say(_: str) -> None: ...


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files of a guest that has all the right marks and would not boot."""
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "gnumach").write_bytes(b"\x7fELF".ljust(4096, b"\0") + bytes.fromhex("02b0ad1b"))
    (folder / "ext2fs.static").write_text("ext2fs")
    (folder / "exec.static").write_text("exec")
    run(["qemu-img", "create", "-q", "-f", "raw", str(folder / "root.img"), "64M"])
    return folder


def test_an_imported_guest_is_found_without_its_paths(files: Path, tmp_path: Path) -> None:
    (files / "mine").write_text("a translator that was just built")
    cache = Cache(tmp_path / "cache")
    settings = {"files": str(files), "variants.mainline.file": str(files / "mine")}
    built = build_image(load_recipe("hurd-local", settings), cache, _say)
    for path in files.iterdir():
        path.unlink()
    found = find_image(load_recipe("hurd-local"), cache)
    assert found == built
    assert found.root is not None
    assert [file.read_text() for file, _ in found.boot.modules] == ["ext2fs", "exec"]
    assert found.root.path.stat().st_size == 64 << 20
    assert found.root.path.stat().st_blocks * 512 < 1 << 20  # its holes are still holes
    ((translator, where),) = found.root.inject
    assert translator.read_text() == "a translator that was just built"
    assert where == "/hurd/ext2fs-mainline"


def test_the_same_files_are_imported_once_and_others_anew(files: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    recipe = load_recipe("hurd-local", {"files": str(files)})
    said: list[str] = []
    first = build_image(recipe, cache, _say)
    assert build_image(recipe, cache, said.append) == first
    assert not any("copying" in line for line in said)
    (files / "exec.static").write_text("another exec")
    second = build_image(recipe, cache, _say)
    assert second.key != first.key
    assert find_image(load_recipe("hurd-local"), cache).key == second.key


def test_a_key_is_kept_private(files: Path, tmp_path: Path) -> None:
    for name in ("key", "key.pub"):
        (files / name).write_text(name)
        (files / name).chmod(0o644)
    settings = {
        "files": str(files),
        "access.ssh.key": str(files / "key"),
        "access.ssh.host_key": str(files / "key.pub"),
    }
    image = build_image(load_recipe("hurd-local", settings), Cache(tmp_path / "cache"), _say)
    assert image.ssh is not None
    assert stat.S_IMODE(image.ssh.private_key.stat().st_mode) == 0o600
    assert image.ssh.host_key.read_text() == "key.pub"


def test_an_image_of_another_format_is_refused(files: Path, tmp_path: Path) -> None:
    root = files / "root.img"
    root.unlink()
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(root), "64M"])
    recipe = load_recipe("hurd-local", {"files": str(files)})
    with pytest.raises(UsageError, match="is qcow2, not raw") as caught:
        build_image(recipe, Cache(tmp_path / "cache"), _say)
    assert caught.value.hint == "add --set root_format=qcow2"


def test_a_packed_kernel_is_refused(files: Path, tmp_path: Path) -> None:
    (files / "gnumach").write_bytes(b"\x1f\x8b packed".ljust(9000, b"\0"))
    recipe = load_recipe("hurd-local", {"files": str(files)})
    with pytest.raises(UsageError, match="no multiboot header") as caught:
        build_image(recipe, Cache(tmp_path / "cache"), _say)
    assert "gunzip" in str(caught.value.hint)


def test_a_file_without_a_place_in_the_guest_is_refused(files: Path, tmp_path: Path) -> None:
    settings = {
        "files": str(files),
        "variants.mainline.file": str(files / "exec.static"),
        "variants.mainline.translator": "",
    }
    with pytest.raises(UsageError, match="translator"):
        build_image(load_recipe("hurd-local", settings), Cache(tmp_path / "cache"), _say)
