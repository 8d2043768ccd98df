"""Guests of a hundred bytes: QEMU boots them in a third of a second.

A multiboot kernel (by the address fields of its header, Multiboot 0.6.96, 3.1) that prints a text
on the first serial port and then halts, reboots or spins.
"""

from __future__ import annotations

import struct
from pathlib import Path

from harness.images.image import BootFiles
from harness.machine.spec import DiskSpec, MachineSpec

_MAGIC = 0x1BADB002
_ADDRESSES = 0x00010000
_BASE = 0x100000
_HEADER = 32

# next: lodsb; test al, al; jz end; mov bl, al; mov dx, 0x3fd; busy: in al, dx; test al, 0x20;
# jz busy; mov al, bl; mov dx, 0x3f8; out dx, al; jmp next
_PRINT = bytes.fromhex("ac 84c0 7414 88c3 66bafd03 ec a820 74fb 88d8 66baf803 ee ebe7")

HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp back to hlt
REBOOT = b"\xb0\xfe\xe6\x64" + HALT  # out 0x64, 0xfe: reset by the keyboard controller
# again: mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; out dx, al;
# jmp again
ECHO = bytes.fromhex("66bafd03 ec a801 74f7 66baf803 ec ee ebef")


def tiny_kernel(path: Path, text: bytes, end: bytes = HALT) -> Path:
    """Write a kernel that prints `text` and then does `end`."""
    message = _BASE + _HEADER + 5 + len(_PRINT) + len(end)
    code = b"\xbe" + struct.pack("<I", message) + _PRINT + end + text + b"\0"
    size = _HEADER + len(code)
    header = struct.pack(
        "<8I",
        _MAGIC,
        _ADDRESSES,
        -(_MAGIC + _ADDRESSES) & 0xFFFFFFFF,
        _BASE,
        _BASE,
        _BASE + size,
        _BASE + size,
        _BASE + _HEADER,
    )
    path.write_bytes(header + code)
    return path


def tiny_spec(kernel: Path, *disks: DiskSpec, nic: str | None = None) -> MachineSpec:
    return MachineSpec("i386", "pc", "pentium3-v1", 32, BootFiles(kernel, ""), disks, nic)
