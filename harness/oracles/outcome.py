"""What a run's outcome says by itself: liveness, landed, and whether an error was told.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.journal import Ending, Outcome

_SHOWN = 8  # wrong answers that are kept of a run


def judge_liveness(outcome: Outcome, words: Sequence[str], wrong: Sequence[str] = ()) -> Judgement:
    """No operation hangs, nothing dies, and each operation ends as it may.

    `words` are the operations in words, `wrong` those that ended as they can't.
    """
    if outcome.ending not in (Ending.HANG, Ending.DIED):
        if wrong:
            more = f" (and {len(wrong) - 1} more)" * (len(wrong) > 1)
            findings = [Finding("operation-result", FindingClass.DAMAGE, text) for text in wrong]
            return Judgement(
                Oracle.LIVENESS, Verdict.FAIL, wrong[0] + more, tuple(findings[:_SHOWN])
            )
        begun = f"{outcome.op + 1} of {len(words)} operations had begun"
        how = "one reported an error" if outcome.ending is Ending.ERROR else "none hung"
        return Judgement(Oracle.LIVENESS, Verdict.PASS, f"{begun}, {how}")
    last = f"`{words[outcome.op]}`" if outcome.op >= 0 else "the begin of the workload"
    code = "operation-hangs" if outcome.ending is Ending.HANG else "guest-died"
    text = f"{outcome.text.rstrip('.')}; the last operation was number {outcome.op}, {last}"
    finding = Finding(code, FindingClass.DAMAGE, text)
    return Judgement(Oracle.LIVENESS, Verdict.FAIL, text, (finding,))


def judge_landed(outcome: Outcome, *, wrote: bool) -> Judgement:
    """Whether what was to befall the run did: a trial that missed has tried nothing.

    `wrote`: the workload, or a recovery in the guest, had written something to the disk.
    """
    if outcome.missed or (outcome.ending is Ending.CUT and not wrote):
        why = outcome.missed or f"{outcome.text}, and nothing had been written"
        return Judgement(Oracle.LANDED, Verdict.VOID, f"the kill did not land: {why}")
    if outcome.fault and not outcome.failed:
        text = f"the fault did not land: the disk failed no {outcome.fault}"
        return Judgement(Oracle.LANDED, Verdict.VOID, text)
    how = f"{outcome.failed} requests to {outcome.fault} failed" if outcome.fault else outcome.text
    return Judgement(Oracle.LANDED, Verdict.PASS, f"{outcome.trial}: {how}")


def judge_error(outcome: Outcome, names: Sequence[str]) -> Judgement:
    """Where the disk failed for good, somebody has to be told.

    `names` are the kinds of the operations.  With writes or flushes that fail for ever, nothing
    that was changed since can be on the disk: a sync that says otherwise lies.
    """

    def said(verdict: Verdict, reason: str, *findings: Finding) -> Judgement:
        return Judgement(Oracle.ERROR, verdict, reason, findings)

    what = f"{outcome.failed} requests to {outcome.fault} failed"
    if not outcome.failed:
        return said(Verdict.VOID, "the fault did not land: the disk failed no request")
    if outcome.ending in (Ending.HANG, Ending.DIED):
        return said(Verdict.VOID, f"{what}; liveness says what came of it")
    if outcome.ending is Ending.ERROR:
        return said(Verdict.PASS, f"{what}, and {outcome.text}")
    synced = bool(names) and names[-1] == "sync" and outcome.ending is Ending.ALL
    if outcome.lasting and outcome.fault in ("write", "flush") and synced:
        text = f"{what} for good, and every operation returned success, the last sync included"
        finding = Finding("error-not-reported", FindingClass.DAMAGE, text)
        return said(Verdict.FAIL, text, finding)
    return said(Verdict.PASS, f"{what}; what was acknowledged is for durability to judge")
