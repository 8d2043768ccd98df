"""Which accelerator runs this guest: KVM when it really does, else TCG.

A /dev/kvm that opens may still not run the guest: nested hosts exist that run only paravirtual
Linux, or stall a guest in its first instructions.  So KVM is proved with the guest's own kernel.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.deadline import Deadline
from harness.errors import GuestError, InfraError
from harness.images.cache import Cache
from harness.machine.proofs import Proofs, proof_key

if TYPE_CHECKING:
    from harness.machine.spec import MachineSpec
    from harness.rundir import RunDir

_KVM = Path("/dev/kvm")
# A kernel that runs under KVM prints within 1 s.  A busy host gets some air, since what is found
# holds until the host boots again.
_PROOF_SECONDS = 8.0
# KVM was measured 4.5 times as fast as TCG (37.2 s against 8.3 s to the same milestone of a Hurd
# boot), but a busy host needs some of that back.
_KVM_SCALE = 0.4


@dataclass(frozen=True)
class Accel:
    """An accelerator and why it was chosen; `time_scale` multiplies time-outs given for TCG."""

    name: Literal["kvm", "tcg"]
    reason: str
    time_scale: float


TCG = Accel("tcg", "TCG was asked for", 1.0)

_proved: dict[str, str | None] = {}


def choose_accel(wanted: Literal["auto", "kvm", "tcg"], spec: MachineSpec, rundir: RunDir) -> Accel:
    """The accelerator for a machine like `spec`.

    `auto` takes KVM if the guest's kernel prints something under it within a few seconds, else TCG
    with the reason.  What was found holds for this process, and is kept in the cache until the host
    boots again (proofs.py).  `kvm` looks again, and raises `InfraError` with the reason instead.
    """
    if wanted == "tcg":
        return TCG
    obstacle = kvm_obstacle() or _unproved(spec, rundir, again=wanted == "kvm")
    if obstacle is None:
        return Accel("kvm", "KVM starts this guest's kernel", _KVM_SCALE)
    if wanted == "kvm":
        raise InfraError(f"KVM can't run this guest: {obstacle}", hint="use machine.accel=auto")
    return Accel("tcg", f"no KVM: {obstacle}", 1.0)


def kvm_obstacle(device: Path = _KVM) -> str | None:
    """Why /dev/kvm can't be used at all; None if it opens."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        return {
            errno.ENOENT: f"{device} does not exist (virtualisation is off in the firmware, the "
            "module kvm_intel or kvm_amd is not loaded, or this is a container without it)",
            errno.EACCES: f"{device} may not be opened (add the user to the group kvm: "
            "`usermod -aG kvm $USER`, then log in again)",
        }.get(exc.errno or 0, f"{device} does not open: {exc.strerror}")
    return None


def _unproved(spec: MachineSpec, rundir: RunDir, *, again: bool) -> str | None:
    """Why KVM does not run this very kernel; None if it does.

    What the cache has of it serves unless `again` is set.
    """
    key, proofs = proof_key(spec, _KVM), Proofs(Cache.default().folder)
    if key in _proved:
        return _proved[key]
    known = None if again else proofs.all().get(key)
    if known is not None:
        _proved[key] = known.remembered if known.obstacle else None
        return _proved[key]
    try:
        _proved[key] = _prove(spec, rundir)
    except InfraError as exc:  # nothing is known of the kernel, so nothing is kept
        _proved[key] = f"QEMU does not run under KVM, though /dev/kvm opens ({_first_line(exc)})"
    else:
        proofs.keep(key, _proved[key])
    return _proved[key]


def _prove(spec: MachineSpec, rundir: RunDir) -> str | None:
    """As `_unproved`, by a start; `InfraError` if QEMU itself does not start."""
    from harness.machine.qemu import Machine  # a machine needs an Accel: the circle ends here

    # Without disks and network, talking: enough to see the kernel run, nothing that it can change.
    # A guest that starts from its disk keeps that one, as it is: its boot loader talks first.
    words = [word for word in spec.boot.cmdline.split() if word != "quiet"]
    boot = replace(spec.boot, cmdline=" ".join([*words, "earlyprintk=serial"]))
    disks = (
        () if boot.kernel else (replace(spec.disks[0], snapshot=True, log=None, fallible=False),)
    )
    trial = replace(spec, boot=boot, disks=disks, nic=None)
    kvm = Accel("kvm", "trial", _KVM_SCALE)
    try:
        with Machine(trial, rundir, kvm, name="kvm-trial") as machine:
            # Any word will do: nothing but the guest's kernel writes to this line.
            try:
                wait = Deadline.after(_PROOF_SECONDS)
                machine.console.expect(rb"[A-Za-z]{3}", wait, "any output")
            finally:
                machine.kill()  # a stalled KVM does not hear SIGTERM
    except GuestError as exc:
        return (
            f"this guest's kernel prints nothing within {_PROOF_SECONDS:.0f} s under KVM, "
            f"though /dev/kvm opens ({exc})"
        )
    said = (rundir.logs / "kvm-trial.log").read_text(errors="replace")
    if "KVM internal error" in said:
        return "KVM reports an internal error when it runs this guest's kernel"
    return None


def _first_line(error: InfraError) -> str:
    """An error in one line: its head and the first thing that QEMU said."""
    return ": ".join(line.strip() for line in str(error).splitlines()[:2] if line.strip())
