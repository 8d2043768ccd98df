"""A disk image as a path that e2fsprogs can open, through qemu-nbd.

Three ways, tried in this order: the kernel's nbd (root, module loaded); nbdfuse over qemu-nbd's
socket; qemu-storage-daemon's FUSE export.  Which of them work is found out by doing it.

The image itself is never written to: a writable attachment writes to an overlay that goes with the
run's scratch folder.  Everything is undone when the block ends, however it ends.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from harness.deadline import Deadline
from harness.disk.copy import host_errors
from harness.disk.partitions import find_file_system
from harness.errors import HurdleError, InfraError
from harness.process import Service, run, tail
from harness.rundir import LedgerEntry, RunDir, scratch_base
from harness.signals import held

_READY_SECONDS = 15.0  # a loaded machine; usually 50 ms
_POLL = 0.01  # s
_PROBE_BYTES = 1 << 20
_PROBE_MARK = b"hurdle attaches "


@dataclass(frozen=True)
class Attached:
    """An image, or a file system in it, as a path.  `offset` and `size` in bytes."""

    path: Path
    method: str
    offset: int
    size: int


@dataclass(frozen=True)
class MethodProbe:
    """Whether a way to attach works here, why not, and the cure."""

    name: str
    works: bool
    reason: str
    cure: str


@dataclass(frozen=True)
class Slice:
    """What is attached: a part of an image.  `size` None reaches to the end."""

    image: Path
    fmt: str
    offset: int = 0
    size: int | None = None
    writable: bool = False


@contextmanager
def attached(
    image: Path,
    fmt: str,
    rundir: RunDir,
    *,
    partition: int | None = None,
    writable: bool = False,
    method: str | None = None,
) -> Iterator[Attached]:
    """Attach the file system in `image` (format raw or qcow2) for the length of the block.

    `partition` is its number, 0 the whole disk; None finds the only ext file system.  What is
    written to a `writable` attachment is lost with it.
    Raises `UsageError` when the file system is not there or not the only one, `InfraError` when no
    way to attach works.
    """
    method = method or chosen_method()
    with ExitStack() as stack:
        if fmt == "raw":
            found = find_file_system(image, partition)
        else:
            with METHODS[method](Slice(image, fmt), rundir) as whole:
                found = find_file_system(whole, partition)
        part = Slice(image, fmt, found.start, found.size, writable)
        path = stack.enter_context(METHODS[method](part, rundir))
        yield Attached(path, method, found.start, found.size)


@lru_cache(maxsize=1)
def chosen_method() -> str:
    """The first way to attach that works; `InfraError` with all the cures when none does."""
    probes = []
    for name in METHODS:
        probe = _probe(name)
        if probe.works:
            return name
        probes.append(f"{name}: {probe.reason} ({probe.cure})")
    raise InfraError(
        "no way to attach a disk image works:\n" + "\n".join(probes),
        hint="one of the cures above is enough",
    )


def probe_methods() -> tuple[MethodProbe, ...]:
    """Try every way to attach, on a small image of its own."""
    return tuple(_probe(name) for name in METHODS)


def _probe(name: str) -> MethodProbe:
    try:
        _try(name)
    except HurdleError as error:
        reason = str(error).splitlines()[0]
        return MethodProbe(name, False, reason, error.hint or _CURES[name])
    return MethodProbe(name, True, "reads and writes", "")


def _try(name: str) -> None:
    """Attach a small image, read it and write to it; the image has to stay as it is."""
    with tempfile.TemporaryDirectory() as folder, RunDir(Path(folder)) as rundir:
        image = rundir.scratch / "probe.raw"
        content = _PROBE_MARK.ljust(_PROBE_BYTES, b"\0")
        with host_errors(image):
            image.write_bytes(content)
        with METHODS[name](Slice(image, "raw", writable=True), rundir) as path, host_errors(path):
            fd = os.open(path, os.O_RDWR)
            try:
                if os.pread(fd, len(_PROBE_MARK), 0) != _PROBE_MARK:
                    raise InfraError(f"{name} does not show what is in the image")
                os.pwrite(fd, b"written", 4096)
            finally:
                os.close(fd)
        if image.read_bytes() != content:
            raise InfraError(f"{name} let a write through to the image")


def image_options(image: Path, fmt: str, offset: int = 0, size: int | None = None) -> str:
    """A part of an image, as --image-opts of qemu-nbd takes it."""
    # QEMU reads a doubled comma as one that belongs to the name.
    name = str(image.absolute()).replace(",", ",,")
    options = [f"driver=raw,offset={offset}"] + ([f"size={size}"] if size is not None else [])
    file = f"file.driver={fmt},file.file.driver=file,file.file.filename={name}"
    return ",".join([*options, file])


def nbd_argv(where: list[str], part: Slice) -> list[str]:
    """qemu-nbd for a part of an image; `where` is the socket or the device."""
    mode = [] if part.writable else ["--read-only"]
    options = image_options(part.image, part.fmt, part.offset, part.size)
    return ["qemu-nbd", "--persistent", "--shared=8", *where, *mode, "--image-opts", options]


def storage_daemon_argv(mountpoint: Path, part: Slice) -> list[str]:
    """qemu-storage-daemon with a FUSE export of a part of an image on a regular file."""
    name = str(part.image.absolute()).replace(",", ",,")
    read_only = "off" if part.writable else "on"
    size = "" if part.size is None else f",size={part.size}"
    mount = str(mountpoint).replace(",", ",,")
    writable = "on" if part.writable else "off"
    return [
        "qemu-storage-daemon",
        "--blockdev",
        f"driver=file,node-name=file,filename={name},read-only={read_only}",
        "--blockdev",
        f"driver={part.fmt},node-name=image,file=file,read-only={read_only}",
        "--blockdev",
        f"driver=raw,node-name=part,file=image,offset={part.offset}{size},read-only={read_only}",
        "--export",
        f"type=fuse,id=part,node-name=part,mountpoint={mount},writable={writable}",
    ]


def _protected(part: Slice, folder: Path) -> Slice:
    """A writable part moved to an overlay, so that the image stays as it is."""
    if not part.writable:
        return part
    overlay = folder / "overlay.qcow2"
    backing = str(part.image.absolute())
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", part.fmt, "-b", backing, str(overlay)])
    return Slice(overlay, "qcow2", part.offset, part.size, writable=True)


@contextmanager
def _through_kernel(part: Slice, rundir: RunDir) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nbd-", dir=rundir.scratch))
    with ExitStack() as stack:
        device = stack.enter_context(_free_device())
        part = _protected(part, folder)
        # --verbose keeps it in the foreground, where it dies with hurdle; the kernel then drops
        # the device by itself.
        argv = nbd_argv(["--verbose", f"--connect={device}"], part)
        server = stack.enter_context(rundir.service(folder.name, argv))
        stack.callback(_disconnect, device)
        size = Path("/sys/block") / device.name / "size"
        until_ready(lambda: int(size.read_text()) > 0, server, f"{device} has a size")
        yield device


@contextmanager
def _free_device() -> Iterator[Path]:
    """A /dev/nbdN that can be opened and is in nobody's use, locked against other runs."""
    devices = sorted(Path("/dev").glob("nbd[0-9]*"), key=lambda p: (len(p.name), p.name))
    devices = [device for device in devices if "p" not in device.name]
    if not devices:
        raise InfraError("there is no /dev/nbd0", hint=_CURES["kernel-nbd"])
    base = scratch_base()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for device in devices:
        lock = FileLock(base / f"{device.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            if not (Path("/sys/block") / device.name / "pid").exists():
                _open_device(device)
                yield device
                return
        finally:
            lock.release()
    raise InfraError(f"all of the {len(devices)} nbd devices are in use", hint="wait for a run")


def _open_device(device: Path) -> None:
    """A device that is there may still be forbidden, or have no driver behind it."""
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as exc:
        cure = "run as root" if isinstance(exc, PermissionError) else _CURES["kernel-nbd"]
        raise InfraError(f"{device} can't be opened: {exc.strerror}", hint=cure) from exc


def _disconnect(device: Path) -> None:
    # The server's end, which follows, disconnects as well.
    with held(), suppress(InfraError):
        run(["qemu-nbd", "--disconnect", str(device)], timeout=10, ok=None)


@contextmanager
def _through_nbdfuse(part: Slice, rundir: RunDir) -> Iterator[Path]:
    open_fuse()
    folder = Path(tempfile.mkdtemp(prefix="nbd-", dir=rundir.scratch))
    mountpoint, address = folder / "mnt", folder / "sock"
    mountpoint.mkdir()
    with ExitStack() as stack:
        argv = nbd_argv([f"--socket={address}"], _protected(part, folder))
        server = stack.enter_context(rundir.service(f"{folder.name}-server", argv))
        until_ready(lambda: _answers(address), server, "qemu-nbd answers on its socket")
        rundir.record(LedgerEntry("mount", str(mountpoint)))
        stack.callback(unmount, mountpoint)
        argv = ["nbdfuse", f"{mountpoint}/disk", "--unix", str(address)]
        mounter = stack.enter_context(rundir.service(f"{folder.name}-mount", argv))
        # Before nbdfuse is stopped: it ends by itself when it is unmounted.
        stack.callback(unmount, mountpoint)
        disk = mountpoint / "disk"
        until_ready(lambda: disk.stat().st_size > 0, mounter, f"{disk} appears", behind=server)
        yield disk


@contextmanager
def _through_storage_daemon(part: Slice, rundir: RunDir) -> Iterator[Path]:
    open_fuse()
    folder = Path(tempfile.mkdtemp(prefix="nbd-", dir=rundir.scratch))
    disk = folder / "disk"
    disk.touch()
    with ExitStack() as stack:
        argv = storage_daemon_argv(disk, _protected(part, folder))
        rundir.record(LedgerEntry("mount", str(disk)))
        stack.callback(unmount, disk)
        server = stack.enter_context(rundir.service(folder.name, argv))
        until_ready(lambda: disk.stat().st_size > 0, server, f"{disk} has a size")
        yield disk


def open_fuse() -> None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as exc:
        cure = _CURES["nbdfuse"]
        if isinstance(exc, PermissionError):
            cure = "chmod 666 /dev/fuse, as distributions have it"
        raise InfraError(f"/dev/fuse can't be opened: {exc.strerror}", hint=cure) from exc


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address))
    return True


