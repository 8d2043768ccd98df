"""The sentences of a report: what a person should know after reading one line."""

from __future__ import annotations

from collections.abc import Sequence

from harness.events import RunEnded
from harness.report.text import clean_line, counted, listed
from harness.report.view import Cell, Ending, FindingGroup, ObjectPair, VariantView
from harness.verdicts import CrashModel, Expectation, FindingClass, Oracle, Verdict

#: one sentence for each crash model, beside every figure that is from it
MODELS = {
    CrashModel.KILL: "SIGKILL of QEMU: the disk holds every write that QEMU completed, so this "
    "tests the order of writes and recovery, never a missing flush.",
    CrashModel.PREFIX: "Every prefix of the write log: the disk as it was before the run plus the "
    "first N writes, what a power cut leaves on a disk that keeps the order of its writes.",
    CrashModel.CUT: "One prefix of the write log, at the write that the scenario names: what a "
    "power cut at that very moment leaves on a disk that keeps the order of its writes.",
    CrashModel.SUBSET: "All writes up to the last flush and any of those since: what a power cut "
    "leaves on a disk whose cache writes in any order.",
    CrashModel.TORN: "A prefix whose last write, or a subset one of whose writes, reached the disk "
    "in part; a physical sector is whole or not.",
    CrashModel.OVERLAP: "As subset, where the last write before a flush is taken for one that was "
    "under way when the flush was issued, so that it was not covered.",
    CrashModel.LYING: "Writes are missing that a flush covered: the disk said that they were safe, "
    "and they were not. No file system can be blamed for it; this shows what it costs.",
    CrashModel.RECOVERY: "The power goes again while the log is replayed: a prefix or subset of "
    "recovery's own writes.",
}

_LONGEST_CAUSE = 90

#: what each oracle asks
ORACLES = {
    Oracle.STRUCTURE: "after pure recovery a read-only full check finds no damage",
    Oracle.BOOT: "an unattended boot (e2fsck -p) goes through and mends only log and orphans",
    Oracle.OBJECT: "the scenario's objects are there with the fields that they must have",
    Oracle.DURABILITY: "whatever was acknowledged is there",
    Oracle.PREFIX: "names and attributes are those of one moment of the workload",
    Oracle.STALE: "a file holds only bytes that were written to it",
    Oracle.BARRIER: "a flush lies before each commit block and behind it",
    Oracle.LIVENESS: "no operation hangs or ends as it can't, and nothing in the guest dies",
    Oracle.ERROR: "an error that the disk reported for good reached an operation",
    Oracle.LANDED: "the kill or fault of each trial came while its workload ran",
    Oracle.AGREEMENT: "all recoverers leave the same tree",
}


def sentence(
    name: str,
    cells: Sequence[Cell],
    objects: Sequence[ObjectPair],
    findings: Sequence[FindingGroup],
) -> str:
    """What happened to one variant, without a full stop; every figure names its crash model."""
    if not cells:
        return f"{name} was not judged"
    if all(cell.found is Verdict.INFRA for cell in cells):
        return f"{name} could not be judged"
    if not any(cell.counts.get(Verdict.PASS) or _fails(cell) for cell in cells):
        return f"{name} proved nothing"
    said = (
        _failures(cells, f"{_harm(findings)} {_noun(objects)}")
        if any(_fails(cell) for cell in cells)
        else _passes(cells)
    )
    surprises = [cell for cell in cells if cell.ok is False and not _fails(cell)]
    if surprises:
        found = listed([f"{c.oracle} on {c.model} is {c.found}" for c in surprises])
        wanted = listed(list(dict.fromkeys(_wanted(cell) for cell in surprises)))
        said += f"; {found}, where {wanted} was expected"
    return f"{name} {said}"


def _passes(cells: Sequence[Cell]) -> str:
    """`lost nothing after the kill and in 96 prefixes`.

    A state counts unless some oracle could say nothing of it; one that an oracle was not asked
    about, such as the object's before the workload, counts by the others.
    """
    proved: dict[CrashModel, int] = {}
    for model in CrashModel:
        mine = [cell for cell in cells if cell.model is model]
        states = max((cell.states for cell in mine), default=0)
        dumb = max((_dumb(cell) for cell in mine), default=0)
        proved[model] = max(states - dumb, 0)
    where = [_whole(model, count) for model, count in proved.items() if count]
    return f"lost nothing {listed(where)}" if where else "passed what could be judged"


def _dumb(cell: Cell) -> int:
    return cell.counts.get(Verdict.VOID, 0) + cell.counts.get(Verdict.INFRA, 0)


def _whole(model: CrashModel, count: int) -> str:
    if model is CrashModel.PREFIX:
        return f"in {counted(count, 'prefix')} of the write log"
    return "after the kill" if model is CrashModel.KILL else "at the cut"


def _part(cell: Cell) -> str:
    """Where a variant failed."""
    if cell.model is CrashModel.PREFIX:
        return f"in {_fails(cell)} of {counted(max(cell.states, _fails(cell)), 'prefix')}"
    return "after the kill" if cell.model is CrashModel.KILL else "at the cut"


