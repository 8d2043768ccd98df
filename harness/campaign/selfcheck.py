"""Before each campaign its oracles have to tell good from bad, as those of a scenario have to.

`check_model_oracles` and `check_list_oracles` give each oracle of the models a tree or a log that
is right and one with a single defect.  `check_quick_way` gives the quick way the images on which
the slow way was checked: where the two differ, no quick verdict can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.campaign.case import Case
from harness.campaign.examine import Examiner
from harness.campaign.judge import run_verdicts
from harness.campaign.listverdict import ListOracles
from harness.campaign.work import ListWork
from harness.crash.blocks import BLOCK, ZERO_ID, LoggedDisk, block_id
from harness.crash.plan import Cut
from harness.crash.writelog import WriteLog
from harness.disk.jbd2 import journal_map
from harness.errors import InfraError
from harness.oracles.acknowledged import Strictness
from harness.oracles.barrier import judge_barrier
from harness.oracles.contents import ContentsJudge
from harness.oracles.names import NamesJudge
from harness.oracles.observed import FileSeen, Observed
from harness.oracles.selfcheck import samples
from harness.verdicts import CrashModel, Judgement, Oracle, Verdict
from harness.workloads.agent.marks import Span
from harness.workloads.agent.oplist import OpList, OpRef, parse
from harness.workloads.agent.pattern import fill
from harness.workloads.journal import Ending, Outcome
from harness.workloads.model import Look, history
from harness.workloads.scenario import Step

_STEPS = (
    Step.model_validate({"create": {"path": "a", "size": 5000}}),
    Step.model_validate({"mkdir": "d"}),
    Step.model_validate({"sync": {}}),
)
_LAST = 2  # the sync


def check_model_oracles() -> None:
    """Let the oracles of the model judge a good and a defective pair each.

    Raises `InfraError` when one of them can't tell them apart.
    """
    for what, judgement, expected in _pairs():
        if judgement.verdict is not expected:
            raise _blind(judgement.oracle, what, expected, judgement.reason)


def _pairs() -> Iterator[tuple[str, Judgement, Verdict]]:
    found = history((), _STEPS)
    words = [step.name for step in _STEPS]
    names, contents = NamesJudge(found, words), ContentsJudge(found, words)
    good = _good()
    lost = replace(good, looks={k: v for k, v in good.looks.items() if k != "d"})
    odd = replace(good, looks={**good.looks, "d": replace(good.looks["d"], mode=0)})
    ids = (block_id(b"x" * BLOCK), block_id(b"x" * 904 + bytes(BLOCK - 904)))
    strange = {ids[0]: b"x" * BLOCK, ids[1]: b"x" * 904 + bytes(BLOCK - 904)}
    foreign = replace(good, files={"a": FileSeen(5000, ids)}, strange=strange)
    yield "the last tree", names.prefix(good, _LAST), Verdict.PASS
    yield "a tree of no moment", names.prefix(odd, _LAST), Verdict.FAIL
    yield "all that was synced", names.durability(good, _LAST, _LAST, "posix"), Verdict.PASS
    yield "a folder lost", names.durability(lost, _LAST, _LAST, "posix"), Verdict.FAIL
    yield "a file's own bytes", contents.stale(good, _LAST), Verdict.PASS
    yield "foreign bytes", contents.stale(foreign, _LAST), Verdict.FAIL
    commits, journal = [(4, 1), (9, 2)], [1, 4, 6, 9]
    for flushes, verdict in (([3, 5, 8, 10], Verdict.PASS), ([5, 10], Verdict.FAIL)):
        said = judge_barrier(commits, journal, flushes, driver_flushes=True)
        yield f"flushes at {flushes}", said, verdict


_LIST = "hurdle-ops 1 run=000005\nthread\ncreat a 0644\nwrite a 0 8192\nfsync a\nmkdir d 0755\n"


def check_list_oracles(scratch: Path) -> None:
    """Let the oracles of op lists judge a good tree, and one with a single defect for each of them.

    Raises `InfraError` when one of them can't tell them apart.
    """
    with TemporaryDirectory(prefix="selfcheck-", dir=scratch) as name:
        base, log = Path(name) / "base.raw", Path(name) / "empty.log"
        base.write_bytes(bytes(1 << 20))
        log.write_bytes(b"")
        ops = parse(_LIST)
        spans = tuple(Span(OpRef(0, n), n, n + 1, "OK") for n in range(len(ops.threads[0])))
        work = ListWork(ops, spans, (), len(spans), hurd=False, ordered_sizes=True)
        case = Case("c", "ext3", ops.run, base, log, work, 0, Strictness.EXT3, True, {})
        judge = ListOracles(case, work)
        for what, oracle, seen, expected in _list_trees(ops):
            for said in judge.judge(Cut(CrashModel.PREFIX, 0), seen):
                if said.oracle is oracle and said.verdict is not expected:
                    raise _blind(oracle, what, expected, said.reason)
        _check_answers(case, work)


def _check_answers(case: Case, work: ListWork) -> None:
    """A healthy disk gives no call for EIO; nor has a name that is new anything in its way."""
    for number, errno, expected in (
        (0, "OK", Verdict.PASS),
        (2, "EIO", Verdict.FAIL),
        (3, "EEXIST", Verdict.FAIL),
    ):
        spans = [replace(s, errno=errno if n == number else "OK") for n, s in enumerate(work.spans)]
        ran = replace(case, work=replace(work, spans=tuple(spans)), outcome=Outcome(Ending.ALL, 3))
        said = next(each for each in run_verdicts(ran) if each.oracle is Oracle.LIVENESS)
        if said.verdict is not expected:
            what = f"a list whose operation {number} ended with {errno}"
            raise _blind(said.oracle, what, expected, said.reason)


def _list_trees(ops: OpList) -> Iterator[tuple[str, Oracle, Observed, Verdict]]:
    look = {
        "": Look("directory", 0o755, 0, 0, 4),
        "lost+found": Look("directory", 0o700, 0, 0, 2),
        "a": Look("regular", 0o644, 0, 0, 1),
        "d": Look("directory", 0o755, 0, 0, 2),
    }
    data = fill(ops.run, OpRef(0, 1), 0, 2 * BLOCK)
    good = _observed(look, data)
    without = {path: each for path, each in look.items() if path not in ("a", "d")}
    lost = Observed({**without, "": replace(look[""], links=3)}, {})
    odd = _observed({**look, "d": replace(look["d"], mode=0)}, data)
    for oracle in (Oracle.DURABILITY, Oracle.PREFIX, Oracle.STALE):
        yield "the last tree of a list", oracle, good, Verdict.PASS
    yield "a list's synced file lost", Oracle.DURABILITY, lost, Verdict.FAIL
    yield (
        "a list's synced bytes lost",
        Oracle.DURABILITY,
        _observed(look, bytes(8192)),
        Verdict.FAIL,
    )
    yield "a tree of no moment of a list", Oracle.PREFIX, odd, Verdict.FAIL
    foreign = _observed(look, data[:BLOCK] + data[:BLOCK])
    yield "a list's bytes at another place", Oracle.STALE, foreign, Verdict.FAIL


def _observed(looks: dict[str, Look], data: bytes) -> Observed:
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    ids = tuple(map(block_id, blocks))
    strange = {name: block for name, block in zip(ids, blocks, strict=True) if name != ZERO_ID}
    return Observed(looks, {"a": FileSeen(len(data), ids)}, strange)


def _good() -> Observed:
    """The tree after the last operation."""
    found = history((), _STEPS)
    data = next(iter(found.versions.values()))[-1].data
    blocks = (data[begin : begin + BLOCK].ljust(BLOCK, b"\0") for begin in (0, BLOCK))
    looks: dict[str, Look] = dict(found.moments[-1].looks)
    return Observed(looks, {"a": FileSeen(len(data), tuple(map(block_id, blocks)))})


def check_quick_way(scratch: Path) -> None:
    """Let the quick way judge the images of the scenarios' self-check.

    Raises `InfraError` when its verdicts are not those that the slow way has to give.
    """
    with TemporaryDirectory(prefix="selfcheck-", dir=scratch) as name:
        folder = Path(name)
        empty = folder / "empty.log"
        empty.write_bytes(b"")
        for sample in samples(folder):
            log = WriteLog.read(empty, sample.image.stat().st_size)
            disk = LoggedDisk(sample.image, log)
            own = folder / "own"
            own.mkdir(exist_ok=True)
            journal = journal_map(sample.image)
            with Examiner(sample.image, disk, journal, frozenset(), own) as examiner:
                seen = examiner.see(Cut(CrashModel.PREFIX, 0))
            disk.close()
            for said in (seen.structure, seen.boot):
                if said.verdict is not sample.expected.get(said.oracle, said.verdict):
                    raise _blind(
                        said.oracle, sample.name, sample.expected[said.oracle], said.reason
                    )


def _blind(oracle: Oracle, what: str, expected: Verdict, reason: str) -> InfraError:
    return InfraError(
        f"the oracle {oracle} fails its self-check: {what} has to be {expected} ({reason})",
        hint="nothing that it says can be trusted: this is a bug, please report it",
    )
