"""Made-up runs, to look at the reports without a guest.

`python -m tests.pure.sample_run DIR` writes the reports of every ending into DIR.  The tests use
the same runs.  The figures are close to those of a control guest under TCG.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.errors import Exit
from harness.events import (
    CommandRan,
    Commit,
    Compared,
    DiskLog,
    Event,
    FindingRecord,
    Note,
    ObjectExpected,
    ObjectView,
    OpDone,
    PhaseBegan,
    PhaseEnded,
    RunBegan,
    RunEnded,
    StatesPlanned,
    TextKept,
    VerdictGiven,
)
from harness.verdicts import (
    SCENARIO_ORACLES,
    CrashModel,
    Expectation,
    FindingClass,
    Oracle,
    Verdict,
)

_PATH = "home/loshmi/test-dir3"
_SCENARIO = "directory"
_GUEST = "linux-control"
_FLUSHES = (12, 59, 61, 112, 140, 142, 157)


class Case(StrEnum):
    """The endings that a report has to be good at."""

    EXPECTED = "expected"  #: ext3 passes everything, ext2 fails as the scenario says
    UNEXPECTED = "unexpected"  #: ext3 loses the directory in some prefixes
    VOID = "void"  #: nothing of the workload reached the disk
    INFRA = "infra"  #: QEMU did not start for the second variant
    INTERRUPTED = "interrupted"  #: killed while judging; the events just stop
    EMPTY = "empty"  #: no operation, no judged state


@dataclass
class _Story:
    """The events so far, and the clock that stamps them."""

    events: list[Event]
    t: float = 0.0

    def emit(self, event: Event, seconds: float = 0.0) -> None:
        self.t += seconds
        self.events.append(event.model_copy(update={"t": round(self.t, 3)}))

    def phase(self, variant: str, name: str, seconds: float, detail: str = "") -> None:
        self.emit(PhaseBegan(variant=variant, phase=name, detail=detail))
        self.emit(PhaseEnded(variant=variant, phase=name, seconds=seconds, ok=True), seconds)


def sample(case: Case = Case.EXPECTED, prefixes: int = 150) -> list[Event]:
    """The events of a made-up run with `prefixes` states for each variant."""
    story = _Story([])
    story.emit(_began(case))
    story.emit(
        ObjectExpected(
            path=_PATH,
            was=None,
            now={"type": "directory", "mode": "0775", "uid": "1001", "gid": "1001", "links": "2"},
        )
    )
    story.phase("", "self-check", 0.6, "each oracle tells a good image from a bad one")
    for variant in ("ext3", "ext2"):
        if case is Case.INFRA and variant == "ext2":
            _broken(story, variant)
            continue
        _crash(story, variant, case)
        if case is not Case.EMPTY:
            _judge(story, variant, case, prefixes)
        if case is Case.INTERRUPTED and variant == "ext2":
            return story.events[:-20]
    code, message, hint = {
        Case.EXPECTED: (Exit.OK, "every verdict is the expected one", ""),
        Case.EMPTY: (Exit.OK, "every verdict is the expected one", ""),
        Case.VOID: (Exit.VOID, "some verdicts prove nothing", "lengthen the wait before the kill"),
        Case.INFRA: (Exit.INFRA, "QEMU failed with exit code 1", "see out/logs/qemu-ext2.log"),
        Case.UNEXPECTED: (
            Exit.UNEXPECTED,
            "1 of 12 expectations not met, first: ext3, object over prefix: expected PASS, "
            "found FAIL",
            "hurdle judge out/directory-linux-control --state prefix-0140",
        ),
    }[case]
    story.emit(RunEnded(exit_code=code, message=message, hint=hint), 0.2)
    return story.events


def _began(case: Case) -> RunBegan:
    return RunBegan(
        run_id="3f9c2a71b0de",
        scenario=_SCENARIO,
        title="A directory made six seconds before the power went",
        guest=_GUEST,
        guest_title="Linux control (Debian kernel, busybox)",
        os="linux",
        variants=("ext3", "ext2"),
        accel="tcg",
        accel_reason="/dev/kvm is missing",
        started="2026-11-20T14:02:11+00:00",
        command=f"hurdle run scenarios/{_SCENARIO}.yaml --guest {_GUEST} --out out/{case}",
        versions={
            "hurdle": "0.1.0",
            "python": "3.11.7",
            "QEMU": "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)",
            "e2fsprogs": "e2fsck 1.47.0 (5-Feb-2023)",
            "linux-image-6.1.0-amd64": "6.1.148-1",
        },
    )


def _crash(story: _Story, variant: str, case: Case) -> None:
    story.phase(variant, "prepare", 0.21, "file system and images")
    story.emit(
        CommandRan(
            variant=variant,
            what="QEMU",
            command="qemu-system-x86_64 -nodefaults -display none -machine q35,accel=tcg -m 256M "
            "-blockdev driver=blklogwrites,node-name=crash,file=crash-raw,log=crash-log "
            "-device virtio-blk-pci,drive=crash",
        )
    )
    story.phase(variant, "boot", 9.84, "Linux control, tcg")
    story.phase(variant, "mount", 0.35, "/dev/vda")
    story.emit(PhaseBegan(variant=variant, phase="setup", detail="3 operations, then sync"))
    for index, op in enumerate(
        ("mkdir home 0755", "mkdir home/loshmi 0775", "chown home/loshmi 1001:1001"), start=-3
    ):
        _operation(story, variant, index, op, 4, 9)
    story.emit(PhaseEnded(variant=variant, phase="setup", seconds=0.5, ok=True), 0.3)
    if case is not Case.EMPTY:
        story.emit(
            PhaseBegan(variant=variant, phase="workload", detail=f"mkdir {_PATH} 0775 as loshmi")
        )
        _operation(story, variant, 0, f"mkdir {_PATH} 0775 as loshmi", 113, 113)
        story.emit(PhaseEnded(variant=variant, phase="workload", seconds=0.07, ok=True))
        story.phase(variant, "wait", 7.0, "wait 7.0 s")
    story.phase(variant, "kill", 0.02, "SIGKILL of QEMU")
    story.emit(
        TextKept(
            variant=variant,
            title="console, last lines",
            text="[    4.1] EXT4-fs (vda): mounted filesystem with ordered data mode\n~ # ",
        )
    )
    story.emit(_log(variant, 113 if case is Case.EMPTY else 163))


def _log(variant: str, entries: int) -> DiskLog:
    return DiskLog(
        variant=variant,
        entries=entries,
        writes=entries - 7,
        flushes=7,
        discards=0,
        bytes_written=1024 * 611,
        settled=158,
        in_flight=5,
        torn_bytes=0,
        workload_from=113,
        commits=(Commit(entry=60, tid=2), Commit(entry=141, tid=3)) if variant == "ext3" else (),
        flush_entries=_FLUSHES,
    )


def _operation(
    story: _Story, variant: str, index: int, op: str, log_before: int, log_after: int
) -> None:
    began = story.t
    story.t += 0.065
    story.emit(
        OpDone(
            variant=variant,
            index=index,
            op=op,
            began=began,
            ended=story.t,
            log_before=log_before,
            log_after=log_after,
            ok=True,
        )
    )


def _judge(story: _Story, variant: str, case: Case, prefixes: int) -> None:
    began = story.t
    story.emit(PhaseBegan(variant=variant, phase="recover", detail="the killed disk"))
    story.emit(
        CommandRan(
            variant=variant,
            what="pure recovery",
            command=f"e2fsck -y -E journal_only out/{variant}/killed-copy.raw",
        )
    )
    lost = variant == "ext2"
    story.emit(_view(variant, "before", "unwritten"))
    story.emit(_view(variant, "after", "absent" if lost else "whole"), 0.3)
    story.emit(
        TextKept(
            variant=variant,
            title="logdump of the killed disk",
            text="Journal starts at block 1, transaction 2\n"
            "Found expected sequence 2, type 1 (descriptor block) at block 1\n"
            "Found expected sequence 2, type 2 (commit block) at block 9\n"
            "Found expected sequence 3, type 1 (descriptor block) at block 10\n"
            "Found expected sequence 3, type 2 (commit block) at block 17\n"
            "No magic number at block 18: end of journal.\n",
        )
    )
    story.emit(PhaseEnded(variant=variant, phase="recover", seconds=0.3, ok=True))
    story.emit(PhaseBegan(variant=variant, phase="judge", detail="kill and every prefix"))
    story.emit(StatesPlanned(variant=variant, model=CrashModel.KILL, states=1))
    story.emit(StatesPlanned(variant=variant, model=CrashModel.PREFIX, states=prefixes))
    given: list[VerdictGiven] = []
    states = [(CrashModel.KILL, "kill", 163)]
    # A flush behind a write belongs to the write's state.
    upto = [count for count in range(1, 164) if count not in _FLUSHES]
    states += [(CrashModel.PREFIX, f"prefix-{n:04d}", n) for n in upto[-prefixes:]]
    for model, state, position in states:
        for verdict in _verdicts(variant, case, model, state, position):
            given.append(verdict)
            story.emit(verdict, 0.021)
    seconds = round(story.t - began, 3)
    story.emit(PhaseEnded(variant=variant, phase="judge", seconds=seconds, ok=True))
    for model in (CrashModel.KILL, CrashModel.PREFIX):
        for oracle in SCENARIO_ORACLES:
            story.emit(_compared(variant, model, oracle, given))


def _view(variant: str, when: str, condition: str) -> ObjectView:
    whole = {
        "Inode": "373911", "Type": "directory", "Mode": "0775", "Flags": "0x0",
        "Generation": "1773077012", "Version": "0x00000000", "User": "1001", "Group": "1001",
        "Size": "4096", "Links": "2", "Blockcount": "8", "Blocks": "(0):1507738",
        "ctime": "0x69af0213 -- Mon Mar  9 17:23:31 2026",
        "mtime": "0x69af0213 -- Mon Mar  9 17:23:31 2026",
    }  # fmt: skip
    zero = {
        "Inode": "373911", "Type": "bad type", "Mode": "0000", "Flags": "0x0", "Generation": "0",
        "Version": "0x00000000", "User": "0", "Group": "0", "Size": "0", "Links": "0",
        "Blockcount": "0", "ctime": "0x00000000 -- Thu Jan  1 00:00:00 1970",
        "mtime": "0x00000000 -- Thu Jan  1 00:00:00 1970",
    }  # fmt: skip
    fields = {"whole": whole, "unwritten": zero, "absent": {}}[condition]
    text = "\n".join(f"{name}: {value}" for name, value in fields.items())
    return ObjectView.model_validate(
        {
            "variant": variant,
            "model": CrashModel.KILL,
            "state": "kill",
            "path": _PATH,
            "when": when,
            "present": bool(fields),
            "fields": fields,
            "text": text or f"{_PATH}: File not found by ext2_lookup",
        }
    )


_REPLAY = FindingRecord(code="replay", kind=FindingClass.REPLAY, text="recovering journal")
_COUNTS = FindingRecord(
    code="free-blocks-count",
    kind=FindingClass.COUNTS,
    text="Free blocks count wrong (15211, counted=15210).",
)


def _verdicts(
    variant: str, case: Case, model: CrashModel, state: str, position: int
) -> Iterator[VerdictGiven]:
    for oracle in SCENARIO_ORACLES:
        verdict, reason = Verdict.PASS, "no damage after recovery"
        findings: tuple[FindingRecord, ...] = (
            (_REPLAY, _COUNTS) if variant == "ext3" and position > 60 else ()
        )
        if case is Case.VOID and model is CrashModel.PREFIX and position <= 113:
            verdict, reason = Verdict.VOID, "no write of the workload is in this state"
            findings = ()
        elif variant == "ext2" and (model is CrashModel.KILL or position in range(131, 148)):
            verdict, reason, findings = _damage(oracle, position)
        elif (
            (case, variant, oracle) == (Case.UNEXPECTED, "ext3", Oracle.OBJECT)
            and model is CrashModel.PREFIX
            and position in range(143, 149)
        ):
            verdict = Verdict.FAIL
            reason = f"{_PATH}: is absent, though it was acknowledged before"
            findings = (
                FindingRecord(
                    code="object-lost", kind=FindingClass.DAMAGE, text=f"{_PATH}: is absent"
                ),
            )
        yield VerdictGiven(
            verdict=verdict,
            oracle=oracle,
            scenario=_SCENARIO,
            guest=_GUEST,
            variant=variant,
            model=model,
            state=state,
            reason=reason,
            evidence=f"{variant}/{state}/{oracle}.txt",
            findings=findings,
            position=position,
        )


def _damage(oracle: Oracle, position: int) -> tuple[Verdict, str, tuple[FindingRecord, ...]]:
    dangling = FindingRecord(
        code="dangling-entry",
        kind=FindingClass.DAMAGE,
        text=f"Entry 'test-dir3' in /home/loshmi ({13 + position % 2}) has deleted/unused inode "
        f"{14 + position % 2}.  Clear? no",
    )
    bitmap = FindingRecord(
        code="block-bitmap",
        kind=FindingClass.DAMAGE,
        text=f"Block bitmap differences:  -(1541--{1541 + position % 9})",
    )
    if oracle is Oracle.STRUCTURE:
        return Verdict.FAIL, "a full check finds 2 kinds of damage", (dangling, bitmap)
    if oracle is Oracle.BOOT:
        return Verdict.FAIL, "e2fsck -p ends with 4: a person has to run it by hand", (dangling,)
    empty = FindingRecord(
        code="dangling-entry",
        kind=FindingClass.DAMAGE,
        text=f"{_PATH} leads to an empty inode",
    )
    return Verdict.FAIL, f"after recovery {empty.text}", (empty,)


def _compared(
    variant: str, model: CrashModel, oracle: Oracle, given: list[VerdictGiven]
) -> Compared:
    verdicts = [e.verdict for e in given if (e.model, e.oracle) == (model, oracle)]
    counts = Counter(verdicts)
    found = next(v for v in (Verdict.INFRA, Verdict.FAIL, Verdict.PASS, Verdict.VOID) if counts[v])
    expected = Expectation.FAIL if variant == "ext2" else Expectation.PASS
    return Compared(
        variant=variant,
        model=model,
        oracle=oracle,
        expected=expected,
        found=found,
        ok=expected.allows(found),
        states=len(verdicts),
        counts={str(v): n for v, n in counts.items()},
    )


def _broken(story: _Story, variant: str) -> None:
    why = "QEMU failed with exit code 1"
    story.emit(PhaseBegan(variant=variant, phase="boot", detail="Linux control, tcg"))
    story.emit(PhaseEnded(variant=variant, phase="boot", seconds=0.4, ok=False), 0.4)
    story.emit(
        Note(
            level="error",
            text=f"{why}\nqemu-system-x86_64: -drive file=crash.raw: Could not open",
            variant=variant,
        )
    )
    given = [
        VerdictGiven(
            verdict=Verdict.INFRA,
            oracle=oracle,
            scenario=_SCENARIO,
            guest=_GUEST,
            variant=variant,
            model=model,
            state="none",
            reason=why,
            evidence=f"logs/qemu-{variant}.log",
        )
        for model in (CrashModel.KILL, CrashModel.PREFIX)
        for oracle in SCENARIO_ORACLES
    ]
    for event in given:
        story.emit(event)
    for event in given:
        story.emit(_compared(variant, event.model, event.oracle, given))


def main(folder: Path) -> None:
    """Write the reports of every case below `folder`."""
    from harness.report.html import write_all

    for case in Case:
        write_all(sample(case), folder / case)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
