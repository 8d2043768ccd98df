"""What this host can do, and the cure for what it can't."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.disk.attach import probe_methods
from harness.errors import InfraError
from harness.images.cache import Cache
from harness.images.source import host
from harness.machine.accel import kvm_obstacle
from harness.machine.proofs import Proof, Proofs
from harness.process import run
from harness.rundir import scratch_base
from harness.tools import PACKAGES, find_tool

_GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One line of `hurdle doctor`.  `ok` is None for what hurdle can do without."""

    name: str
    ok: bool | None
    found: str
    cure: str  #: what to do about a no; empty where nothing has to be done


@dataclass(frozen=True)
class Requirement:
    """A host program, how it tells its version, and the oldest one that will do."""

    program: str
    minimum: tuple[int, ...]
    why: str  #: what the minimum brings
    ask: tuple[str, ...] = ("--version",)


_QEMU_WHY = "blklogwrites as the log is read here was tested from 7.2 on"
_E2_WHY = "its messages are parsed as 1.47 words them"

REQUIREMENTS = (
    *(
        Requirement(program, (7, 2), _QEMU_WHY)
        for program in (
            "qemu-system-x86_64",
            "qemu-system-i386",
            "qemu-img",
            "qemu-io",
            "qemu-nbd",
            "qemu-storage-daemon",
        )
    ),
    *(
        Requirement(program, (1, 47), _E2_WHY, ("-V",))
        for program in ("e2fsck", "debugfs", "dumpe2fs", "mke2fs", "resize2fs", "tune2fs")
    ),
    Requirement("setpriv", (2, 33), "--pdeathsig, without which a child outlives hurdle"),
    Requirement("sfdisk", (2, 27), "--json"),
    Requirement("nbdfuse", (1, 6), "an export is attached by it"),
    Requirement("fusermount3", (3, 0), "unmounts without root"),
    Requirement("dpkg-deb", (1, 19), "unpacks the control's packages"),
    Requirement("spatch", (1, 1), "its report of parse errors is read as 1.1 words it"),
    Requirement("git", (2, 28), "--initial-branch"),
    Requirement("gcc", (8, 0), "compiles the agent of op lists, and the journal for the host"),
    Requirement("make", (4, 0), "builds the journal for the host"),
    Requirement("apt-get", (2, 1), "reports every failed download"),
)


def checks() -> tuple[Check, ...]:
    """All checks, in the order in which a run needs them.  Takes some seconds, changes nothing."""
    return (
        check_kvm(Proofs(Cache.default().folder).all()),
        check_fuse(),
        *_attach_checks(),
        *(check_tool(requirement) for requirement in REQUIREMENTS),
        check_source_build(host.missing()),
        *_space_checks(),
        _memory(),
        _cores(),
        *_image_checks(Cache.default()),
    )


def check_kvm(proofs: Mapping[str, Proof], device: Path = Path("/dev/kvm")) -> Check:
    """Whether KVM may be tried, and what the runs since the host's boot have found of it.

    That it runs a guest is proved by the first run, and only there.
    """
    obstacle = kvm_obstacle(device)
    if obstacle is None and proofs:
        good = sum(proof.obstacle is None for proof in proofs.values())
        found = f"{device} opens; {good} of {len(proofs)} guests that were tried ran under it"
        if good == len(proofs):
            return Check("KVM", True, found, "")
        return Check("KVM", None, found, "not needed; --set machine.accel=kvm tries one again")
    if obstacle is None:
        return Check("KVM", True, f"{device} opens; only a run proves that it runs the guest", "")
    return Check("KVM", None, obstacle, "not needed: TCG runs every guest, some 4 times slower")


