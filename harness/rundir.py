"""A run's two folders, and the cleaning up after a run that was killed.

`out` holds the evidence and is kept.  `scratch` holds sockets, mount points and copies that serve
only while the run lasts; its name is short because a unix socket's path may have 107 bytes.

Each scratch folder has a lock that its owner holds for life and a ledger of the processes and
mounts that it made.  A folder whose lock is free belongs to a run that died without a chance to
clean up (SIGKILL, power): the next start finds it and removes what is left.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil
from filelock import FileLock, Timeout

from harness.errors import InfraError, UsageError
from harness.process import Service, run
from harness.signals import held
from harness.tools import find_tool

_LOCK = "owner.lock"
_DOOR = "door.lock"  # held while a scratch folder gets its owner, and while one is removed
_DOOR_SECONDS = 60.0  # removing what many killed runs left takes a second each, at worst
_LEDGER = "ledger.jsonl"
_ROOMY = 2 << 30  # bytes free that make memory the place for crash states: they are small


@dataclass(frozen=True)
class LedgerEntry:
    """One thing that has to be undone: a process (by id and start time) or a mount."""

    kind: Literal["process", "mount"]
    name: str
    pid: int = 0
    started: float = 0.0


def scratch_base() -> Path:
    """Where scratch folders live: HURDLE_SCRATCH, else memory if it is roomy, else the temp dir."""
    chosen = os.environ.get("HURDLE_SCRATCH")
    if chosen:
        return Path(chosen)
    memory, disk = _default_bases()
    shm = memory.parent
    roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free >= _ROOMY
    return memory if roomy else disk


def _default_bases() -> tuple[Path, Path]:
    """In memory and on disk.  Which one a run took depends on how much memory was free then."""
    name = f"hurdle-{os.getuid()}"
    return Path("/dev/shm") / name, Path(tempfile.gettempdir()) / name


@contextmanager
def _door(base: Path) -> Iterator[None]:
    """Within the block no scratch folder below `base` changes hands.

    Without it a start that cleans up could take a folder that was just made for an orphan, since
    its owner has not locked it yet.
    """
    try:
        with FileLock(base / _DOOR, timeout=_DOOR_SECONDS):
            yield
    except Timeout as exc:
        raise InfraError(
            f"another hurdle has held {base / _DOOR} for {_DOOR_SECONDS:.0f} s",
            hint=f"see who holds it: fuser {base / _DOOR}",
        ) from exc


class RunDir:
    """The folders of one run, as a context manager.

    Leaving the block removes the scratch folder; processes and mounts have owners of their own
    (`Service`, `attached`) that undo them first.
    """

    def __init__(self, out: Path, *, base: Path | None = None) -> None:
        self.out = out.absolute()
        self._base = base or scratch_base()
        self._scratch: Path | None = None
        self._lock: FileLock | None = None
        self._claim = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
        except FileExistsError as exc:
            raise UsageError(f"{exc.filename} is a file", hint="give --out another folder") from exc
        except PermissionError as exc:
            raise UsageError(
                f"{exc.filename} can't be written", hint="give --out a folder of yours"
            ) from exc
        with self._claim:
            self._claim.enter_context(claimed(self.out))
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _door(self._base):
                self._scratch = Path(tempfile.mkdtemp(prefix="run-", dir=self._base))
                self._lock = FileLock(self._scratch / _LOCK)
                self._lock.acquire(timeout=5)
            self._claim = self._claim.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with held():
            # The lock goes last: without an owner the folder would be an orphan for a moment.
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
            if self._lock is not None:
                self._lock.release()
            self._claim.close()

    @property
    def scratch(self) -> Path:
        if self._scratch is None:
            raise RuntimeError("RunDir is used outside its block")
        return self._scratch

    @property
    def logs(self) -> Path:
        return self.out / "logs"

    def service(self, name: str, argv: Sequence[str], *, grace: float = 2.0) -> RecordedService:
        """A `Service` whose output goes to logs/NAME.log and whose process is in the ledger."""
        return RecordedService(self, argv, log=self.logs / f"{name}.log", grace=grace)

    def record(self, entry: LedgerEntry) -> None:
        """Note in the ledger, durably, what the next start must undo if this one can't."""
        with (self.scratch / _LEDGER).open("a") as ledger:
            ledger.write(json.dumps(entry.__dict__) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The right to write into an existing folder of results, for the length of the block.

    Raises `UsageError` when another hurdle has it: two runs would mix up their evidence, and
    `--force` would remove it under a guest that runs.  The kernel gives the right back when its
    owner dies, and nothing in the folder tells of it.
    """
    fd = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UsageError(
                f"another hurdle writes into {out}", hint="wait for its end, or give another --out"
            ) from exc
        yield
    finally:
        os.close(fd)


class RecordedService(Service):
    """A `Service` that the ledger knows by process id and start time."""

    def __init__(
        self, rundir: RunDir, argv: Sequence[str], *, log: Path, grace: float = 2.0
    ) -> None:
        super().__init__(argv, log=log, grace=grace)
        self._rundir = rundir

    def __enter__(self) -> Self:
        super().__enter__()
        with suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.pid).create_time()
            self._rundir.record(LedgerEntry("process", self.argv[0], self.pid, started))
        return self


def _read_ledger(folder: Path) -> list[LedgerEntry]:
    entries = []
    with suppress(FileNotFoundError):
        for line in (folder / _LEDGER).read_text().splitlines():
            with suppress(ValueError, TypeError):  # a line cut short by the crash
                entries.append(LedgerEntry(**json.loads(line)))
    return entries


def _end_process(entry: LedgerEntry) -> bool:
    """Kill the process if it is still the one that was recorded."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(entry.pid)
        if abs(process.create_time() - entry.started) < 0.05:
            process.kill()
            with suppress(psutil.TimeoutExpired):  # stuck in the kernel: it ends when that lets go
                process.wait(5)
            return True
    return False


def _unmount(path: str) -> bool:
    """Detach a FUSE mount whose server is gone."""
    if path not in {
        mount.split()[1] for mount in Path("/proc/self/mounts").read_text().splitlines()
    }:
        return False
    argv = ["fusermount3", "-u", "-z", path] if find_tool("fusermount3") else ["umount", "-l", path]
    with suppress(InfraError):
        run(argv, timeout=10)
        return True
    return False


def reap(base: Path | None = None) -> list[str]:
    """Remove what dead runs left behind; a line for each thing that was removed.

    Looks below `base`, else wherever a run can have put its scratch folder.
    """
    bases = (base,) if base else dict.fromkeys((scratch_base(), *_default_bases()))
    removed: list[str] = []
    for each in bases:
        if any(each.glob("run-*")):
            # What belongs to another user, or is being cleaned up right now, is left alone.
            with suppress(OSError, InfraError), _door(each):
                for folder in sorted(each.glob("run-*")):
                    removed += _reap_folder(folder)
    return removed


def _reap_folder(folder: Path) -> list[str]:
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return []  # its owner lives, or it is another user's
    removed = []
    try:
        for entry in reversed(_read_ledger(folder)):
            if entry.kind == "process" and _end_process(entry):
                removed.append(f"process {entry.pid} ({entry.name})")
            if entry.kind == "mount" and _unmount(entry.name):
                removed.append(f"mount {entry.name}")
    finally:
        lock.release()
    shutil.rmtree(folder, ignore_errors=True)
    return [*removed, f"folder {folder}"]