def until_ready(
    ready: Callable[[], bool], server: Service, what: str, *, behind: Service | None = None
) -> None:
    """Wait until `ready`; a server that ends or takes too long is an `InfraError`.

    `behind` is the server that it depends on, whose end is then the cause.
    """
    deadline = Deadline.after(_READY_SECONDS)
    while True:
        with suppress(OSError, ValueError):
            if ready():
                return
        ended = server.poll()
        if ended is not None and behind is not None and behind.wait(0.5) is not None:
            server, ended = behind, behind.poll()
        if ended is not None or deadline.expired:
            how = f"ended with {ended}" if ended is not None else "is not ready"
            raise InfraError(
                f"{Path(server.argv[0]).name} {how} before {what}\n{tail(server.output())}",
                hint=f"run it by hand: {server.command}",
            )
        time.sleep(_POLL)


def _mounted(path: Path) -> bool:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return str(path) in {line.split()[1] for line in lines}


def unmount(path: Path) -> None:
    """Unmount, lazily if somebody still looks into it; nothing to do where nothing is mounted."""
    for options in (["-u"], ["-u", "-z"]):
        if not _mounted(path):
            return
        with held(), suppress(InfraError):
            run(["fusermount3", *options, str(path)], timeout=10)


Method = Callable[[Slice, RunDir], AbstractContextManager[Path]]

METHODS: dict[str, Method] = {
    "kernel-nbd": _through_kernel,
    "nbdfuse": _through_nbdfuse,
    "qemu-storage-daemon": _through_storage_daemon,
}

_CURES = {
    "kernel-nbd": "as root: modprobe nbd; not needed where another way works",
    "nbdfuse": "apt-get install libnbd-bin fuse3; in a container give it /dev/fuse",
    "qemu-storage-daemon": "apt-get install qemu-system-common fuse3",
}
