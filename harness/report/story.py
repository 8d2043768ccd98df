"""The sentences of a report: what a person should know after reading one line."""

from __future__ import annotations

from collections.abc import Sequence

from harness.events import RunEnded
from harness.report.text import clean_line, counted, listed
from harness.report.view import Cell, Ending, Judged, ObjectPair, VariantView
from harness.verdicts import CrashModel, Oracle, Verdict

#: one sentence for each crash model, beside every figure that is from it
MODELS = {
    CrashModel.KILL: "SIGKILL of QEMU: the disk holds every write that QEMU completed, so this "
    "tests the order of writes and recovery, never a missing flush.",
    CrashModel.PREFIX: "Every prefix of the write log: the disk as it was before the run plus the "
    "first N writes, what a power cut leaves on a disk that keeps the order of its writes.",
    CrashModel.CUT: "One prefix of the write log, at the write that the scenario names: what a "
    "power cut at that very moment leaves on a disk that keeps the order of its writes.",
}

#: what each oracle asks
ORACLES = {
    Oracle.STRUCTURE: "after pure recovery a read-only full check finds no damage",
    Oracle.BOOT: "an unattended boot (e2fsck -p) goes through and mends only log and orphans",
    Oracle.OBJECT: "the scenario's objects are there with the fields that they must have",
}


def sentence(
    name: str, cells: Sequence[Cell], judged: Sequence[Judged], objects: Sequence[ObjectPair]
) -> str:
    """What happened to one variant, without a full stop."""
    states = len({(item.model, item.state) for item in judged}) or _most_states(cells)
    if not cells:
        return f"{name} was not judged"
    if all(cell.found is Verdict.INFRA for cell in cells):
        return f"{name} could not be judged"
    if not any(cell.counts.get(Verdict.PASS) or _fails(cell) for cell in cells):
        return f"{name} proved nothing in {counted(states, 'crash state')}"
    parts = _failures(cells, objects)
    surprises = [cell for cell in cells if cell.ok is False and not _fails(cell)]
    if not parts:
        said = f"{name} lost nothing in {counted(states, 'crash state')}"
    else:
        said = f"{name} {listed(parts)}"
    if surprises:
        found = listed([f"{c.oracle} on {c.model} is {c.found}" for c in surprises])
        wanted = listed(list(dict.fromkeys(str(c.expected) for c in surprises)))
        said += f"; {found}, where {wanted} was expected"
    return said


def _failures(cells: Sequence[Cell], objects: Sequence[ObjectPair]) -> list[str]:
    """`was damaged in 7 of 96 states, as expected`, for each oracle that failed some state."""
    parts = []
    for oracle in Oracle:
        failed = [cell for cell in cells if cell.oracle is oracle and _fails(cell)]
        if not failed:
            continue
        count = sum(_fails(cell) for cell in failed)
        whole = sum(max(cell.states, _fails(cell)) for cell in cells if cell.oracle is oracle)
        word = {
            Oracle.STRUCTURE: "was damaged",
            Oracle.BOOT: "would not boot unattended",
            Oracle.OBJECT: f"lost or garbled {_noun(objects)}",
        }.get(oracle, f"failed {oracle}")
        part = f"{word} in {count} of {counted(whole, 'crash state')}"
        if any(cell.ok is False for cell in failed):
            part += " (not expected)"
        elif all(cell.ok for cell in failed):
            part += " (as expected)"
        parts.append(part)
    return parts


def _noun(objects: Sequence[ObjectPair]) -> str:
    paths = {pair.path for pair in objects}
    return clean_line(paths.pop().rsplit("/", 1)[-1]) if len(paths) == 1 else "an object"


def _fails(cell: Cell) -> int:
    return cell.counts.get(Verdict.FAIL, 0)


def _most_states(cells: Sequence[Cell]) -> int:
    return max((cell.states for cell in cells), default=0)


def caveat(variants: Sequence[VariantView]) -> str:
    """What a green run must say first: verdicts that prove nothing, or were never reached."""
    cells = [cell for variant in variants for cell in variant.cells]
    void = sum(cell.counts.get(Verdict.VOID, 0) for cell in cells)
    infra = sum(cell.counts.get(Verdict.INFRA, 0) for cell in cells)
    whole = sum(sum(cell.counts.values()) for cell in cells)
    parts = []
    if void:
        parts.append(f"{void} prove nothing (VOID)")
    if infra:
        parts.append(f"{infra} say nothing of the file system (INFRA)")
    return f"Of {counted(whole, 'verdict')}, {listed(parts)}." if parts else ""


def headline(ending: Ending, end: RunEnded | None, variants: Sequence[VariantView]) -> str:
    """The run in one sentence; what broke the run is said before what the run found."""
    found = "; ".join(variant.sentence for variant in variants if variant.cells)
    unjudged = [variant.name for variant in variants if not variant.cells]
    if found and unjudged:
        found += f"; {listed(unjudged)} {'was' if len(unjudged) == 1 else 'were'} not judged"
    found = found or "no crash state was judged"
    broke = {
        Ending.INFRA: "The host or a tool failed",
        Ending.GUEST: "The guest failed",
        Ending.USAGE: "The run could not start",
        Ending.INTERRUPTED: "The run was interrupted",
        Ending.CUT_OFF: "The run did not end: it was killed, or it is still going",
    }.get(ending)
    if broke is None:
        return f"{found[0].upper()}{found[1:]}."
    why = f": {clean_line(end.message)}" if end and end.message else ""
    return f"{broke}{why.rstrip('.')}. Until then: {found}."
