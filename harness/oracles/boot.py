"""Boot: `e2fsck -p` gets through by itself and mends only the log and the orphan list."""

from __future__ import annotations

from harness.oracles.context import VOID_REASON, Context, damage, proves_nothing, summary
from harness.oracles.recover import Examination
from harness.verdicts import Judgement, Oracle, Verdict

_NEEDS_A_PERSON = 4  # e2fsck's exit codes from here on stop a boot
GIVES_UP = "e2fsck -p gives up"  #: what the reason begins with where a boot stops for a person


def judge_boot(seen: Examination, context: Context) -> Judgement:
    """What an unattended boot would have done with the state."""
    run = seen.boot
    if proves_nothing(context, seen):
        return Judgement(Oracle.BOOT, Verdict.VOID, VOID_REASON, run.findings)
    if run.rc >= _NEEDS_A_PERSON or run.has("manual-fsck-needed"):
        why = [each for each in run.findings if each.code != "manual-fsck-needed"]
        cause = f": {summary(tuple(why))}" if why else ""
        reason = f"{GIVES_UP} with exit code {run.rc}{cause}"
        return Judgement(Oracle.BOOT, Verdict.FAIL, reason, run.findings)
    found = damage(run.findings)
    if found:
        reason = f"e2fsck -p had to mend {summary(found)}"
        return Judgement(Oracle.BOOT, Verdict.FAIL, reason, run.findings)
    how = "calls the file system clean" if run.clean else "checks it all and mends nothing"
    reason = f"e2fsck -p ends with exit code {run.rc} and {how}"
    return Judgement(Oracle.BOOT, Verdict.PASS, reason, run.findings)
