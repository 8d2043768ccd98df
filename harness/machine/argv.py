"""A machine as QEMU's command line.  Pure: tests read it without QEMU.

Written for QEMU 7.2 and later (qemu(1), docs/system/qemu-block-drivers).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.machine.faults import below
from harness.machine.spec import DiskSpec, MachineSpec

#: the sector size of the write log: what an IDE disk can write at least
LOG_SECTOR = 512


@dataclass(frozen=True)
class Paths:
    """Where QEMU meets hurdle: unix sockets, and the file to which it copies the console."""

    qmp: Path  #: hurdle listens, QEMU connects
    console: Path  #: QEMU listens
    console_log: Path
    relay: Path  #: QEMU listens; only where the machine has a second serial port


def escape(value: str | os.PathLike[str]) -> str:
    """A value inside QEMU's `key=value,key=value` lists: a comma is doubled."""
    return os.fspath(value).replace(",", ",,")


def options(*head: str, **pairs: str | int | Path) -> str:
    """`head,key=value,...` with values escaped; `_` and `__` in a key are `-` and `.`."""
    named = (
        f"{key.replace('__', '.').replace('_', '-')}={escape(str(value))}"
        for key, value in pairs.items()
    )
    return ",".join([*head, *named])


def qemu_argv(
    spec: MachineSpec, accel: str, paths: Paths, *, sandbox: bool = True, paused: bool = True
) -> tuple[str, ...]:
    """The command line of a machine under the accelerator `accel` (tcg or kvm).

    The machine starts paused, so that no word of the console is lost before somebody listens.
    A guest that reboots ends QEMU (-no-reboot), so that a reboot is never taken for a boot.
    """
    return (
        f"qemu-system-{spec.arch}",
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *(("-sandbox", "on") if sandbox else ()),
        *(("-S",) if paused else ()),
        *("-machine", spec.machine, "-accel", accel, "-cpu", spec.cpu),
        *("-m", f"{spec.memory_mib}M", "-smp", "1", "-rtc", "base=utc"),
        *_boot(spec),
        *(word for disk in spec.disks for word in _disk(disk)),
        *(("-device", "ich9-ahci,id=ahci") if _own_ahci(spec) else ()),
        *(word for disk in spec.disks for word in _device(spec, disk)),
        *_network(spec.nic, spec.online),
        *(("-device", "virtio-rng-pci") if spec.rng else ()),
        *(("-vga", "std") if spec.vga else ()),
        *(("-incoming", f"exec:cat {shlex.quote(str(spec.incoming))}") if spec.incoming else ()),
        *_console(paths),
        *(_relay(paths) if spec.relay else ()),
        *("-chardev", options("socket", id="qmp", path=paths.qmp)),
        *("-mon", "chardev=qmp,mode=control"),
    )


def _boot(spec: MachineSpec) -> Iterator[str]:
    boot = spec.boot
    if boot.kernel is None:
        return  # the firmware finds the boot loader of the first disk
    yield from ("-kernel", str(boot.kernel), "-append", boot.cmdline)
    if boot.modules:
        # QEMU's multiboot loader takes `file args,file args`; both may hold doubled commas.
        yield "-initrd"
        yield ",".join(
            f"{_module_file(path)} {escape(args)}".rstrip() for path, args in boot.modules
        )
    elif boot.initrd is not None:
        yield from ("-initrd", str(boot.initrd))


def _module_file(path: Path) -> str:
    if " " in str(path):
        raise UsageError(
            f"QEMU can't load a multiboot module whose path has a blank: {path}",
            hint="move it to a path without blanks; the first blank ends the file's name",
        )
    return escape(path)


