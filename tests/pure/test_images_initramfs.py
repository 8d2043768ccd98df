"""The initramfs: cpio as the kernel reads it, libraries and modules with what they need."""

from __future__ import annotations

import gzip
import stat
import struct
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.images import control, initramfs
from harness.images.initramfs import Entry, Module


def _members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name to mode and content of a newc archive, read as the kernel's initramfs.c does."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + i * 8 : at + 14 + i * 8], 16) for i in range(13)]
        mode, uid, size, name_size = fields[1], fields[2], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        if name == "TRAILER!!!":
            return found
        assert uid == 0
        at += -(-(110 + name_size) // 4) * 4
        found[name] = (mode, archive[at : at + size])
        at += -(-size // 4) * 4


def test_cpio_holds_every_kind_of_file() -> None:
    archive = initramfs.cpio(
        [
            initramfs.folder("a"),
            initramfs.file("a/b", b"12345", 0o600),
            initramfs.link("c", "a/b"),
            initramfs.device("d", 5, 1),
        ]
    )
    assert len(archive) % 4 == 0
    assert _members(archive) == {
        "a": (stat.S_IFDIR | 0o755, b""),
        "a/b": (stat.S_IFREG | 0o600, b"12345"),
        "c": (stat.S_IFLNK | 0o777, b"a/b"),
        "d": (stat.S_IFCHR | 0o600, b""),
    }


def test_parents_come_first_and_keep_their_mode() -> None:
    entries = initramfs.with_parents(
        [initramfs.folder("r", 0o700), initramfs.file("r/s/t", b""), initramfs.file("u", b"")]
    )
    assert [(entry.path, stat.S_IMODE(entry.mode)) for entry in entries] == [
        ("r", 0o700),
        ("r/s", 0o755),
        ("r/s/t", 0o644),
        ("u", 0o644),
    ]


def _elf(path: Path) -> None:
    """This test's own Python (or what it links to): an ELF program that is surely there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Path(sys.executable).resolve().read_bytes())


def test_a_program_brings_loader_and_libraries(tmp_path: Path) -> None:
    _elf(tmp_path / "usr/bin/tool")
    wanted = initramfs.needed((tmp_path / "usr/bin/tool").read_bytes())
    assert any("ld-linux" in name for name in wanted)
    for name in wanted:
        target = tmp_path / (name.lstrip("/") if "/" in name else f"lib/x86_64-linux-gnu/{name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"no ELF")
    found = {entry.path for entry in initramfs.programs(tmp_path, ["bin/tool"])}
    assert found == {"usr/bin/tool"} | {
        initramfs.merged(n.lstrip("/") if "/" in n else f"lib/x86_64-linux-gnu/{n}") for n in wanted
    }


def test_a_missing_library_is_named_with_who_needs_it(tmp_path: Path) -> None:
    _elf(tmp_path / "usr/bin/tool")
    with pytest.raises(UsageError, match=r"which usr/bin/tool needs"):
        initramfs.programs(tmp_path, ["usr/bin/tool"])


def test_a_typo_in_programs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no package of the recipe has usr/bin/bussybox"):
        initramfs.programs(tmp_path, ["usr/bin/bussybox"])


def test_a_pattern_takes_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/openssh").mkdir(parents=True)
    (tmp_path / "usr/lib/openssh/sshd-session").write_text("#!/bin/sh\n")
    assert [e.path for e in initramfs.programs(tmp_path, ["usr/lib/openssh/sshd-*"])] == [
        "usr/lib/openssh/sshd-session"
    ]
    assert initramfs.programs(tmp_path, ["usr/lib/openssh/none-*"]) == []


def test_links_stay_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/real.so.1").write_text("library")
    (tmp_path / "usr/lib/absolute.so").symlink_to("/usr/lib/real.so.1")
    (tmp_path / "usr/lib/relative.so").symlink_to("real.so.1")
    (tmp_path / "usr/lib/circle").symlink_to("circle")
    (tmp_path / "usr/lib/out").symlink_to("/etc/passwd")
    for name in ("absolute.so", "relative.so"):
        found = initramfs.find_file(tmp_path, f"lib/{name}")
        assert found is not None and found.read_text() == "library"
    assert initramfs.find_file(tmp_path, "lib/circle") is None
    assert initramfs.find_file(tmp_path, "lib/out") is None


def test_the_overlay_keeps_who_may_run(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "init").write_text("#!/bin/sh\n")
    (tmp_path / "init").chmod(0o700)
    (tmp_path / "etc/passwd").write_text("root")
    assert initramfs.overlay(tmp_path) == [
        Entry("etc/passwd", stat.S_IFREG | 0o644, b"root"),
        Entry("init", stat.S_IFREG | 0o755, b"#!/bin/sh\n"),
    ]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """e1 needs b, b needs c, c needs e1 (a circle that no kernel has, and that must end)."""
    needs = {"a": ("b", "gone"), "b": ("c",), "c": ("b",), "d": ()}

    def read(path: Path) -> Module:
        return Module(path.stem, b"", needs[path.stem])

    monkeypatch.setattr(initramfs, "read_module", read)
    return {name: Path(f"{name}.ko") for name in needs}


def test_modules_come_after_what_they_need(modules: dict[str, Path]) -> None:
    order = [module.name for module in initramfs.load_order(["d", "a"], modules, [])]
    assert order == ["d", "c", "b", "a"]


def test_built_in_modules_are_left_out(modules: dict[str, Path]) -> None:
    order = [
        module.name
        for module in initramfs.load_order(["a", "virtio-x"], modules, ["c", "virtio_x"])
    ]
    assert order == ["b", "a"]


def test_an_unknown_module_is_an_error(modules: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="no module 'ext9'"):
        initramfs.load_order(["ext9"], modules, [])


def _bzimage(payload: bytes) -> bytes:
    """The least of a bzImage: one set-up sector, the header's marks, the payload at its start."""
    head = bytearray(1024 + 512)
    head[0x1F1] = 2
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    return bytes(head) + payload


@pytest.mark.parametrize(
    "image",
    [
        b"\x7fELF no bzImage".ljust(2048, b"\0"),
        _bzimage(b"\x28\xb5\x2f\xfd zstd, which is left to the guest"),
        _bzimage(b"\xfd7zXZ damaged"),
        _bzimage(gzip.compress(b"no ELF inside")),
    ],
)
def test_a_kernel_that_can_not_be_unpacked_stays_as_it_is(image: bytes) -> None:
    assert control.unpacked_kernel(image) == image
