"""The host programs that hurdle runs, and the Debian package that has each of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.errors import InfraError

PACKAGES = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "cpio": "cpio",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "dumpe2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "fusermount3": "fuse3",
    "gcc": "gcc",
    "git": "git",
    "make": "make",
    "mke2fs": "e2fsprogs",
    "nbdfuse": "libnbd-bin",
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "qemu-system-i386": "qemu-system-x86",
    "qemu-system-x86_64": "qemu-system-x86",
    "resize2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "sfdisk": "fdisk",
    "spatch": "coccinelle",
    "tune2fs": "e2fsprogs",
}

# Debian keeps the e2fsprogs and sfdisk in sbin, which a user's PATH often lacks.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find_tool(name: str) -> Path | None:
    """The program's path, looked for in PATH and then in the sbin folders; None if absent."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def tool(name: str) -> str:
    """The program's path, or an `InfraError` that names the package to install."""
    found = find_tool(name)
    if found is None:
        package = PACKAGES.get(name)
        cure = f"apt-get install {package}" if package else f"put {name} into PATH"
        raise InfraError(
            f"the program {name} is missing", hint=f"{cure}; `hurdle doctor` lists all"
        )
    return str(found)