def _disk(disk: DiskSpec) -> Iterator[str]:
    """The host's side of a disk."""
    if disk.snapshot:
        # Only -drive has a temporary overlay; QEMU unlinks it at once, so SIGKILL leaves none.
        # Its writes are dropped by intent, so host flushes would be wasted.
        yield from ("-drive", options(**_drive(disk)))
        return
    file_node = f"{disk.name}-file"
    yield "-blockdev"
    yield options(driver="file", node_name=file_node, filename=disk.path, cache__direct="off")
    if disk.log is None:
        yield from ("-blockdev", options(driver=disk.format, node_name=disk.name, file=file_node))
        return
    log_node = f"{disk.name}-log"
    logged = below(disk.name) if disk.fallible or disk.writes_per_second else disk.name
    yield "-blockdev"
    yield options(driver="file", node_name=log_node, filename=disk.log, cache__direct="off")
    yield from ("-blockdev", options(driver="raw", node_name=f"{disk.name}-raw", file=file_node))
    yield "-blockdev"
    # log-super-update-interval=1: the super block counts every entry, as SIGKILL may come anywhere.
    yield options(
        driver="blklogwrites",
        node_name=logged,
        file=f"{disk.name}-raw",
        log=log_node,
        log_sector_size=LOG_SECTOR,
        log_super_update_interval=1,
    )
    if disk.fallible:
        # What is put between these two fails a request before the log has it.
        yield "-blockdev"
        yield options(driver="raw", node_name=disk.name, file=logged)
    if disk.writes_per_second:
        # Above the log: a write that has to wait has not reached the disk.
        group = f"{disk.name}-pace"
        yield "-object"
        yield options("throttle-group", id=group, x_iops_write=disk.writes_per_second)
        yield "-blockdev"
        yield options(driver="throttle", node_name=disk.name, throttle_group=group, file=logged)


def _drive(disk: DiskSpec) -> dict[str, str | int | Path]:
    return {
        "if": "none",
        "id": disk.name,
        "file": disk.path,
        "format": disk.format,
        "snapshot": "on",
        "cache": "unsafe",
    }


def _own_ahci(spec: MachineSpec) -> bool:
    """Whether the machine needs an AHCI controller added: q35 has one already."""
    return not _is_q35(spec) and any(disk.bus == "ahci" for disk in spec.disks)


def _is_q35(spec: MachineSpec) -> bool:
    return "q35" in spec.machine.split(",")[0]


def _device(spec: MachineSpec, disk: DiskSpec) -> Iterator[str]:
    """The guest's side of a disk.  The volatile write cache is on, as on any real disk."""
    # werror, rerror: when the host fails, QEMU stops the guest.  By default some errors would reach
    # the guest, and look like the fault of its file system.
    # One that is to fail has to tell.
    on_error = "report" if disk.fallible else "stop"
    common: dict[str, str | int | Path] = {
        "drive": disk.name,
        "write_cache": "on",
        "werror": on_error,
        "rerror": on_error,
    }
    slot = disk.slot
    if slot is None:
        slot = [each for each in spec.disks if each.bus == disk.bus].index(disk)
    # A property of all three that QEMU spells with underscores.
    sector = f",physical_block_size={disk.sector}" if disk.sector != LOG_SECTOR else ""
    yield "-device"
    if disk.bus == "virtio":
        yield options("virtio-blk-pci", **common) + sector
    elif disk.bus == "ahci":
        yield options("ide-hd", **common, bus=_ahci_port(spec, slot)) + sector
    else:
        yield options("ide-hd", **common, bus=_ide_bus(spec, slot), unit=slot % 2) + sector


def _ahci_port(spec: MachineSpec, slot: int) -> str:
    if slot > 5:
        raise UsageError("an AHCI controller has six ports", hint="use fewer disks")
    return f"ide.{slot}" if _is_q35(spec) else f"ahci.{slot}"


def _ide_bus(spec: MachineSpec, slot: int) -> str:
    if _is_q35(spec):
        raise UsageError(
            "the machine q35 has no IDE", hint="set machine.disk_bus=ahci, or machine.machine=pc"
        )
    if slot > 3:
        raise UsageError("the machine has four IDE disks at most", hint="use fewer disks, or ahci")
    return f"ide.{slot // 2}"


def _network(nic: str | None, online: bool) -> Iterator[str]:
    """A private network; the only way in is SSH, by a port of 127.0.0.1 that the kernel chooses.

    Without `online` there is no way out.
    """
    if nic is None:
        return
    restrict = "off" if online else "on"
    yield from ("-netdev", f"user,id=net0,restrict={restrict},hostfwd=tcp:127.0.0.1:0-:22")
    yield from ("-device", options(nic, netdev="net0"))


def _console(paths: Paths) -> Iterator[str]:
    yield "-chardev"
    yield options(
        "socket",
        id="console",
        path=paths.console,
        server="on",
        wait="off",
        logfile=paths.console_log,
    )
    yield from ("-serial", "chardev:console")


def _relay(paths: Paths) -> Iterator[str]:
    """The second serial port.  Its bytes are SSH's and are not logged."""
    yield "-chardev"
    yield options("socket", id="relay", path=paths.relay, server="on", wait="off")
    yield from ("-serial", "chardev:relay")
