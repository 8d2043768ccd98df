"""Crash, recover, work on, crash again: what one crash left is the disk of the next run.

The guest mounts a crash state of the run before, so its own replay runs, not e2fsck's, and its own
writes are crashed as well.  The model goes on from the tree that e2fsck recovers of that state.
"""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.examine import FileBlocks
from harness.campaign.spec import Campaign
from harness.crash.blocks import BLOCK, LoggedDisk, WorkingDisk
from harness.crash.plan import Cut
from harness.disk.copy import sparse_copy
from harness.disk.fsck import Mode, e2fsck
from harness.disk.tree import Node, TreeReader
from harness.errors import InfraError
from harness.verdicts import CrashModel
from harness.workloads.model import Thing

_HONEST = (CrashModel.PREFIX, CrashModel.SUBSET, CrashModel.TORN)


def next_disk(case: Case, campaign: Campaign, image: Path) -> tuple[Thing, ...]:
    """Write a crash state of a case to `image`; what is there when it has been recovered.

    The state is drawn by the case's seed and name, from the second half of its log.
    Raises `InfraError` when e2fsck can't recover it: the judging has said so, and no run can go on.
    """
    cut = _drawn(case, campaign)
    disk = LoggedDisk(case.base, case.log)
    try:
        with WorkingDisk(disk, image.with_suffix(".work")) as work:
            work.go(cut)
            sparse_copy(work.image, image)
    finally:
        disk.close()
    recovered = image.with_suffix(".recovered")
    sparse_copy(image, recovered)
    run = e2fsck(recovered, Mode.THROUGH)
    if run.rc > 1:
        raise InfraError(
            f"{case.name}: e2fsck can't recover {cut.id}, so nothing can go on from it",
            hint="`rounds` is for file systems that survive a crash",
        )
    try:
        return things(recovered)
    finally:
        recovered.unlink()


def _drawn(case: Case, campaign: Campaign) -> Cut:
    half = (case.begin + len(case.log.entries)) // 2
    cuts = [c for c in case.plan(campaign).cuts() if c.model in _HONEST and c.upto > half]
    if not cuts:
        raise InfraError(f"{case.name}: its log is too short to go on from")
    return random.Random(f"{case.seed} {case.name}").choice(cuts)


def things(image: Path) -> tuple[Thing, ...]:
    """Everything on a sound file system, with its bytes."""
    with FileBlocks(image) as blocks:
        reader = TreeReader(blocks, image.stat().st_size // BLOCK)
        nodes = reader.read()
        names: dict[int, list[str]] = defaultdict(list)
        by_inode: dict[int, Node] = {}
        for path, node in nodes.items():
            names[node.inode].append(path)
            by_inode[node.inode] = node
        return tuple(
            Thing(
                node.kind,
                node.mode,
                node.uid,
                node.gid,
                node.target,
                _bytes(reader, blocks, node) if node.kind == "regular" else b"",
                tuple(sorted(names[inode])),
            )
            for inode, node in sorted(by_inode.items())
        )


def _bytes(reader: TreeReader, blocks: FileBlocks, node: Node) -> bytes:
    places = reader.file_blocks(node.inode)
    data = b"".join(bytes(BLOCK) if at is None else blocks.block(at) for at in places)
    return data[: node.size]