def _failures(cells: Sequence[Cell], object_lost: str) -> str:
    """`was damaged and lost a/b after the kill and in 7 of 96 prefixes, as expected`.

    Oracles that failed as many states share their figure, since it is mostly one event that all of
    them saw.
    """
    words = {
        Oracle.STRUCTURE: "was damaged",
        Oracle.BOOT: "would not boot unattended",
        Oracle.OBJECT: object_lost,
    }
    shares: dict[tuple[str, str], list[str]] = {}
    for oracle in Oracle:
        failed = [cell for cell in cells if cell.oracle is oracle and _fails(cell)]
        if failed:
            key = (listed([_part(cell) for cell in failed]), _expectation(failed))
            shares.setdefault(key, []).append(words.get(oracle, f"failed {oracle}"))
    expectations = {expectation for _, expectation in shares}
    parts = []
    for (where, expectation), verbs in shares.items():
        end = f" ({expectation})" if expectation and len(expectations) > 1 else ""
        parts.append(f"{listed(verbs)} {where}{end}")
    shared = expectations.pop() if len(expectations) == 1 else ""
    said = ", and ".join(parts) if len(parts) == 2 else listed(parts)
    return said + (f", {shared}" if shared else "")


def _expectation(failed: Sequence[Cell]) -> str:
    if any(cell.ok is False for cell in failed):
        return "not expected"
    if any(cell.expected is Expectation.ANY for cell in failed):
        return "which it may"
    return "as expected" if all(cell.ok for cell in failed) else ""


def _wanted(cell: Cell) -> str:
    return "PASS or FAIL" if cell.expected is Expectation.ANY else str(cell.expected)


def _harm(findings: Sequence[FindingGroup]) -> str:
    """What happened to the objects; a name that leads to an empty inode is a lost object too."""
    damage = [group for group in findings if group.kind == FindingClass.DAMAGE]
    codes = {group.code for group in damage if Oracle.OBJECT in group.oracles}
    if codes and codes <= {"object-lost", "dangling-entry"}:
        return "lost"
    return "garbled" if codes and codes <= {"object-fields", "objects-torn"} else "lost or garbled"


def _noun(objects: Sequence[ObjectPair]) -> str:
    paths = {pair.path for pair in objects}
    return clean_line(paths.pop().rsplit("/", 1)[-1]) if len(paths) == 1 else "an object"


def _fails(cell: Cell) -> int:
    return cell.counts.get(Verdict.FAIL, 0)


def caveat(variants: Sequence[VariantView]) -> str:
    """What a green run must say first: verdicts that prove nothing, or were never reached."""
    cells = [cell for variant in variants for cell in variant.cells]
    void = sum(cell.counts.get(Verdict.VOID, 0) for cell in cells)
    infra = sum(cell.counts.get(Verdict.INFRA, 0) for cell in cells)
    whole = sum(sum(cell.counts.values()) for cell in cells)
    if whole == infra:
        return ""  # nothing was judged at all, which the headline says
    parts = []
    if void:
        parts.append(f"{void} {'proves' if void == 1 else 'prove'} nothing (VOID)")
    if infra:
        parts.append(
            f"{infra} {'says' if infra == 1 else 'say'} nothing of the file system (INFRA)"
        )
    return f"Of {counted(whole, 'verdict')}, {listed(parts)}." if parts else ""


def headline(ending: Ending, end: RunEnded | None, variants: Sequence[VariantView]) -> str:
    """The run in one sentence; what broke the run is said before what the run found."""
    found = _found(variants)
    broke = {
        Ending.INFRA: "The host or a tool failed",
        Ending.GUEST: "The guest failed",
        Ending.USAGE: "The run could not start",
        Ending.INTERRUPTED: "The run was interrupted",
        Ending.CUT_OFF: "The run did not end: it was killed, or it is still going",
    }.get(ending)
    if broke is None:
        return f"{found or 'No crash state was judged'}."
    # A long message stands below the headline, in one piece.
    why = clean_line((end.message if end else "").strip().split("\n")[0]).rstrip(".")
    why = f": {why}" if 0 < len(why) <= _LONGEST_CAUSE else ""
    judged = any(cell.found is not Verdict.INFRA for v in variants for cell in v.cells)
    rest = f"Until then: {found}" if judged else found or "No crash state was judged"
    return f"{broke}{why}. {rest}."


def next_step(end: RunEnded | None, variants: Sequence[VariantView]) -> str:
    """What to do about a run that is not green: the hint it ended with, else the first surprise."""
    if end is not None and end.hint:
        return end.hint
    for variant in variants:
        for item in variant.judged:
            cell = variant.cell(item.model, item.oracle)
            if cell and cell.ok is False and item.verdict is cell.found and item.evidence:
                what = f"{variant.name}, {item.oracle} at {item.state}"
                return f"look at {item.evidence} in the run's folder ({what})"
    return ""


def _found(variants: Sequence[VariantView]) -> str:
    """The variants' sentences; those that say the same are one."""
    if not any(variant.cells for variant in variants):
        return ""
    alike: dict[str, list[str]] = {}
    for variant in variants:
        alike.setdefault(variant.sentence.removeprefix(variant.name), []).append(variant.name)
    parts = []
    for said, names in alike.items():
        plural = len(names) > 1 and said.startswith(" was ")
        parts.append(listed(names) + (said.replace(" was ", " were ", 1) if plural else said))
    return "; ".join(parts)
