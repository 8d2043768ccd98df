"""The crashed root, booted once more with nobody at the console: what a user would meet.

The oracles judge copies on the host; here the guest itself checks its root (`e2fsck -p`, and a
prompt for a person where that gives up) and is then asked for the objects.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from harness.disk.copy import sparse_copy
from harness.disk.ext2 import ObjectStat
from harness.disk.fsck import parse
from harness.events import CommandRan, TextKept
from harness.experiment.context import Context
from harness.experiment.crash import Evidence
from harness.experiment.rootdisk import root_spec
from harness.guest.guest import Guest
from harness.machine.conditions import Condition, ConditionError
from harness.machine.qemu import Machine
from harness.oracles.context import damage, summary
from harness.oracles.object import differences
from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict

#: the name of the state in verdicts
STATE = "second-boot"
_BOOTS = 3  # e2fsck may ask for a reboot; one that asks for ever has not come up
_BEGIN = "Checking the root file system"
#: what a boot can end with that is the file system's doing, and not the host's
_STOPPED = {
    Condition.MAINTENANCE: "the boot stopped at a maintenance prompt",
    Condition.PANIC: "the boot ended in a panic",
    Condition.HANG: "the boot never reached the shell",
    Condition.SERVER_CRASH: "a server crashed at boot",
    Condition.JOURNAL_WARNING: "the file system complained at boot",
    Condition.TIGHT_LOOP: "the boot ended with the kernel halted",
    Condition.REBOOT: f"{_BOOTS} boots ended in a reboot each",
}


@dataclass(frozen=True)
class Reboot:
    """What came of it.  `objects` is empty unless the shell was reached."""

    judgements: tuple[Judgement, ...]
    objects: tuple[ObjectStat, ...] = ()


def reboot(context: Context, evidence: Evidence) -> Reboot:
    """Boot a copy of the killed root; raises `InfraError` when the host breaks."""
    scratch = context.rundir.scratch
    request = context.request
    variant = request.recipe.variants[evidence.variant]
    disk = scratch / "rebooted.raw"
    sparse_copy(evidence.killed, disk)
    spec = root_spec(request, variant, disk, scratch)
    try:
        for number in range(_BOOTS):
            name = f"qemu-{evidence.variant}-boot{number + 2}"
            with Machine(spec, context.rundir, context.accel, name=name) as machine:
                _command(context, evidence, machine)
                guest = Guest(machine, request.recipe, request.image)
                try:
                    return _booted(context, guest)
                except ConditionError as error:
                    again = error.condition is Condition.REBOOT and number + 1 < _BOOTS
                    if not again:
                        return Reboot((_stopped(error, guest),))
                finally:
                    _keep_console(context, evidence, guest)
    finally:
        disk.unlink()
    raise AssertionError("the last boot returns")


def _command(context: Context, evidence: Evidence, machine: Machine) -> None:
    context.bus.emit(
        CommandRan(variant=evidence.variant, what="QEMU, second boot", command=machine.command)
    )


def _keep_console(context: Context, evidence: Evidence, guest: Guest) -> None:
    text = guest.console_tail(60)
    context.bus.emit(
        TextKept(variant=evidence.variant, title="console of the second boot", text=text)
    )


def _booted(context: Context, guest: Guest) -> Reboot:
    """Boot to the shell and look for the objects there."""
    guest.boot(context.deadline(context.request.recipe.ready_seconds))
    findings = fsck_findings(guest.console_tail(200), context.request.recipe.boot.shell)
    mended = damage(findings)
    if mended:
        reason = f"the shell was reached, but e2fsck -p had to mend {summary(mended)}"
        boot = Judgement(Oracle.BOOT, Verdict.FAIL, reason, findings)
    else:
        boot = Judgement(Oracle.BOOT, Verdict.PASS, "the shell was reached unattended", findings)
    objects = tuple(_object(guest, each.path) for each in context.request.scenario.objects)
    return Reboot((boot, _judge_objects(context, objects)), objects)


def _stopped(error: ConditionError, guest: Guest) -> Judgement:
    """The verdict on a boot that did not reach the shell; other conditions are no verdict."""
    if error.condition not in _STOPPED:
        raise error
    findings = fsck_findings(guest.console_tail(200), guest.recipe.boot.shell)
    serious = [each for each in findings if each.code != "manual-fsck-needed"]
    why = f": e2fsck -p met {summary(tuple(serious))}" if serious else ""
    return Judgement(Oracle.BOOT, Verdict.FAIL, f"{_STOPPED[error.condition]}{why}", findings)


def fsck_findings(console: str, prompt: str) -> tuple[Finding, ...]:
    """What the guest's e2fsck said of the root, as the host's would be understood.

    `prompt` is the shell's, a regular expression.  Empty for a console on which nothing announces
    the check.
    """
    _, begun, said = console.rpartition(_BEGIN)
    if not begun:
        return ()
    device, _, text = said.partition("\n")
    text = re.split(rf"{prompt}|e2fsck ended with status", text, maxsplit=1)[0]
    return parse(text, [device.rpartition(" ")[2].strip()])


def _judge_objects(context: Context, objects: tuple[ObjectStat, ...]) -> Judgement:
    for stat, watched in zip(objects, context.request.scenario.objects, strict=True):
        wrong = differences(stat, watched.now)
        if wrong:
            text = f"{stat.path}: {', '.join(wrong)}"
            code = "object-fields" if stat.present else "object-lost"
            finding = Finding(code, FindingClass.DAMAGE, text)
            reason = f"after the second boot {text}"
            return Judgement(Oracle.OBJECT, Verdict.FAIL, reason, (finding,))
    reason = "after the second boot every object is as after the workload"
    return Judgement(Oracle.OBJECT, Verdict.PASS, reason)


#: stat(1)'s words for types to debugfs's
_TYPES = {
    "directory": "directory",
    "regular file": "regular",
    "regular empty file": "regular",
    "symbolic link": "symlink",
}
_FORMAT = "%F|%a|%u|%g|%h|%s|%b|%B|%i"


def _object(guest: Guest, path: str) -> ObjectStat:
    """An object as the guest itself sees it, in debugfs's words."""
    name = shlex.quote(f"/{path}")
    done = guest.run(f"stat -c {shlex.quote(_FORMAT)} {name}; readlink {name}")
    lines = done.out.splitlines()
    return parse_object(path, lines[0] if lines else "", done.err, lines[1] if lines[1:] else "")


def parse_object(path: str, line: str, error: str, target: str) -> ObjectStat:
    """An object from stat(1)'s line; absent where there is none."""
    words = line.split("|")
    if len(words) != len(_FORMAT.split("|")):
        gone = "No such file" in error
        return ObjectStat(path, False, {}, "File not found by the guest" if gone else error.strip())
    kind, mode, uid, gid, links, size, blocks, unit, inode = words
    fields = {
        "inode": inode,
        "type": _TYPES.get(kind, kind),
        "mode": mode.rjust(4, "0"),
        "uid": uid,
        "gid": gid,
        "links": links,
        "size": size,
        "blockcount": str(int(blocks) * int(unit) // 512),
        **({"target": target} if target else {}),
    }
    return ObjectStat(path, True, fields, line)
