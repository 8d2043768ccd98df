"""Disks with the layout of Debian's pre-installed Hurd that really boot, made without root.

GRUB is put in as grub-install does on a DOS label: boot.img into the first sector around the
partition table, core.img into the gap behind it (GRUB's manual, "BIOS installation").
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.disk.debugfs import Files, Stat
from harness.disk.partitions import find_file_system
from harness.images import initramfs
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import RECIPES
from harness.images.source.root import node_commands, parse_node
from harness.process import run

GRUB = Path("/usr/lib/grub/i386-pc")
_GAP = 512  # bytes; where core.img begins
_TABLE_AT = 440  # the disk's signature and the partition table follow GRUB's code in the sector
_MIB = 1 << 20
_ROOT_AT = 6 * _MIB
_MODULES = "biosdisk part_msdos ext2 normal multiboot linux serial terminal echo gzio test"
_NODE = "b 0640 /dev/hd0s2 /hurd/storeio hd0s2"

# In the form that grub-mkconfig gives it: on the screen, with a menu.
_MENU = """\
set default="0"
terminal_output console
set timeout=5
menuentry 'the only one' {{
\tinsmod part_msdos
\tinsmod ext2
\tset root='hd0,msdos2'
{entry}}}
"""

# The control's system stays in its initramfs, but what the image was given comes from the disk.
_FROM_DISK = """\
while [ ! -b /dev/sda2 ]; do sleep 0.1; done
mkdir /disk && mount -t ext2 /dev/sda2 /disk
cp /disk/root/.ssh/authorized_keys /root/.ssh/
cp /disk/etc/ssh/ssh_host_ed25519_key /etc/ssh/
"""


def missing() -> str:
    """Why no disk can be made here; empty if it can."""
    if shutil.which("grub-mkimage") and (GRUB / "kernel.img").exists():
        return ""
    return "GRUB for BIOS machines is missing: apt-get install grub-common grub-pc-bin"


def make_hurd_disk(image: Image, disk: Path) -> None:
    """A disk of a Hurd guest that boots by QEMU's multiboot loader otherwise."""
    assert image.root is not None and image.boot.kernel is not None
    modules = "".join(
        f"\tmodule /hurd/{file.name} {file.name} {_quoted(args)}\n"
        for file, args in image.boot.modules
    )
    kernel = "\tmultiboot /boot/gnumach.gz root=device:hd0s2\n"
    boot = {
        "/boot/gnumach.gz": gzip.compress(image.boot.kernel.read_bytes()),
        "/boot/grub/grub.cfg": _MENU.format(entry=kernel + modules).encode(),
    }
    _make_disk(image.root.path, boot, disk)
    record = disk.with_suffix(".node")
    record.write_bytes((node := parse_node(_NODE)).record)
    script = "\n".join(node_commands(node, record)) + "\n"
    run(["debugfs", "-w", "-f", "-", find_file_system(disk).within(disk)], stdin=script)


def make_linux_disk(image: Image, cmdline: str, disk: Path) -> None:
    """A disk of the control guest: its kernel as Debian packs it, its initramfs, empty folders."""
    assert image.boot.initrd is not None
    init = (RECIPES / "linux-control/init").read_text()
    assert "hostname control\n" in init
    init = init.replace("hostname control\n", f"{_FROM_DISK}hostname control\n")
    more = initramfs.cpio([initramfs.file("init", init.encode(), 0o755)])
    entry = f"\tlinux /boot/vmlinuz {cmdline}\n\tinitrd /boot/initrd /boot/more\n"
    boot = {
        "/boot/vmlinuz": _packed_kernel(disk.with_suffix(".deb")),
        "/boot/initrd": gzip.compress(image.boot.initrd.read_bytes(), compresslevel=1),
        "/boot/more": more,
        "/boot/grub/grub.cfg": _MENU.format(entry=entry).encode(),
    }
    root = disk.with_suffix(".root")
    run(["mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096", "-I", "128", str(root), "96M"])
    _make_disk(root, boot, disk)


def _packed_kernel(scratch: Path) -> bytes:
    """The bzImage of the package that the control's image was made from."""
    (package,) = sorted(Cache.default().folder.glob("debian/cache/archives/linux-image-*.deb"))[-1:]
    run(["dpkg-deb", "--extract", str(package), str(scratch)], timeout=120)
    (kernel,) = (scratch / "boot").glob("vmlinuz-*")
    data = kernel.read_bytes()
    shutil.rmtree(scratch)
    return data


def _make_disk(root: Path, boot: Mapping[str, bytes], disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(_ROOT_AT + root.stat().st_size)
    start = _ROOT_AT // _MIB
    table = f"label: dos\nstart=1MiB,size=5MiB,type=82\nstart={start}MiB,type=83\n"
    run(["sfdisk", "--quiet", str(disk)], stdin=table)
    argv = ["dd", f"if={root}", f"of={disk}", "bs=1M", f"seek={start}", "conv=notrunc,sparse"]
    run(argv)
    _install_grub(disk)
    files = Files.of(disk, find_file_system(disk))
    files.make_folder("/boot/grub", Stat("directory", 0o755, 0, 0))
    for path, data in boot.items():
        files.write(path, data, Stat("regular", 0o644, 0, 0))


def _install_grub(disk: Path) -> None:
    core = disk.with_suffix(".core")
    prefix = ("-O", "i386-pc", "-p", "(hd0,msdos2)/boot/grub")
    run(["grub-mkimage", "-d", str(GRUB), *prefix, "-o", str(core), *_MODULES.split()])
    data = core.read_bytes()
    assert _GAP + len(data) < _MIB, "core.img must end before the first partition"
    with disk.open("r+b") as file:
        file.write((GRUB / "boot.img").read_bytes()[:_TABLE_AT])
        file.seek(_GAP)
        file.write(data)
    core.unlink()


def _quoted(args: str) -> str:
    """Arguments for GRUB's shell: variables are meant for the kernel's boot script."""
    return " ".join(f"'{word}'" for word in args.split())
