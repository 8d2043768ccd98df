"""Barrier: a flush between a transaction and its commit block, and one behind that.  Pure.

And a log that says it is in use before it has a commit block.

A disk with a cache may write in any order what it was not told to flush.  A commit block that
arrives before the blocks it vouches for makes recovery replay garbage; one that is not on the disk
when the next thing relies on it makes what was acknowledged go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict

_SHOWN = 5


def judge_barrier(
    commits: Sequence[tuple[int, int]],
    journal_writes: Sequence[int],
    flushes: Sequence[int],
    *,
    driver_flushes: bool | None,
    in_use: Sequence[tuple[int, bool]] = (),
    joined: Collection[int] = (),
) -> Judgement:
    """Judge a whole log; all numbers are of its entries.

    `commits` are (entry, transaction), `journal_writes` all entries that write into the journal.
    `driver_flushes` says whether the guest's driver can flush; None: unknown, so that a log without
    any flush says nothing of the file system.  `in_use` are the writes of the journal's superblock,
    and whether it says that the log has data; the disk before the log is entry -1.  `joined` are
    the entries that have a commit block behind other blocks of its transaction.
    The last commit needs no flush behind it: the crash may have come first.
    """
    if not commits:
        return Judgement(Oracle.BARRIER, Verdict.VOID, "no commit block reached the disk")
    if not flushes and not driver_flushes:
        reason = "the disk never saw a flush: the driver may not be able to send one"
        return Judgement(Oracle.BARRIER, Verdict.VOID, reason)
    found: list[Finding] = []
    for index, (commit, tid) in enumerate(commits):
        own = max((w for w in journal_writes if w < commit), default=None)
        flushed = own is None or any(own < flush < commit for flush in flushes)
        if commit in joined or not flushed:
            text = f"transaction {tid}: no flush before its commit block (entry {commit})"
            found.append(Finding("no-flush-before-commit", FindingClass.DAMAGE, text))
        later = [entry for entry, _ in commits[index + 1 :]]
        if later and not any(commit < flush < later[0] for flush in flushes):
            text = f"transaction {tid}: no flush after its commit block (entry {commit})"
            found.append(Finding("no-flush-after-commit", FindingClass.DAMAGE, text))
        if not _marked(in_use, flushes, commit):
            text = f"transaction {tid}: the log is not marked in use before its commit block"
            text += f" (entry {commit})"
            found.append(Finding("log-not-marked-in-use", FindingClass.DAMAGE, text))
    if found:
        reason = f"{found[0].text}; {len(found)} findings for {len(commits)} commits"
        return Judgement(Oracle.BARRIER, Verdict.FAIL, reason, tuple(found[:_SHOWN]))
    reason = f"each of {len(commits)} commit blocks has a flush before it and one behind it"
    return Judgement(Oracle.BARRIER, Verdict.PASS, reason)


def _marked(in_use: Sequence[tuple[int, bool]], flushes: Sequence[int], commit: int) -> bool:
    """Whether recovery would look at a log with this commit block, whatever was not flushed."""
    flushed = max((flush for flush in flushes if flush < commit), default=-1)
    before = [mark for mark in in_use if mark[0] < commit]
    settled = [mark for mark in before if mark[0] <= flushed]
    return all(used for _, used in [*settled[-1:], *before[len(settled) :]])
