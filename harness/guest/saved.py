"""Saved machine states: a guest that has booted, to go on from instead of booting again.

    CACHE/states/NAME/KEY/memory         the machine's state, as QEMU's migration writes it
    CACHE/states/NAME/KEY/root.raw       the root disk at that moment, if the guest has one
    CACHE/states/NAME/KEY/state.json     written last, before the folder gets its name

Memory and root belong together: what the guest keeps of its root in memory is true of that very
root only.  The crashed disk is no part of it.  It may be any file of the same size, as long as the
guest had not opened it when it was saved.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from harness.disk.copy import sparse_copy
from harness.guest.session import ShellSession
from harness.images.image import Image
from harness.machine.argv import Paths, qemu_argv
from harness.machine.spec import DiskSpec, MachineSpec

#: changes when a state of the same key would mean something else
_FORMAT = "1"
_KEEP = 3  # states of one guest: other disk sizes and settings have others
_WAIT = 300.0  # seconds for another hurdle that makes a state, which takes a boot
_DRAFT = ".draft-"


@dataclass(frozen=True)
class SavedState:
    """A state in the cache.  `shell` is where the conversation with the console stood."""

    folder: Path
    shell: ShellSession

    @property
    def memory(self) -> Path:
        return self.folder / "memory"

    @property
    def root(self) -> Path:
        return self.folder / "root.raw"


def why_not_saved(spec: MachineSpec) -> str:
    """Why machines like this can't share a state; empty where they can."""
    root = _root(spec)
    if root is None:
        return ""
    if root.replica:
        return "its root is a copy with other files in it, made for this run"
    if not root.snapshot:
        return "it writes to its root disk (machine.root_snapshot is false)"
    if root.format != "raw":
        return f"its root image is {root.format}, and a state is kept with a raw one"
    return ""


def state_key(spec: MachineSpec, accel: str, qemu_version: str, image: Image) -> str:
    """What a state holds for: QEMU's version, the machine less its file names, the image's files.

    Disks count by size, the image by the hashes in its manifest.
    """
    sizes = [disk.blank or disk.path.stat().st_size for disk in spec.disks]
    disks = tuple(
        replace(disk, path=Path(disk.name), log=None, replica=None, fallible=False)
        for disk in spec.disks
    )
    paths = Paths(Path("qmp"), Path("console"), Path("log"), Path("relay"))
    argv = qemu_argv(replace(spec, disks=disks, incoming=None), accel, paths)
    manifest = json.loads((image.folder / "manifest.json").read_text())
    files = {name: record["sha256"] for name, record in manifest["files"].items()}
    parts = [_FORMAT, qemu_version, argv, sizes, image.key, files]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def boot_spec(spec: MachineSpec, draft: Path, scratch: Path) -> MachineSpec:
    """The machine that boots to be saved: a root of its own in `draft`, blank other disks."""
    disks = []
    for disk in spec.disks:
        if disk == _root(spec):
            target = draft / "root.raw"
            sparse_copy(disk.path, target)
            disks.append(replace(disk, path=target, snapshot=False))
        elif disk.blank is not None:
            disks.append(disk)
        else:
            blank = scratch / f"blank-{disk.name}.raw"
            with blank.open("wb") as file:
                file.truncate(disk.path.stat().st_size)
            disks.append(DiskSpec(disk.name, blank, "raw", disk.bus))
    return replace(spec, disks=tuple(disks))


def resume_spec(spec: MachineSpec, state: SavedState) -> MachineSpec:
    """The machine that goes on from `state`; what it writes to the root is thrown away."""
    root = _root(spec)
    disks = (replace(d, path=state.root) if d == root else d for d in spec.disks)
    return replace(spec, disks=tuple(disks), incoming=state.memory)


def _root(spec: MachineSpec) -> DiskSpec | None:
    return next((disk for disk in spec.disks if disk.name == "root"), None)


class States:
    """The saved states of one guest, in `cache`."""

    def __init__(self, cache: Path, name: str) -> None:
        self._home = cache / "states" / name
        self._lock = cache / "locks" / f"states-{name}.lock"

    def find(self, key: str) -> SavedState | None:
        """The state of that key; None also for one that is damaged, which is removed."""
        folder = self._home / key
        try:
            said = json.loads((folder / "state.json").read_text())
            sizes = {name: (folder / name).stat().st_size for name in said["sizes"]}
            if sizes != said["sizes"]:
                raise ValueError("a file was cut")
            return SavedState(folder, ShellSession(**said["shell"]))
        except FileNotFoundError:
            if not folder.exists():
                return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.discard(key)
        return None

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A draft folder, and the right to be the only one who makes a state of this guest."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock, timeout=_WAIT):
            self._home.mkdir(parents=True, exist_ok=True)
            for left in self._home.glob(f"{_DRAFT}*"):  # of a hurdle that was killed
                shutil.rmtree(left, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._home))
            try:
                yield draft
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def publish(self, draft: Path, key: str, shell: ShellSession) -> SavedState:
        """Make `draft` the state of `key`, at once and wholly; to be called inside `making`."""
        sizes = {each.name: each.stat().st_size for each in draft.iterdir()}
        (draft / "state.json").write_text(json.dumps({"sizes": sizes, "shell": asdict(shell)}))
        self.discard(key)
        draft.rename(self._home / key)
        known = [each for each in self._home.iterdir() if not each.name.startswith(_DRAFT)]
        for old in sorted(known, key=lambda p: p.stat().st_mtime, reverse=True)[_KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
        return SavedState(self._home / key, shell)

    def discard(self, key: str) -> None:
        """Remove a state.  A machine that runs from it keeps its open files."""
        folder = self._home / key
        if folder.exists():
            away = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._home))
            folder.rename(away / "state")
            shutil.rmtree(away, ignore_errors=True)
