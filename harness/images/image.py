"""A built image: files that boot, how to reach what boots, and what it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class BootFiles:
    """What QEMU loads: a kernel and either an initramfs (Linux) or multiboot modules (Hurd).

    Without a kernel the boot loader on the first disk does it.
    """

    kernel: Path | None
    cmdline: str
    initrd: Path | None = None
    modules: tuple[tuple[Path, str], ...] = ()  #: file and arguments


@dataclass(frozen=True)
class RootDisk:
    """The guest's own root disk; a guest that lives in its initramfs has none."""

    path: Path
    format: str  #: raw or qcow2
    #: host files to be put into a copy of the root before the boot: (file, path in the guest)
    inject: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class SshKeys:
    """The key that opens the guest and the host key by which it is known."""

    private_key: Path
    host_key: Path  #: public key in OpenSSH format


@dataclass(frozen=True)
class Image:
    """An image in the cache, ready to boot."""

    name: str
    key: str  #: hash of everything that it was made from
    folder: Path
    boot: BootFiles
    root: RootDisk | None = None
    ssh: SshKeys | None = None
    versions: dict[str, str] = field(default_factory=dict)  #: component to version, for the report
