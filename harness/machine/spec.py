"""What a QEMU machine is made of, as plain values.  Pure: nothing here touches the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import UsageError
from harness.images.image import BootFiles, Image, RootDisk
from harness.images.recipe import GuestOs, Recipe

Bus = Literal["ide", "ahci", "virtio"]
DiskFormat = Literal["raw", "qcow2"]
TRANSFER = "transfer"  #: name of the disk by which files come and go


@dataclass(frozen=True)
class Replica:
    """How a disk's file comes about just before the start: a copy with files put into it.

    `inject` has pairs of a host file and its path inside the root's file system.
    """

    source: Path
    inject: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class DiskSpec:
    """A disk of the machine, in the order of its bus.

    With `log` every write goes through QEMU's blklogwrites: `path` must be raw, and `log` an
    existing file.  With `snapshot` writes go to a temporary overlay that ends with QEMU.  With
    `blank` (bytes) each machine makes its own empty file, and `path` is only a name.  `slot` is a
    fixed place on the bus.  `sector` is the physical sector (bytes) that the guest is told of; it
    may write 512 bytes in any case.  With `fallible`, which needs `log`, the disk can be told to
    fail requests (harness/machine/faults.py), and the guest is told of errors.  With
    `writes_per_second`, which needs `log`, it takes no more than so many.
    """

    name: str
    path: Path
    format: DiskFormat
    bus: Bus
    log: Path | None = None
    snapshot: bool = False
    replica: Replica | None = None
    blank: int | None = None
    slot: int | None = None
    sector: int = 512
    fallible: bool = False
    writes_per_second: int | None = None

    def __post_init__(self) -> None:
        if self.log is not None and (self.format != "raw" or self.snapshot):
            raise UsageError(
                f"the disk {self.name} can't be logged: a write log belongs to a raw disk that "
                "keeps its writes",
                hint="use format raw and no snapshot for it",
            )
        if self.fallible and self.log is None:
            raise UsageError(
                f"the disk {self.name} can't be made to fail: its writes are not logged",
                hint="give it a write log",
            )
        if self.writes_per_second is not None and (self.log is None or self.fallible):
            raise UsageError(
                f"the disk {self.name} can't be slowed down: it is not logged, or is to fail",
                hint="leave out `writes_per_second`, or the fault",
            )


@dataclass(frozen=True)
class MachineSpec:
    """A machine: what it is, what it boots, which disks and network card it has."""

    arch: Literal["i386", "x86_64"]
    machine: str
    cpu: str
    memory_mib: int
    boot: BootFiles
    disks: tuple[DiskSpec, ...]
    nic: str | None
    #: a source of random numbers: without one, a Linux guest under TCG lacks entropy for SSH
    rng: bool = False
    #: a second serial port, for SSH to a guest whose kernel drives no network card
    relay: bool = False
    #: a saved state to go on from instead of booting; see harness/guest/saved.py
    incoming: Path | None = None
    #: gnumach writes to a VGA screen even when its console is the serial line
    vga: bool = False
    #: the guest reaches the network of the host, for an image that installs packages
    online: bool = False


def spec_for(
    recipe: Recipe,
    image: Image,
    disks: Sequence[DiskSpec] = (),
    *,
    variant: str | None = None,
    scratch: Path | None = None,
) -> MachineSpec:
    """The machine of a recipe with its image: the root disk if there is one, then `disks`.

    A `variant` that brings a translator binary, or an image with files to inject, makes the root
    disk a changed copy in the folder `scratch`; the copy is made when the machine starts.
    """
    made = recipe.machine
    root = _root_disk(recipe, image.root, variant, scratch) if image.root else None
    return MachineSpec(
        arch=made.arch,
        machine=made.machine,
        cpu=made.cpu,
        memory_mib=made.memory_mib,
        boot=image.boot,
        disks=(*((root,) if root else ()), *disks, *_transfer_disk(recipe)),
        nic=made.nic,
        rng=recipe.os is GuestOs.LINUX,
        relay=recipe.access.ssh is not None and recipe.access.ssh.over == "serial",
        vga=recipe.os is GuestOs.HURD,
    )


def _transfer_disk(recipe: Recipe) -> tuple[DiskSpec, ...]:
    if recipe.transfer is None:
        return ()
    size, bus = recipe.transfer.size_mib << 20, recipe.machine.disk_bus
    return (DiskSpec(TRANSFER, Path(TRANSFER), "raw", bus, blank=size, slot=3),)


def _root_disk(
    recipe: Recipe, root: RootDisk, variant: str | None, scratch: Path | None
) -> DiskSpec:
    inject = root.inject
    if variant is not None:
        chosen = recipe.variants[variant]
        if chosen.file is not None and chosen.translator is not None:
            inject = (*inject, (chosen.file, chosen.translator))
    if root.format not in ("raw", "qcow2"):
        raise UsageError(
            f"{recipe.name}: the root disk's format {root.format!r} is unknown",
            hint="root_format is raw or qcow2",
        )
    form: DiskFormat = "raw" if root.format == "raw" else "qcow2"
    bus = recipe.machine.disk_bus
    if not inject:
        return DiskSpec("root", root.path, form, bus, snapshot=recipe.machine.root_snapshot)
    if form != "raw" or scratch is None:
        raise UsageError(
            f"{recipe.name}: files can be put only into a raw root disk",
            hint=f"convert it: qemu-img convert -O raw {root.path} root.raw",
        )
    return DiskSpec("root", scratch / "root.raw", "raw", bus, replica=Replica(root.path, inject))
