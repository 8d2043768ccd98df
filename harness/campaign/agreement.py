"""Recoverers compared: what e2fsck made of a sample of states, and what others make of them.

e2fsck, Linux, our own journal and the file system under test read the same log.  Where they leave
different trees, one of them is wrong, or the log says what no standard does: either way somebody's
data depends on who boots.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.campaign.case import Case
from harness.campaign.examine import FileBlocks
from harness.campaign.recoverers import Recoverer
from harness.campaign.verdict import tree_oracles
from harness.crash.blocks import BLOCK, LoggedDisk, WorkingDisk
from harness.crash.plan import parse
from harness.disk.copy import sparse_copy
from harness.disk.preen import Preener
from harness.disk.tree import TreeReader
from harness.oracles.context import damage, summary
from harness.oracles.observed import Observed, observe
from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict


@dataclass(frozen=True)
class Difference:
    """A state of which a recoverer leaves another tree than e2fsck; `refused` is what it said where
    it did not recover it.
    """

    state: str
    recoverer: str
    words: str
    refused: str = ""

    @property
    def finding(self) -> Finding:
        text = f"{self.state}: {self.recoverer} and e2fsck differ: {self.words}"
        return Finding("recoverers-differ", FindingClass.DAMAGE, text)


def sample(states: Sequence[tuple[str, str]], count: int, seed: int) -> list[tuple[str, str]]:
    """Some of the states, with their trees; chosen by seed, in order."""
    if len(states) <= count:
        return list(states)
    chosen = random.Random(f"{seed}/agreement").sample(range(len(states)), count)
    return [states[n] for n in sorted(chosen)]


def differ(
    case: Case,
    states: Sequence[tuple[str, str]],
    recoverer: Recoverer,
    scratch: Path,
    keep: Path | None = None,
) -> tuple[Difference, ...]:
    """What the recoverer leaves otherwise than e2fsck did.

    `states` are names and the digests of the trees that e2fsck left; `keep` takes what the
    recoverer made of the first one that differs.  Raises `InfraError` or `UsageError` when the
    recoverer can't be tried.
    """
    found: list[Difference] = []
    known = tree_oracles(case).known
    disk = LoggedDisk(case.base, case.log)
    try:
        with (
            TemporaryDirectory(dir=scratch) as name,
            WorkingDisk(disk, Path(name) / "state.raw") as work,
            Preener(Path(name)) as preener,
        ):
            images = []
            for number, (state, _) in enumerate(states):
                work.go(parse(state))
                images.append(Path(name) / f"{number}.raw")
                sparse_copy(work.image, images[-1])
            wrong = recoverer.recover(images)
            for (state, digest), image, why in zip(states, images, wrong, strict=True):
                if keep is not None and not found:
                    sparse_copy(image, keep)  # as it was left: e2fsck mends it below
                tree = None if why else tree_of(image, known)
                left = () if why else damage(preener.run(image).findings)
                if tree is not None and tree.digest() == digest and not left:
                    continue
                words = why
                if left:
                    words = f"e2fsck mends behind it {summary(left)}"
                elif tree is not None:
                    work.go(parse(state))
                    preener.run(work.image)
                    words = "; ".join(differences(tree_of(work.image, known), tree))
                    work.look()
                found.append(Difference(state, recoverer.name, words, why))
    finally:
        disk.close()
    return tuple(found)


def tree_of(image: Path, known: frozenset[int]) -> Observed:
    """The tree in an image."""
    with FileBlocks(image) as blocks:
        reader = TreeReader(blocks, image.stat().st_size // BLOCK)
        return observe(reader, blocks.block, known)


def differences(theirs: Observed, ours: Observed) -> Iterator[str]:
    """Where two trees differ, path by path; `theirs` is e2fsck's."""
    if theirs.unreadable or ours.unreadable:
        yield f"no tree: {ours.unreadable or theirs.unreadable}"
        return
    for path in sorted({*theirs.looks, *ours.looks}):
        if theirs.looks.get(path) != ours.looks.get(path):
            yield f"/{path} is {ours.looks.get(path)} and with e2fsck {theirs.looks.get(path)}"
        elif theirs.files.get(path) != ours.files.get(path):
            yield f"/{path} has other bytes"


def judge_agreement(asked: Sequence[tuple[str, int, tuple[Difference, ...]]]) -> Judgement:
    """One verdict for a run; `asked` has each recoverer, its states, and what it left otherwise."""
    found = tuple(each.finding for *_, differing in asked for each in differing)
    if found:
        reason = f"{found[0].text} ({len(found)} such)"
        return Judgement(Oracle.AGREEMENT, Verdict.FAIL, reason, found)
    states = ", ".join(f"{name} on {count} states" for name, count, _ in asked if count)
    if not states:
        return Judgement(Oracle.AGREEMENT, Verdict.VOID, "no state had a log to replay")
    return Judgement(Oracle.AGREEMENT, Verdict.PASS, f"the trees of e2fsck and {states} are equal")
