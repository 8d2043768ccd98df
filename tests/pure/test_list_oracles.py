"""The bytes of op lists: what a sync had to bring, and what it need not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign.case import Case
from harness.campaign.listverdict import ListOracles
from harness.campaign.work import ListWork
from harness.crash.blocks import BLOCK, ZERO_ID, block_id
from harness.crash.plan import Cut
from harness.oracles.acknowledged import Strictness
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import CrashModel, Oracle, Verdict
from harness.workloads.agent.allowed import looks_of
from harness.workloads.agent.marks import Span
from harness.workloads.agent.oplist import OpRef, parse
from harness.workloads.agent.pattern import fill
from tests.pure.write_logs import Item, write_log

RUN = 5
LIST = (
    f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\nwrite a 0 8192\nfsync a\nwrite a 0 4096\n"
)


def oracles(folder: Path) -> ListOracles:
    base = folder / "base.raw"
    base.write_bytes(bytes(1 << 20))
    log = write_log(folder / "writes.log", [Item(0, bytes(BLOCK))])
    # creat 0-1, write 1-2, fsync 2-4 with one entry (3), write 4-5.
    bounds = ((0, 1), (1, 2), (2, 4), (4, 5))
    spans = tuple(Span(OpRef(0, n), begin, end, "OK") for n, (begin, end) in enumerate(bounds))
    work = ListWork(parse(LIST), spans, (3,), 5, hurd=False, ordered_sizes=True)
    made = Case("c", "ext3", RUN, base, log, work, 0, Strictness.EXT3, True, {})
    return ListOracles(made, work)


def tree(judge: ListOracles, data: bytes) -> Observed:
    moment = judge._orders.moments[-1]
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    ids = tuple(map(block_id, blocks))
    strange = {name: block for name, block in zip(ids, blocks, strict=True) if name != ZERO_ID}
    return Observed(looks_of(moment)[0], {"a": FileSeen(len(data), ids)}, strange)


OLD = fill(RUN, OpRef(0, 1), 0, 8192)
NEW = fill(RUN, OpRef(0, 3), 0, 4096)


@pytest.mark.parametrize(
    ("data", "durable", "own"),
    [
        (OLD, Verdict.PASS, Verdict.PASS),
        (NEW + OLD[4096:], Verdict.PASS, Verdict.PASS),  # the later write, there or not
        (bytes(8192), Verdict.FAIL, Verdict.PASS),
        (OLD[:4096] + bytes(4096), Verdict.FAIL, Verdict.PASS),
        (OLD[:4096] + OLD[:4096], Verdict.FAIL, Verdict.FAIL),  # not at their place
        (OLD[:4096] + fill(9, OpRef(0, 1), 4096, 4096), Verdict.FAIL, Verdict.FAIL),
    ],
)
def test_bytes_that_an_fsync_brought_stay(
    tmp_path: Path, data: bytes, durable: Verdict, own: Verdict
) -> None:
    judge = oracles(tmp_path)
    seen = tree(judge, data)
    said = {each.oracle: each.verdict for each in judge.judge(Cut(CrashModel.PREFIX, 1), seen)}
    assert said == {
        Oracle.DURABILITY: durable,
        Oracle.PREFIX: Verdict.PASS,
        Oracle.STALE: own,
    }
