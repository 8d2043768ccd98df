"""What was found of KVM, kept until the host boots again.

    CACHE/kvm.json      for each guest's kernel that was tried, what keeps KVM from running it

To find it out takes seconds, which every command would pay anew.  A proof holds for the host's
boot, the device, QEMU's program, the guest's kernel and its machine.  `machine.accel=kvm` looks
again; a file that can't be read or written costs those seconds and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import get_ident

from pydantic import TypeAdapter, ValidationError

from harness.images.manifest import file_hash
from harness.machine.spec import MachineSpec
from harness.tools import find_tool

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # proc(5): another one after each boot
_KEEP = 50


@dataclass(frozen=True)
class Proof:
    """`obstacle` is why KVM does not run a kernel; None if it does."""

    boot: str  #: id of the host's boot
    obstacle: str | None
    found: str  #: ISO 8601, local time, to the second

    @property
    def remembered(self) -> str:
        """The obstacle, and how to have it looked at again."""
        return f"{self.obstacle}; found at {self.found}, machine.accel=kvm looks again"


_FILE = TypeAdapter(dict[str, Proof])


class Proofs:
    """The file in the cache's `folder`.  `boot` is the id of the host's boot."""

    def __init__(self, folder: Path, boot: str | None = None) -> None:
        self._file = folder / "kvm.json"
        self._boot = boot_id() if boot is None else boot

    def all(self) -> Mapping[str, Proof]:
        """The proofs of this boot of the host, by key; none where boots can't be told apart."""
        if not self._boot:
            return {}
        try:
            kept = _FILE.validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return {}
        return {key: proof for key, proof in kept.items() if proof.boot == self._boot}

    def keep(self, key: str, obstacle: str | None) -> None:
        """Keep a proof, and with it the newest others of this boot."""
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        rest = {k: proof for k, proof in self.all().items() if k != key}
        newest = sorted(rest, key=lambda k: rest[k].found, reverse=True)[: _KEEP - 1]
        kept = {key: Proof(self._boot, obstacle, when), **{k: rest[k] for k in newest}}
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}-{get_ident()}")
        with suppress(OSError):  # a cache that can't be written: the next command asks again
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(_FILE.dump_json(kept, indent=1))
            part.rename(self._file)


def boot_id() -> str:
    """The id of the host's boot; empty where the kernel tells none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def proof_key(spec: MachineSpec, device: Path) -> str:
    """What a proof holds for, but for the host's boot: device, QEMU's program, kernel and machine.

    The device has another inode when KVM's module was loaded anew.  A kernel counts by its content,
    so that a new image with the same one needs no new proof; a disk that boots by itself, which is
    large, by path, size and time.
    """
    loaded = spec.boot.kernel
    if loaded and loaded.is_file():
        kernel: object = file_hash(loaded)
    else:
        kernel = _file_state(loaded or spec.disks[0].path)
    node = device.stat()
    qemu = find_tool(f"qemu-system-{spec.arch}")
    parts = [
        (node.st_dev, node.st_ino, node.st_rdev),
        _file_state(qemu) if qemu else None,
        kernel,
        (spec.arch, spec.machine, spec.cpu, spec.memory_mib),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _file_state(path: Path) -> tuple[str, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return str(path), state.st_size, state.st_mtime_ns
