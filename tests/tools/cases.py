"""A run's evidence made without a guest: a journaled mkdir, and the same without a journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.spec import Campaign
from harness.campaign.work import ListWork, StepsWork
from harness.crash.writelog import WriteLog
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.jbd2 import journal_map
from harness.images.recipe import GuestOs, Variant
from harness.oracles.acknowledged import Strictness
from harness.oracles.selfcheck import debugfs, differing_blocks, with_transaction
from harness.workloads.agent.marks import Span
from harness.workloads.agent.oplist import Op, OpRef, single
from harness.workloads.journal import Ending, OpTimes, Outcome
from harness.workloads.scenario import Disk, Step
from tests.pure.write_logs import Item, flush, write_log
from tests.tools.images import SIZE

BLOCK = 4096
STEPS = (Step.model_validate({"mkdir": "new"}), Step.model_validate({"sync": {}}))


def block(image: Path, number: int) -> bytes:
    with image.open("rb") as file:
        file.seek(number * BLOCK)
        return file.read(BLOCK)


def before_and_after(folder: Path, fs: str) -> tuple[Path, Path]:
    """A file system before and after `mkdir new`."""
    base, changed = folder / "base.raw", folder / "changed.raw"
    journal = 1024 if fs != "ext2" else None
    ext2.mkfs(base, Disk(size=SIZE, journal_blocks=journal), Variant(fs=fs), GuestOs.LINUX)
    sparse_copy(base, changed)
    debugfs(changed, "mkdir new", "sif new mode 040755")
    return base, changed


def journaled(base: Path, changed: Path, folder: Path) -> list[Item]:
    """The writes of a journaled mkdir, with the flushes that make it safe.

    needs_recovery, the log's start, descriptor and data, commit block, each flushed; then home.
    """
    logged = folder / "logged.raw"
    numbers = differing_blocks(base, changed)
    with_transaction(base, changed, numbers, logged)
    journal = journal_map(base)
    first = journal.disk_block(1)
    commit = first + len(numbers) + 1
    transaction = range(first, commit)
    return [
        Item(0, block(logged, 0)),
        flush(),
        Item(journal.disk_block(0) * 8, block(logged, journal.disk_block(0))),
        flush(),
        *(Item(number * 8, block(logged, number)) for number in transaction),
        flush(),
        Item(commit * 8, block(logged, commit)),
        flush(),
        *(Item(number * 8, block(changed, number)) for number in numbers),
    ]


def unjournaled(base: Path, changed: Path) -> list[Item]:
    """The same without a journal: names before inodes."""
    return [
        Item(number * 8, block(changed, number))
        for number in reversed(differing_blocks(base, changed))
    ]


def case(folder: Path, base: Path, items: Sequence[Item], *, synced: bool = True) -> Case:
    """Save a case in `folder`, which has its base; `sync` returns at the second flush's place."""
    log = write_log(folder / "writes.log", items)
    flushes = [entry.index for entry in WriteLog.read(log, SIZE).flushes]
    returned = flushes[-1] + 1 if flushes else len(items)
    times = (OpTimes(0, 0, 0), OpTimes(1, 0, returned if synced else None))
    work = StepsWork((), STEPS, times)
    outcome = Outcome(Ending.ALL, 1)
    versions = {"hurdle": "0"}
    made = Case("made-1", "made", 1, base, log, work, 0, Strictness.EXT3, True, versions, outcome)
    made.save()
    return made


def list_case(folder: Path, base: Path, items: Sequence[Item]) -> Case:
    """The same workload as an op list, whose marks stand in the run's log before and behind it.

    The run's log: a mark (mkdir begins), a mark (it returned, sync begins), the entries, a mark.
    """
    log = write_log(folder / "writes.log", items)
    ops = single(7, [Op("mkdir", ("new", 0o755)), Op("sync")])
    flushes = [entry.index for entry in WriteLog.read(log, SIZE).flushes]
    end = flushes[-1] + 3
    places = [n + 2 if n <= flushes[-1] else n + 3 for n in range(len(items))]
    spans = (Span(OpRef(0, 0), 0, 1, "OK"), Span(OpRef(0, 1), 1, end, "OK"))
    work = ListWork(ops, spans, tuple(places), places[-1] + 1, hurd=False, ordered_sizes=True)
    made = Case("made-1", "made", 7, base, log, work, 0, Strictness.EXT3, True, {"hurdle": "0"})
    made.save()
    return made


def campaign(**states: object) -> Campaign:
    return Campaign.model_validate(
        {
            "name": "made",
            "title": "made",
            "steps": [{"mkdir": "new"}, {"sync": {}}],
            "states": {"torn": 20, "subsets": 20, "lying": 10, "recovery": 1, **states},
            "expect": {"made": {}},
        }
    )
