"""A disk with the layout of Debian's pre-installed Hurd that really boots, made without root.

GRUB is put in as grub-install does on a DOS label: boot.img into the first sector around the
partition table, core.img into the gap behind it (GRUB's manual, "BIOS installation").
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from harness.disk.debugfs import Files, Stat
from harness.disk.partitions import find_file_system
from harness.images.image import Image
from harness.images.preinstalled.disk import at
from harness.images.source.root import node_commands, parse_node
from harness.process import run

GRUB = Path("/usr/lib/grub/i386-pc")
_GAP = 512  # bytes; where core.img begins
_TABLE_AT = 440  # the disk's signature and the partition table follow GRUB's code in the sector
_MIB = 1 << 20
_ROOT_AT = 6 * _MIB
_MODULES = "biosdisk part_msdos ext2 normal multiboot serial terminal echo gzio test"
_NODE = "b 0640 /dev/hd0s2 /hurd/storeio hd0s2"

# In the form that grub-mkconfig gives it: on the screen, with a menu.
_MENU = """\
set default="0"
terminal_output console
set timeout=5
menuentry 'GNU/Hurd' {
\tinsmod part_msdos
\tinsmod ext2
\tset root='hd0,msdos2'
\techo 'Loading GNU Mach ...'
\tmultiboot /boot/gnumach.gz root=device:hd0s2
\techo 'Loading the Hurd ...'
"""


def missing() -> str:
    """Why the disk can't be made here; empty if it can."""
    if shutil.which("grub-mkimage") and (GRUB / "kernel.img").exists():
        return ""
    return "GRUB for BIOS machines is missing: apt-get install grub-common grub-pc-bin"


def make_grub_disk(image: Image, disk: Path) -> None:
    """Make the new file `disk` from a Hurd guest that boots by QEMU's multiboot loader."""
    assert image.root is not None
    size = image.root.path.stat().st_size
    with disk.open("wb") as file:
        file.truncate(_ROOT_AT + size)
    table = f"label: dos\nstart=1MiB,size=5MiB,type=82\nstart={_ROOT_AT >> 20}MiB,type=83\n"
    run(["sfdisk", "--quiet", str(disk)], stdin=table)
    root = ["dd", f"if={image.root.path}", f"of={disk}", "bs=1M", f"seek={_ROOT_AT >> 20}"]
    run([*root, "conv=notrunc,sparse"])
    _install_grub(disk)
    _install_kernel(disk, image)


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


def _install_kernel(disk: Path, image: Image) -> None:
    """The kernel, GRUB's menu and the root's own device node go into the root."""
    assert image.boot.kernel is not None
    root = at(disk, find_file_system(disk))
    files, plain = Files(root), Stat("regular", 0o644, 0, 0)
    files.make_folder("/boot/grub", Stat("directory", 0o755, 0, 0))
    files.write("/boot/gnumach.gz", gzip.compress(image.boot.kernel.read_bytes()), plain)
    modules = "".join(
        f"\tmodule /hurd/{file.name} {file.name} {_quoted(args)}\n"
        for file, args in image.boot.modules
    )
    files.write("/boot/grub/grub.cfg", f"{_MENU}{modules}}}\n".encode(), plain)
    node = parse_node(_NODE)
    record = disk.with_suffix(".node")
    record.write_bytes(node.record)
    run(["debugfs", "-w", "-f", "-", root], stdin="\n".join(node_commands(node, record)) + "\n")


def _quoted(args: str) -> str:
    """Arguments for GRUB's shell: variables are meant for the kernel's boot script."""
    return " ".join(f"'{word}'" for word in args.split())
