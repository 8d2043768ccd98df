"""Structure: after pure recovery, a read-only full check finds no damage."""

from __future__ import annotations

from harness.oracles.context import VOID_REASON, Context, damage, once, proves_nothing, summary
from harness.oracles.recover import Examination
from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict


def judge_structure(seen: Examination, context: Context) -> Judgement:
    """What recovery alone left to mend, and whether recovery itself complained."""
    findings = once(seen.recovery_findings + seen.check.findings)
    if proves_nothing(context, seen):
        return Judgement(Oracle.STRUCTURE, Verdict.VOID, VOID_REASON, findings)
    found = damage(findings)
    if found:
        where = "after pure recovery" if seen.recovery else "with nothing to recover"
        reason = f"{where} a full check finds {summary(found)}"
        return Judgement(Oracle.STRUCTURE, Verdict.FAIL, reason, findings)
    return Judgement(Oracle.STRUCTURE, Verdict.PASS, _passed(seen, findings), findings)


def _passed(seen: Examination, findings: tuple[Finding, ...]) -> str:
    done = [
        word
        for kind, word in (
            (FindingClass.REPLAY, "the journal was replayed"),
            (FindingClass.ORPHAN, "orphans were released"),
        )
        if any(finding.kind is kind for finding in findings)
    ]
    if seen.flag_set:
        done.insert(0, "needs_recovery was set by hand")
    return ", ".join([*done, "a full check finds no damage"])