def check_fuse(device: Path = Path("/dev/fuse")) -> Check:
    """Whether a user may mount an export: without it only kernel nbd can attach disks."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        cure = {
            errno.ENOENT: "modprobe fuse; in a container: start it with --device /dev/fuse",
            errno.EACCES: f"chmod 666 {device} (as root), as udev does it",
            errno.EPERM: "the container may not use it: start it with --device /dev/fuse",
        }.get(exc.errno or 0, "modprobe fuse")
        return Check("FUSE", False, f"{device}: {exc.strerror}", cure)
    return Check("FUSE", True, f"{device} opens", "")


def _attach_checks() -> list[Check]:
    """The ways to attach a disk: one that works is enough."""
    probes = probe_methods()
    enough = any(probe.works for probe in probes)
    return [
        Check(
            f"attach by {probe.name}",
            True if probe.works else None if enough else False,
            "works" if probe.works else probe.reason,
            "" if probe.works else probe.cure,
        )
        for probe in probes
    ]


def check_tool(requirement: Requirement) -> Check:
    """A program's path and version against the oldest that will do."""
    name = requirement.program
    package = PACKAGES.get(name, name)
    path = find_tool(name)
    if path is None:
        return Check(name, False, "missing", f"apt-get install {package}")
    try:
        said = run([str(path), *requirement.ask], ok=None, timeout=20).output
    except InfraError as exc:
        return Check(
            name, False, str(exc).splitlines()[0], f"apt-get install --reinstall {package}"
        )
    version = parse_version(said)
    if version is None:
        first = said.splitlines()[0] if said else "nothing"
        return Check(name, None, f"{path} says no version but {first!r}", "")
    shown = ".".join(map(str, version))
    if version < requirement.minimum:
        least = ".".join(map(str, requirement.minimum))
        return Check(
            name,
            False,
            f"{shown} is too old ({path})",
            f"{least} or newer is needed ({requirement.why}): install {package} of a newer release",
        )
    return Check(name, True, f"{shown} ({path})", "")


def check_source_build(missing: Sequence[str]) -> Check:
    """Whether a Hurd can be built from source packages, which not everybody wants to do."""
    if missing:
        found = f"a build lacks {', '.join(missing)}"
        cure = f"for hurd-i386-source only: apt-get install {' '.join(missing)}"
        return Check("Hurd from source", None, found, cure)
    return Check("Hurd from source", True, "all that a build needs is installed", "")


def require(*programs: str) -> None:
    """Make sure that the host has these programs, and new enough.

    Raises `InfraError` with the cure for the first that it has not; programs that tell no version
    are taken as they are.
    """
    for requirement in REQUIREMENTS:
        if requirement.program in programs:
            check = check_tool(requirement)
            if check.ok is False:
                raise InfraError(f"{check.name}: {check.found}", hint=check.cure)


def parse_version(text: str) -> tuple[int, ...] | None:
    """The first number with a dot in a program's answer."""
    found = re.search(r"\b(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def _space_checks() -> list[Check]:
    return [
        check_space("space for images", Cache.default().folder, 1.0, "set HURDLE_CACHE"),
        check_space("space for scratch files", scratch_base(), 1.0, "set HURDLE_SCRATCH"),
        check_space("space for results", Path("out"), 1.0, "give --out"),
    ]


def check_space(name: str, folder: Path, gib: float, other: str) -> Check:
    """Free space where `folder` is or will be; `other` is how to choose another place."""
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free / _GIB
    if not os.access(here, os.W_OK):
        return Check(name, False, f"{here} can't be written", f"{other} to a folder of yours")
    enough = free >= gib
    cure = "" if enough else f"free {gib:.0f} GiB there, or {other} to another folder"
    return Check(name, enough, f"{free:.1f} GiB free in {here}", cure)


def _memory() -> Check:
    free = psutil.virtual_memory().available / _GIB
    enough = free >= 1
    cure = "" if enough else "end other programs: a guest takes 0.3 GiB, its judges some more"
    return Check("memory", enough, f"{free:.1f} GiB available", cure)


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0))
    found = f"{cores}, load {os.getloadavg()[0]:.1f}"
    return Check(
        "cores", True if cores > 1 else None, found, "with one core time-outs may be short"
    )


def _image_checks(cache: Cache) -> list[Check]:
    found = [image for image in cache.list() if image.current or image.problem]
    if not found:
        return [
            Check("images", None, f"none in {cache.folder}", "hurdle image build linux-control")
        ]
    return [
        Check(
            f"image {image.name}",
            not image.problem,
            image.problem or f"{image.key[:12]}, made {image.built[:16]}",
            f"hurdle image build {image.name}" if image.problem else "",
        )
        for image in found
    ]
