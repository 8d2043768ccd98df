"""Saved machine states: what they hold for, and that half of one is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guest.saved import States, boot_spec, resume_spec, state_key, why_not_saved
from harness.guest.session import ShellSession
from harness.images.image import BootFiles, Image
from harness.machine.spec import DiskSpec, MachineSpec, Replica

SHELL = ShellSession("abcd", 7, crlf=False)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "root.raw").write_bytes(b"root")
    manifest = {"files": {"root.raw": {"size": 4, "sha256": "aa"}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Image("hurd", "key", folder, BootFiles(folder / "kernel", "console=com0"))


@pytest.fixture
def spec(image: Image, tmp_path: Path) -> MachineSpec:
    crash = tmp_path / "crash.raw"
    crash.write_bytes(bytes(512))
    log = tmp_path / "log"
    root = DiskSpec("root", image.folder / "root.raw", "raw", "ide", snapshot=True)
    transfer = DiskSpec("transfer", Path("transfer"), "raw", "ide", blank=4096, slot=3)
    disks = (root, DiskSpec("crash", crash, "raw", "ide", log=log), transfer)
    return MachineSpec("i386", "pc", "pentium3-v1", 256, image.boot, disks, None)


def key(spec: MachineSpec, image: Image, qemu: str = "QEMU 7") -> str:
    return state_key(spec, "tcg", qemu, image)


def test_a_state_holds_for_any_crashed_disk_of_that_size(
    spec: MachineSpec, image: Image, tmp_path: Path
) -> None:
    root, crash, transfer = spec.disks
    other = tmp_path / "other.raw"
    other.write_bytes(b"x" * 512)
    moved = replace(crash, path=other, log=tmp_path / "log2")
    assert key(replace(spec, disks=(root, moved, transfer)), image) == key(spec, image)
    other.write_bytes(b"x" * 1024)
    assert key(replace(spec, disks=(root, moved, transfer)), image) != key(spec, image)


def test_a_state_holds_for_nothing_else(spec: MachineSpec, image: Image) -> None:
    keys = [
        key(spec, image),
        key(spec, image, qemu="QEMU 8"),
        state_key(spec, "kvm", "QEMU 7", image),
        key(replace(spec, memory_mib=128), image),
        key(replace(spec, relay=True), image),
        key(replace(spec, boot=replace(spec.boot, cmdline="other")), image),
        key(replace(spec, disks=spec.disks[:1]), image),
    ]
    manifest = (image.folder / "manifest.json").read_text()
    (image.folder / "manifest.json").write_text(manifest.replace("aa", "bb"))
    keys.append(key(spec, image))
    assert len(set(keys)) == len(keys)


def test_a_root_that_is_made_for_the_run_has_no_state(spec: MachineSpec) -> None:
    assert not why_not_saved(spec)
    root, *others = spec.disks
    own = replace(root, snapshot=False, replica=Replica(root.path, ((Path("f"), "/f"),)))
    for changed, why in (
        (own, "made for this run"),
        (replace(root, snapshot=False), "root_snapshot"),
        (replace(root, format="qcow2"), "qcow2"),
    ):
        assert why in why_not_saved(replace(spec, disks=(changed, *others)))
    assert not why_not_saved(replace(spec, disks=tuple(others)))


def test_what_is_saved_has_a_root_of_its_own_and_never_sees_the_crashed_disk(
    spec: MachineSpec, tmp_path: Path
) -> None:
    draft, scratch = tmp_path / "draft", tmp_path / "scratch"
    draft.mkdir()
    scratch.mkdir()
    root, crash, transfer = boot_spec(spec, draft, scratch).disks
    assert root.path == draft / "root.raw" and not root.snapshot
    assert root.path.read_bytes() == b"root"
    assert crash.path.parent == scratch and crash.log is None
    assert crash.path.read_bytes() == bytes(512)
    assert transfer == spec.disks[2]


def test_a_state_is_found_again_with_its_root_and_where_the_console_stood(
    spec: MachineSpec, tmp_path: Path
) -> None:
    states = States(tmp_path, "hurd")
    assert states.find("k") is None
    with states.making() as draft:
        (draft / "memory").write_bytes(b"memory")
        (draft / "root.raw").write_bytes(b"dirty root")
        states.publish(draft, "k", SHELL)
    state = states.find("k")
    assert state is not None and state.shell == SHELL
    resumed = resume_spec(spec, state)
    assert resumed.incoming == state.memory
    assert resumed.disks[0].path.read_bytes() == b"dirty root" and resumed.disks[0].snapshot
    assert resumed.disks[1] == spec.disks[1]


def test_a_maker_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    states = States(tmp_path, "hurd")
    with pytest.raises(RuntimeError), states.making() as draft:
        (draft / "memory").write_bytes(b"half")
        raise RuntimeError
    assert list((tmp_path / "states/hurd").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "no memory", "no json", "half a json", "other json"])
def test_a_damaged_state_is_none_and_goes_away(tmp_path: Path, damage: str) -> None:
    states = States(tmp_path, "hurd")
    with states.making() as draft:
        (draft / "memory").write_bytes(b"memory")
        folder = states.publish(draft, "k", SHELL).folder
    if damage == "cut":
        (folder / "memory").write_bytes(b"mem")
    elif damage == "no memory":
        (folder / "memory").unlink()
    elif damage == "no json":
        (folder / "state.json").unlink()
    else:
        (folder / "state.json").write_text({"half a json": '{"siz', "other json": "[1]"}[damage])
    assert states.find("k") is None
    assert not folder.exists()


def test_the_newest_states_stay(tmp_path: Path) -> None:
    states = States(tmp_path, "hurd")
    for name in "abcde":
        with states.making() as draft:
            (draft / "memory").write_bytes(b"m")
            states.publish(draft, name, SHELL)
    assert states.find("e") and not states.find("a")
    assert len(list((tmp_path / "states/hurd").iterdir())) == 3
