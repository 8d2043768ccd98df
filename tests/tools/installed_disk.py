"""A small disk with the layout of Debian's pre-installed Hurd, and a tarball of it.

The configuration files have the form that grub-mkconfig, sysvinit and OpenSSH give them, shortened.
"""

from __future__ import annotations

import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Literal

from harness.process import run

Layout = Literal["dos", "logical", "gpt", "whole", "no-root", "root-first"]

MIB = 1 << 20
DATED = "debian-hurd-i386-20250807.img"

_TABLES: dict[Layout, tuple[str, int]] = {
    # sfdisk's script, and the MiB at which the root begins
    "dos": ("label: dos\nstart=1MiB,size=4MiB,type=82\nstart=5MiB,type=83,bootable\n", 5),
    "logical": (
        "label: dos\nstart=1MiB,size=4MiB,type=82\nstart=5MiB,type=5\nstart=6MiB,type=83\n",
        6,
    ),
    "gpt": ("label: gpt\nstart=1MiB,size=4MiB,type=S\nstart=5MiB,size=30MiB,type=L\n", 5),
    "no-root": ("label: dos\nstart=1MiB,size=4MiB,type=82\nstart=5MiB,type=83\n", 0),
    "root-first": ("label: dos\nstart=1MiB,size=30MiB,type=83\nstart=31MiB,type=82\n", 1),
}

FILES = {
    "boot/grub/grub.cfg": """\
set default="0"
if loadfont unicode ; then
  set gfxmode=auto
  insmod gfxterm
fi
terminal_output gfxterm
if [ x$feature_timeout_style = xy ] ; then
  set timeout_style=menu
  set timeout=5
# Fallback normal timeout code in case the timeout_style feature is
# unavailable.
else
  set timeout=5
fi
menuentry 'Debian GNU/Hurd' --class debian --class gnu {
\tinsmod part_msdos
\tinsmod ext2
\tset root='hd0,msdos2'
\techo\t\t'Loading GNU Mach 1.8-486 ...'
\tmultiboot\t/boot/gnumach-1.8-486-up.gz root=part:2:device:hd0
\techo\t\t'Loading the Hurd ...'
\tmodule\t\t/hurd/ext2fs.static ext2fs --readonly \\
\t\t\t--multiboot-command-line='${kernel-command-line}'
\tmodule\t\t/lib/ld.so.1 exec /hurd/exec '$(exec-task=task-create)'
}
menuentry 'Debian GNU/Hurd (recovery mode)' --class debian --class gnu {
\tmultiboot\t/boot/gnumach-1.8-486-up.gz root=part:2:device:hd0 -s
}
""",
    "hurd/ext2fs.static": "the image's own ext2fs",
    "etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_GNUMACH=""\n',
    "etc/inittab": """\
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
1:2345:respawn:/sbin/getty --noclear 38400 tty1
2:23:respawn:/sbin/getty 38400 tty2
c:23:respawn:/sbin/getty 38400 console
""",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n",
    "etc/ssh/ssh_host_ed25519_key": "the key that everybody has\n",
    "etc/passwd": "root::0:0:root:/root:/bin/bash\n",
    "root/.bashrc": "# root's\n",
    "usr/local/sbin/README": "",
}


def make_disk(folder: Path, layout: Layout = "dos", *, fs: str = "ext2") -> Path:
    """A disk of 40 MiB with the dated name; sparse."""
    disk = folder / DATED
    with disk.open("wb") as file:
        file.truncate(40 * MIB)
    start = 0
    if layout != "whole":
        table, start = _TABLES[layout]
        run(["sfdisk", "--quiet", str(disk)], stdin=table)
    if layout != "no-root":
        tree = folder / "tree"
        for name, content in FILES.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content)
        (tree / "etc/inittab").chmod(0o640)
        (tree / "root").chmod(0o700)
        size = {"root-first": 30, "gpt": 30}.get(layout, 40 - start if layout != "whole" else 40)
        kind = ("-t", fs, "-o", "hurd", "-b", "4096", "-I", "128", "-E")
        where = f"offset={start * MIB},root_owner=0:0"
        argv = ["mke2fs", "-q", "-F", *kind, where, "-d", str(tree), str(disk), f"{size * 1024}k"]
        run(argv)
    return disk


def pack(disk: Path, tarball: Path, *more: str) -> bytes:
    """The disk as a tarball, as tar's --sparse makes it; the tarball's content."""
    argv = ["tar", "--sparse", "--format=gnu", "-caf", str(tarball), "-C", str(disk.parent)]
    run([*argv, *(more or (disk.name,))])
    return tarball.read_bytes()


@lru_cache
def published(layout: Layout) -> bytes:
    """A tarball as Debian publishes it, made once."""
    with tempfile.TemporaryDirectory(prefix="hurdle-published-") as name:
        folder = Path(name)
        return pack(make_disk(folder, layout), folder / "it.tar.xz")


def sums(**named: bytes) -> bytes:
    """A SHA256SUMS with the files; a double underscore in a name stands for a dot."""
    lines = (
        f"{hashlib.sha256(data).hexdigest()}  {name.replace('__', '.')}\n"
        for name, data in named.items()
    )
    return "".join(lines).encode()
