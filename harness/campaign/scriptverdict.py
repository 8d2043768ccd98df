"""Trees of real work: against what the guest itself listed before its syncs.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise

from harness.campaign.work import ScriptWork
from harness.crash.blocks import BLOCK, ZERO_ID
from harness.crash.plan import Cut
from harness.oracles.names import finding_of
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import Judgement, Oracle, Verdict
from harness.workloads.script import Listed, kept

_SHOWN = 8  # findings that are kept of one state


class ScriptOracles:
    """Judges the trees of one run of commands.

    Between a sync's return and the next command's begin the tree is what the guest had listed.
    While the next command runs, what is the same in the listings before and after it is held to be
    there; of the rest nothing is said.
    """

    known = frozenset({ZERO_ID})  #: all other blocks come with their bytes

    def __init__(self, work: ScriptWork) -> None:
        self._work = work
        listings = work.listings
        self._kept = [kept(one, other) for one, other in pairwise(listings)]
        self._digest = lru_cache(maxsize=4096)(self._digest_of)
        self._bytes: Mapping[int, bytes] = {}

    def key(self, cut: Cut, seen: Observed, /) -> object:
        """States of equal trees and keys get equal verdicts."""
        return self._work.settled_by(cut.settled), self._work.last_begun(cut.upto)

    def judge(self, cut: Cut, seen: Observed, /) -> tuple[Judgement, ...]:
        """Durability."""
        done, begun = self._work.settled_by(cut.settled), self._work.last_begun(cut.upto)
        if seen.unreadable:
            found = (finding_of(f"no tree: {seen.unreadable}"),)
            return (Judgement(Oracle.DURABILITY, Verdict.FAIL, found[0].text, found),)
        if done < 0:
            reason = "nothing was acknowledged yet"
            return (Judgement(Oracle.DURABILITY, Verdict.PASS, reason),)
        exact = begun <= done
        if exact or done < len(self._kept):
            due = self._work.listings[done] if exact else self._kept[done]
        else:  # the command behind it never ended, so nobody knows what it leaves alone
            due = {}
        wrong = self._differences(due, self._listed(seen), exact)
        if not wrong:
            reason = f"all that the sync behind command {done} acknowledged is there"
            return (Judgement(Oracle.DURABILITY, Verdict.PASS, reason),)
        findings = tuple(finding_of(text) for text in wrong[:_SHOWN])
        reason = f"{wrong[0]}, though the sync behind command {done} acknowledged it"
        return (Judgement(Oracle.DURABILITY, Verdict.FAIL, reason, findings),)

    def _differences(
        self, due: Mapping[str, Listed], found: Mapping[str, Listed], exact: bool
    ) -> list[str]:
        wrong = []
        for path, each in due.items():
            if path not in found:
                wrong.append(f"/{path} is absent")
            elif found[path] != each:
                wrong.append(f"/{path} is {found[path]} and should be {each}")
        if exact:
            wrong += [f"/{path} is there and should be absent" for path in found if path not in due]
        return wrong

    def _listed(self, seen: Observed) -> dict[str, Listed]:
        self._bytes = seen.strange
        found = {}
        for path, look in seen.looks.items():
            if path == "lost+found" or path.startswith("lost+found/"):
                continue
            file = seen.files.get(path)
            more = (file.size, self._digest(file)) if file is not None else (0, "")
            found[path] = Listed(look.kind, look.mode, look.uid, look.gid, *more)
        return found

    def _digest_of(self, file: FileSeen) -> str:
        blocks = (bytes(BLOCK) if b == ZERO_ID else self._bytes[b] for b in file.blocks)
        data = b"".join(blocks)[: file.size].ljust(file.size, b"\0")
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
