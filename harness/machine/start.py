"""What can be known about QEMU's start before it, and said about it after it failed."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path

from harness.errors import InfraError
from harness.machine.spec import MachineSpec
from harness.process import run

_SOCKET_BYTES = 107  # unix(7): sun_path has 108 bytes with the final zero


@lru_cache(maxsize=4)
def sandbox_works(program: str) -> bool:
    """Whether this QEMU has seccomp (a build option); asked once, 20 ms."""
    try:
        run([program, "-sandbox", "on", "-machine", "help"], timeout=20)
    except InfraError:
        return False
    return True


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        listener.listen(1)
    except OSError as exc:
        listener.close()
        raise InfraError(
            f"can't listen on {path}: {exc.strerror}",
            hint="is the folder writable, and on a file system that has sockets?",
        ) from exc
    return listener


def check_files(spec: MachineSpec) -> None:
    """Raise `InfraError` for a file that is missing, in clearer words than QEMU's."""
    wanted = dict.fromkeys(boot_files(spec), "the guest's boot")
    for disk in spec.disks:
        wanted |= {file: f"the disk {disk.name}" for file in (disk.path, disk.log) if file}
    for file, use in wanted.items():
        if not file.exists():
            raise InfraError(
                f"{file} of {use} is missing",
                hint="build the image again, or mend the path in the recipe",
            )


def boot_files(spec: MachineSpec) -> list[Path]:
    """The host files that QEMU loads into the guest's memory."""
    initrd = [spec.boot.initrd] if spec.boot.initrd else []
    kernel = [spec.boot.kernel] if spec.boot.kernel else []
    return [*kernel, *initrd, *(path for path, _ in spec.boot.modules)]


def check_socket_path(path: Path) -> None:
    """Raise `InfraError` for a socket that can't be made: path too long, or taken."""
    size = len(os.fsencode(path))
    if size > _SOCKET_BYTES:
        raise InfraError(
            f"the socket path {path} has {size} bytes; a unix socket may have {_SOCKET_BYTES}",
            hint="set HURDLE_SCRATCH to a folder with a short name, such as /tmp/h",
        )
    if path.exists():
        raise InfraError(
            f"the socket {path} is taken",
            hint="two machines of one run need two names; remove the file if nothing uses it",
        )


def explain_start(said: str) -> str:
    """The cure for a known message of QEMU, ending in a newline; empty for an unknown one."""
    known = {
        'Failed to get "': "another QEMU uses the disk: end it first (fuser FILE names it)",
        "Failed to get shared": "another QEMU uses the disk: end it first (fuser FILE names it)",
        "Permission denied": "the user who runs hurdle needs the right to read and write the file",
        "No such file or directory": "build the image again, or mend the path in the recipe",
        "Could not access KVM": "choose machine.accel=tcg, or see `hurdle doctor`",
        "failed to initialize kvm": "choose machine.accel=tcg, or see `hurdle doctor`",
        "is not a valid device model name": "mend machine.nic in the recipe",
        "unable to find CPU model": "mend machine.cpu in the recipe",
        "unsupported machine type": "mend machine.machine in the recipe",
        "Cannot allocate memory": "lower machine.memory_mib, or free memory on the host",
    }
    return next((f"{cure}\n" for text, cure in known.items() if text in said), "")


def by_hand(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` for a person: runs at once, the console on the terminal, without hurdle's sockets.

    (Ctrl-a x ends such a QEMU.)
    """
    words = list(argv)
    if "-S" in words:
        words.remove("-S")
    for option, value in (("-chardev", "socket,id=console"), ("-chardev", "socket,id=qmp")):
        for at in range(len(words) - 1):
            if words[at] == option and words[at + 1].startswith(value):
                del words[at : at + 2]
                break
    text = "\0".join(words)
    text = text.replace("\0-mon\0chardev=qmp,mode=control", "")
    return tuple(text.replace("-serial\0chardev:console", "-serial\0mon:stdio").split("\0"))
