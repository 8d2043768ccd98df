"""QEMU's command line, read without QEMU."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InfraError, UsageError
from harness.images.image import BootFiles, Image, RootDisk
from harness.images.recipe import load_recipe
from harness.machine.argv import Paths, escape, options, qemu_argv
from harness.machine.qmp import forwarded_port
from harness.machine.spec import DiskSpec, MachineSpec, Replica, spec_for
from harness.machine.start import by_hand, check_socket_path, explain_start

PATHS = Paths(Path("/s/q.qmp"), Path("/s/q.console"), Path("/o/console.log"), Path("/s/q.relay"))
LINUX = BootFiles(Path("/i/kernel"), "console=ttyS0 a,b", initrd=Path("/i/initrd"))
DISK = DiskSpec("crash", Path("/o/killed.raw"), "raw", "ide", log=Path("/o/w.log"))


def spec(*disks: DiskSpec, machine: str = "pc", nic: str | None = None) -> MachineSpec:
    return MachineSpec("x86_64", machine, "qemu64", 256, LINUX, disks, nic)


def values(argv: tuple[str, ...], option: str) -> list[str]:
    return [after for word, after in pairwise(argv) if word == option]


def split_like_qemu(text: str) -> list[str]:
    """What QEMU makes of a list: a comma ends an item unless it is doubled."""
    items, current, at = [], "", 0
    while at < len(text):
        if text[at] == "," and text[at + 1 : at + 2] != ",":
            items.append(current)
            current = ""
        else:
            current += text[at]
            at += text[at] == ","
        at += 1
    return [*items, current]


@given(st.lists(st.text(alphabet="ab,= /", min_size=1), min_size=1, max_size=4))
def test_what_is_escaped_comes_out_again(texts: list[str]) -> None:
    # An item that begins or ends with a comma would melt with its neighbour without a key.
    joined = ",".join(f"k={escape(text)}" for text in texts)
    assert split_like_qemu(joined) == [f"k={text}" for text in texts]


def test_option_keys_are_spelled_as_qemu_spells_them() -> None:
    assert options("x", node_name="a", cache__direct="off") == "x,node-name=a,cache.direct=off"


def test_the_crashed_disk_runs_on_a_write_log_from_the_start() -> None:
    argv = qemu_argv(spec(DISK), "tcg", PATHS)
    log = next(value for value in values(argv, "-blockdev") if "blklogwrites" in value)
    assert split_like_qemu(log) == [
        "driver=blklogwrites",
        "node-name=crash",
        "file=crash-raw",
        "log=crash-log",
        "log-sector-size=512",
        "log-super-update-interval=1",
    ]
    assert "ide-hd,drive=crash,write-cache=on,werror=stop,rerror=stop,bus=ide.0,unit=0" in values(
        argv, "-device"
    )
    assert all("cache.direct=off" in v for v in values(argv, "-blockdev") if "filename" in v)


def test_the_guest_is_told_what_the_disk_writes_whole() -> None:
    (device,) = values(qemu_argv(spec(replace(DISK, sector=4096)), "tcg", PATHS), "-device")[:1]
    assert "physical_block_size=4096" in split_like_qemu(device)


def test_a_slow_disk_waits_above_its_log() -> None:
    argv = qemu_argv(spec(replace(DISK, writes_per_second=100)), "tcg", PATHS)
    assert values(argv, "-object") == ["throttle-group,id=crash-pace,x-iops-write=100"]
    log, pace = values(argv, "-blockdev")[-2:]
    assert "node-name=crash-logged" in split_like_qemu(log)
    assert pace == "driver=throttle,node-name=crash,throttle-group=crash-pace,file=crash-logged"
    with pytest.raises(UsageError, match="can't be slowed down"):
        replace(DISK, writes_per_second=100, fallible=True)


def test_the_second_serial_port_is_there_where_ssh_goes_over_it() -> None:
    assert values(qemu_argv(spec(), "tcg", PATHS), "-serial") == ["chardev:console"]
    argv = qemu_argv(replace(spec(), relay=True), "tcg", PATHS)
    assert values(argv, "-serial") == ["chardev:console", "chardev:relay"]
    assert "socket,id=relay,path=/s/q.relay,server=on,wait=off" in values(argv, "-chardev")


def test_a_machine_goes_on_from_a_state_whose_path_has_blanks() -> None:
    argv = qemu_argv(replace(spec(), incoming=Path("/my cache/memory")), "tcg", PATHS)
    assert values(argv, "-incoming") == ["exec:cat '/my cache/memory'"]
    assert "-S" in argv


def test_the_transfer_disk_has_its_place_whatever_other_disks_there_are() -> None:
    blank = DiskSpec("transfer", Path("t"), "raw", "ide", blank=1 << 20, slot=3)
    for disks in ((blank,), (DISK, blank)):
        (device,) = (
            value
            for value in values(qemu_argv(spec(*disks), "tcg", PATHS), "-device")
            if "drive=transfer" in value
        )
        assert device.endswith("bus=ide.1,unit=1")


def test_only_a_raw_disk_that_keeps_its_writes_can_be_logged() -> None:
    for change in ({"format": "qcow2"}, {"snapshot": True}):
        with pytest.raises(UsageError, match="can't be logged"):
            replace(DISK, **change)


def test_a_snapshot_disk_is_written_to_a_temporary_overlay() -> None:
    root = DiskSpec("root", Path("/i/r,1.img"), "raw", "ide", snapshot=True)
    argv = qemu_argv(spec(root, DISK), "tcg", PATHS)
    drive = split_like_qemu(values(argv, "-drive")[0])
    assert "snapshot=on" in drive and "file=/i/r,1.img" in drive
    buses = [value for value in values(argv, "-device") if value.startswith("ide-hd")]
    assert [value.split("bus=")[1] for value in buses] == ["ide.0,unit=0", "ide.0,unit=1"]


@pytest.mark.parametrize(
    ("bus", "machine", "expected"),
    [
        ("ide", "pc", "ide-hd,drive=crash,write-cache=on,werror=stop,rerror=stop,bus=ide.0,unit=0"),
        ("ahci", "pc", "ide-hd,drive=crash,write-cache=on,werror=stop,rerror=stop,bus=ahci.0"),
        ("ahci", "q35", "ide-hd,drive=crash,write-cache=on,werror=stop,rerror=stop,bus=ide.0"),
        ("virtio", "pc", "virtio-blk-pci,drive=crash,write-cache=on,werror=stop,rerror=stop"),
    ],
)
def test_each_bus_has_its_device(bus: str, machine: str, expected: str) -> None:
    argv = qemu_argv(spec(replace(DISK, bus=bus), machine=machine), "tcg", PATHS)  # type: ignore[arg-type]
    assert expected in values(argv, "-device")
    added = "ich9-ahci,id=ahci" in values(argv, "-device")
    assert added == (bus == "ahci" and machine == "pc")


def test_buses_that_can_not_be_are_refused_before_qemu_is_asked() -> None:
    with pytest.raises(UsageError, match="no IDE"):
        qemu_argv(spec(DISK, machine="q35"), "tcg", PATHS)
    with pytest.raises(UsageError, match="four IDE disks"):
        qemu_argv(spec(*(replace(DISK, name=f"d{n}") for n in range(5))), "tcg", PATHS)


def test_multiboot_modules_are_separated_by_single_commas() -> None:
    boot = BootFiles(
        Path("/i/gnumach"),
        "root=device:hd0",
        modules=((Path("/i/a,b/ext2fs"), "--x=${y},z $(task-create)"), (Path("/i/exec"), "$(e)")),
    )
    argv = qemu_argv(replace(spec(), boot=boot), "tcg", PATHS)
    assert values(argv, "-initrd") == [
        "/i/a,,b/ext2fs --x=${y},,z $(task-create),/i/exec $(e)",
    ]
    assert split_like_qemu(values(argv, "-initrd")[0])[0] == (
        "/i/a,b/ext2fs --x=${y},z $(task-create)"
    )


def test_a_module_path_with_a_blank_is_refused_since_qemu_cuts_it_there() -> None:
    boot = BootFiles(Path("/i/gnumach"), "", modules=((Path("/my files/ext2fs"), ""),))
    with pytest.raises(UsageError, match="blank"):
        qemu_argv(replace(spec(), boot=boot), "tcg", PATHS)


def test_linux_gets_its_command_line_as_it_is() -> None:
    argv = qemu_argv(spec(), "kvm", PATHS)
    assert values(argv, "-append") == ["console=ttyS0 a,b"]
    assert values(argv, "-initrd") == ["/i/initrd"]
    assert values(argv, "-accel") == ["kvm"]


def test_a_reboot_ends_qemu_and_nothing_is_lost_at_the_start() -> None:
    argv = qemu_argv(spec(), "tcg", PATHS)
    assert {"-no-reboot", "-S", "-nodefaults", "-no-user-config"} <= set(argv)
    assert values(argv, "-sandbox") == ["on"]
    assert "-sandbox" not in qemu_argv(spec(), "tcg", PATHS, sandbox=False)


def test_the_network_is_there_only_if_asked_for_and_leads_nowhere() -> None:
    assert values(qemu_argv(spec(), "tcg", PATHS), "-netdev") == []
    argv = qemu_argv(spec(nic="e1000"), "tcg", PATHS)
    assert values(argv, "-netdev") == ["user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"]
    assert "e1000,netdev=net0" in values(argv, "-device")


def test_the_command_for_a_person_needs_no_socket_of_hurdle() -> None:
    argv = qemu_argv(spec(DISK, nic="e1000"), "tcg", PATHS)
    line = by_hand(argv)
    assert "/s/" not in shlex.join(line) and "-S" not in line
    assert values(line, "-serial") == ["mon:stdio"] and values(line, "-mon") == []
    assert set(values(argv, "-blockdev")) == set(values(line, "-blockdev"))


def image(root: RootDisk | None) -> Image:
    return Image("g", "k", Path("/i"), LINUX, root=root)


def test_the_root_disk_comes_first_and_the_crashed_disk_after_it() -> None:
    recipe = load_recipe("hurd-local")
    made = spec_for(recipe, image(RootDisk(Path("/i/root.img"), "raw")), (DISK,))
    assert [disk.name for disk in made.disks] == ["root", "crash"]
    assert made.disks[0].snapshot and made.vga and not made.rng


def test_a_variant_with_a_translator_file_gets_a_changed_copy_of_the_root() -> None:
    recipe = load_recipe("hurd-local", {"variants.mainline.file": "/b/ext2fs"})
    root = image(RootDisk(Path("/i/root.img"), "raw"))
    made = spec_for(recipe, root, (), variant="mainline", scratch=Path("/s"))
    assert made.disks[0].path == Path("/s/root.raw") and not made.disks[0].snapshot
    assert made.disks[0].replica == Replica(
        Path("/i/root.img"), ((Path("/b/ext2fs"), "/hurd/ext2fs-mainline"),)
    )
    assert spec_for(recipe, root, (), variant="vanilla").disks[0].replica is None
    qcow2 = image(RootDisk(Path("/i/root.qcow2"), "qcow2"))
    with pytest.raises(UsageError, match="raw root disk"):
        spec_for(recipe, qcow2, (), variant="mainline", scratch=Path("/s"))


def test_the_control_has_no_root_disk_but_entropy() -> None:
    made = spec_for(load_recipe("linux-control"), image(None), (DISK,))
    assert made.disks == (DISK,) and made.rng and not made.vga


def test_a_socket_path_that_is_too_long_or_taken_is_named(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="108 bytes") as caught:
        check_socket_path(Path("/" + "x" * 107))
    assert "HURDLE_SCRATCH" in (caught.value.hint or "")
    check_socket_path(Path("/" + "x" * 106))
    (tmp_path / "s").touch()
    with pytest.raises(InfraError, match="taken"):
        check_socket_path(tmp_path / "s")


def test_messages_of_qemu_have_a_cure() -> None:
    said = 'qemu: -blockdev driver=file: Failed to get "write" lock'
    assert "another QEMU" in explain_start(said)
    assert explain_start("something new") == ""


USERNET = """Hub -1 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]  12       127.0.0.1 39213       10.0.2.15    22     0     0
"""


def test_the_port_that_the_kernel_chose_is_read_back() -> None:
    assert forwarded_port(USERNET) == 39213
    with pytest.raises(InfraError, match="no port"):
        forwarded_port("Hub -1 (net0):\n")
