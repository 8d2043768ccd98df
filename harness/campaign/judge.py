"""All states of a case: told apart by content, examined by workers, stored as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.lab import Content, Examined, Source
from harness.campaign.listverdict import answers
from harness.campaign.store import Store
from harness.campaign.work import ListWork
from harness.campaign.workers import examine_batch
from harness.crash.blocks import LoggedDisk, StateHasher
from harness.crash.plan import Cut
from harness.crash.writelog import WriteLog
from harness.disk.jbd2 import JournalMap, joined_commits, journal_superblock, parse_superblock
from harness.oracles.barrier import judge_barrier
from harness.oracles.outcome import judge_error, judge_landed, judge_liveness
from harness.verdicts import Judgement

_BATCH = 32  # contents; about a third of a second, so that little is lost by a kill
_AHEAD = 3  # batches per worker that wait or run


@dataclass(frozen=True)
class Progress:
    """How far the judging of a case is.  Numbers of states but for `distinct` and `to_examine`."""

    states: int
    planned: int
    distinct: int
    to_examine: int
    fails: int
    seconds: float

    @property
    def per_minute(self) -> float:
        """Distinct states recovered and checked."""
        return self.distinct * 60 / self.seconds if self.seconds else 0.0


def plan_contents(base: Path, log: WriteLog, cuts: Iterable[Cut]) -> tuple[Content, ...]:
    """States by content, in their order.  Nothing is written."""
    disk = LoggedDisk(base, log)
    try:
        hasher = StateHasher(disk)
        found: dict[int, list[Cut]] = {}
        for cut in cuts:
            hasher.go(cut)
            found.setdefault(hasher.number, []).append(cut)
    finally:
        disk.close()
    return tuple(Content(number, tuple(cuts)) for number, cuts in found.items())


def judge_states(
    case: Case,
    work: Sequence[tuple[Source, Sequence[Content]]],
    store: Store,
    workers: tuple[Executor, int],
    scratch: Path,
    report: Callable[[Progress], None],
) -> None:
    """Judge what is not judged yet.  `workers` are the executor and how many it has.

    Raises `InfraError` when a tool or the host breaks; what was stored until then stays.
    """
    executor, count = workers
    done = store.known_states(case.name)
    left = [(source, _undone(source, contents, done)) for source, contents in work]
    planned = sum(len(content.cuts) for _, contents in work for content in contents)
    waiting = sum(len(content.cuts) for _, contents in left for content in contents)
    to_examine = sum(len(contents) for _, contents in left)
    states, distinct, fails = planned - waiting, 0, 0
    began = time.monotonic()
    batches = _batches(left)
    running: set[Future[list[Examined]]] = set()

    def submit(number: int) -> None:
        for source, batch in islice(batches, number):
            running.add(executor.submit(examine_batch, source, scratch, batch))

    submit(_AHEAD * count)
    try:
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            submit(len(finished))
            for future in finished:
                results = future.result()
                _keep(store, case, results)
                distinct += len(results)
                rows = [row for result in results for row in result.rows]
                states += len(rows)
                fails += sum(row.failed for row in rows)
            seconds = time.monotonic() - began
            report(Progress(states, planned, distinct, to_examine, fails, seconds))
    finally:
        for future in running:
            future.cancel()


def _undone(source: Source, contents: Sequence[Content], done: set[str]) -> tuple[Content, ...]:
    return tuple(
        content
        for content in contents
        if any(source.judged_as(cut)[1] not in done for cut in content.cuts)
    )


def _batches(
    work: Iterable[tuple[Source, Sequence[Content]]],
) -> Iterator[tuple[Source, tuple[Content, ...]]]:
    for source, contents in work:
        remaining = iter(contents)
        while batch := tuple(islice(remaining, _BATCH)):
            yield source, batch


def _keep(store: Store, case: Case, results: Sequence[Examined]) -> None:
    """Store a batch: contents, states and verdicts in one transaction."""
    with store.transaction():
        for each in results:
            store.add_content(
                case.name,
                each.number,
                each.rows[0].id,
                each.tree,
                replayed=each.replayed,
                quick=each.quick,
            )
            store.add_states(each.rows)
            store.add_seconds(each.phases)


def run_verdicts(case: Case) -> tuple[Judgement, ...]:
    """What a run says as a whole: barrier, liveness, error, and whether its trial landed."""
    journal = case.journal_map
    writes, in_use, joined = list[int](), list[tuple[int, bool]](), frozenset[int]()
    if journal is not None:
        writes = list(_transaction_writes(case.log, journal))
        in_use = list(_in_use(case, journal))
        joined = joined_commits(case.log, journal)
    flushes = [entry.index for entry in case.log.flushes]
    found = [
        judge_barrier(
            *(case.commits, writes, flushes),
            driver_flushes=case.driver_flushes,
            in_use=in_use,
            joined=joined,
        )
    ]
    if case.outcome is not None:
        wrong = answers(case, case.work) if isinstance(case.work, ListWork) else ()
        found.append(judge_liveness(case.outcome, case.work.words, wrong))
        if case.outcome.fault:
            found.append(judge_error(case.outcome, case.work.names))
        if case.outcome.trial:
            found.append(judge_landed(case.outcome, wrote=case.wrote))
    return tuple(found)


def _transaction_writes(log: WriteLog, journal: JournalMap) -> Iterator[int]:
    """The entries that write into the journal; its superblock is no part of a transaction.

    A checkpoint may move the tail between a transaction and its commit block.
    """
    blocks = journal.disk_blocks
    if journal.superblock_offset is not None:
        blocks = blocks - {journal.superblock_offset // journal.block_size}
    for entry in log.writes:
        first = entry.sector * log.sector_size // journal.block_size
        last = (entry.sector * log.sector_size + entry.length - 1) // journal.block_size
        if any(block in blocks for block in range(first, last + 1)):
            yield entry.index


def _in_use(case: Case, journal: JournalMap) -> Iterator[tuple[int, bool]]:
    """The writes of the journal's superblock, and whether the log has data by it."""
    offset = journal.superblock_offset
    if offset is None:
        return
    yield -1, journal_superblock(case.base, journal).has_data
    for entry in case.log.writes:
        at = offset - entry.sector * case.log.sector_size
        if 0 <= at <= entry.length - 512:
            yield entry.index, parse_superblock(case.log.data(entry)[at : at + 512]).has_data
