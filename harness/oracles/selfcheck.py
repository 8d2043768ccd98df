"""Before each run every oracle has to tell a good image from one with a single defect.

The images are made by mke2fs and debugfs: a file system whose journal holds one committed
transaction, a new directory, that has not reached its place yet; and the same with one thing wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.disk import ext2
from harness.disk.copy import host_errors, sparse_copy
from harness.disk.jbd2 import journal_map
from harness.errors import InfraError
from harness.images.recipe import GuestOs, Variant
from harness.oracles.context import Context
from harness.oracles.judge import judge_state
from harness.process import run
from harness.verdicts import SCENARIO_ORACLES, CrashModel, Oracle, Verdict
from harness.workloads.scenario import Disk, Fields, WatchedObject

_SIZE = 16 << 20  # bytes; the smallest that holds a journal
_DIRECTORY = "checked"
_ROOT_INODE = 2
_PASS = dict.fromkeys(SCENARIO_ORACLES, Verdict.PASS)


@dataclass(frozen=True)
class Sample:
    """An image, and what each oracle has to say of it."""

    name: str
    image: Path
    expected: Mapping[Oracle, Verdict]


def selfcheck(scratch: Path) -> None:
    """Let every oracle judge a good image and images with one defect each.

    Takes about half a second.  Raises `InfraError` when an oracle can't tell them apart: then
    nothing that it says of a run can be trusted.
    """
    with TemporaryDirectory(prefix="selfcheck-", dir=scratch) as name:
        folder = Path(name)
        for sample in samples(folder):
            report = judge_state(sample.image, _context(), folder)
            said = {each.oracle: each for each in report.judgements}
            for oracle, verdict in sample.expected.items():
                if oracle not in said or said[oracle].verdict is not verdict:
                    reason = said[oracle].reason if oracle in said else "it said nothing"
                    raise InfraError(
                        f"the oracle {oracle} fails its self-check: {sample.name} has to be "
                        f"{verdict} ({reason})",
                        hint="is this e2fsprogs newer than hurdle knows?  `hurdle doctor` shows "
                        "the version; harness/disk/fsck_rules.py has what is known of e2fsck",
                    )


def samples(folder: Path) -> tuple[Sample, ...]:
    """Make the images in `folder`."""
    base, changed = folder / "base.raw", folder / "changed.raw"
    ext2.mkfs(base, Disk(size=_SIZE, journal_blocks=1024), Variant(fs="ext3"), GuestOs.LINUX)
    sparse_copy(base, changed)
    debugfs(changed, f"mkdir {_DIRECTORY}", f"sif {_DIRECTORY} mode 040775")
    blocks = differing_blocks(base, changed)

    good = folder / "good.raw"
    with_transaction(base, changed, blocks, good)
    flag = folder / "flag.raw"
    sparse_copy(good, flag)
    debugfs(flag, "feature -needs_recovery")
    # The block of the inode table that has the new inode is the one that holds the root's too.
    lost = folder / "lost.raw"
    with_transaction(base, changed, [b for b in blocks if b != inode_block(base)], lost)
    uncommitted = folder / "uncommitted.raw"
    sparse_copy(good, uncommitted)
    erase_commit(uncommitted, len(blocks))
    return (
        Sample("a committed directory", good, _PASS),
        Sample(
            "a log with data and needs_recovery clear", flag, _PASS | {Oracle.BOOT: Verdict.FAIL}
        ),
        Sample(
            "a transaction without its inode",
            lost,
            {Oracle.STRUCTURE: Verdict.FAIL, Oracle.OBJECT: Verdict.FAIL},
        ),
        Sample(
            "a transaction without commit block",
            uncommitted,
            _PASS | {Oracle.OBJECT: Verdict.FAIL},
        ),
    )


def _context() -> Context:
    now = Fields(type="directory", mode="0775", uid=0, gid=0, links=2)
    return Context(
        model=CrashModel.KILL,
        position=None,
        objects=(WatchedObject(path=_DIRECTORY, now=now),),
        together=True,
        workload_from=0,
        durable_from=0,
        landed=True,
    )


def debugfs(image: Path, *commands: str) -> str:
    """Run debugfs commands that change an image; what they printed.

    debugfs exits with 0 whatever happens, so what comes out has to be looked at.
    """
    script = "".join(f"{command}\n" for command in commands)
    return run(["debugfs", "-w", "-f", "-", image.name], cwd=image.parent, stdin=script).output


def differing_blocks(one: Path, other: Path) -> list[int]:
    """The blocks of 4 KiB in which two images of the same size differ, the superblock's left out.

    Its free counts are not logged by Linux' ext3 either.
    """
    with host_errors(one), one.open("rb") as a, other.open("rb") as b:
        size = ext2.BLOCK
        pairs = iter(lambda: (a.read(size), b.read(size)), (b"", b""))
        return [number for number, (x, y) in enumerate(pairs) if x != y and number != 0]


def inode_block(image: Path) -> int:
    """The block of the inode table that holds the first inodes, the root among them."""
    argv = ["debugfs", "-R", f"imap <{_ROOT_INODE}>", image.name]
    said = run(argv, cwd=image.parent).stdout
    try:
        return int(said.split("located at block ")[1].split(",")[0])
    except (IndexError, ValueError) as exc:
        raise InfraError(f"debugfs imap says something new: {said}") from exc


def with_transaction(base: Path, changed: Path, blocks: Sequence[int], target: Path) -> None:
    """Make `target` a copy of `base` whose journal holds `blocks` of `changed`."""
    sparse_copy(base, target)
    data = target.with_suffix(".blocks")
    with host_errors(data), changed.open("rb") as source:
        data.write_bytes(b"".join(_block(source.fileno(), block) for block in blocks))
    numbers = ",".join(map(str, blocks))
    said = debugfs(target, "jo", f"jw -b {numbers} {data.name}", "jc")
    data.unlink()
    if not ext2.superblock(target).needs_recovery:
        raise InfraError(f"debugfs wrote no transaction: {said}")


def erase_commit(image: Path, data_blocks: int) -> None:
    """Overwrite the commit block of the only transaction, of `data_blocks` blocks of data."""
    journal = journal_map(image)
    block = journal.disk_block(1 + 1 + data_blocks)  # behind superblock and descriptor
    with host_errors(image), image.open("r+b") as file:
        file.seek(block * journal.block_size)
        file.write(bytes(journal.block_size))


def _block(fd: int, block: int) -> bytes:
    return os.pread(fd, ext2.BLOCK, block * ext2.BLOCK)
