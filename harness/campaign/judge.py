"""All states of a case: told apart by content, examined by workers, stored as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.workers import Content, Examined, examine_batch
from harness.crash.blocks import LoggedDisk, StateHasher
from harness.crash.plan import Cut
from harness.oracles.barrier import judge_barrier
from harness.verdicts import Verdict

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


def plan_contents(case: Case, campaign: Campaign) -> tuple[Content, ...]:
    """The states of a case by content, in the order of the plan.  Nothing is written."""
    disk = LoggedDisk(case.base, case.log)
    try:
        hasher = StateHasher(disk)
        found: dict[int, list[Cut]] = {}
        for cut in case.plan(campaign).cuts():
            hasher.go(cut)
            found.setdefault(hasher.number, []).append(cut)
    finally:
        disk.close()
    return tuple(Content(number, tuple(cuts)) for number, cuts in found.items())


def judge_case(
    case: Case,
    contents: Sequence[Content],
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
    planned = sum(len(content.cuts) for content in contents)
    store.add_case(case.name, case.variant, planned)
    _judge_log(case, store)
    left = [content for content in contents if any(cut.id not in done for cut in content.cuts)]
    began = time.monotonic()
    states, distinct, fails = len(done), 0, 0
    batches = _batches(left)
    running: set[Future[list[Examined]]] = set()

    def submit(number: int) -> None:
        for batch in islice(batches, number):
            running.add(executor.submit(examine_batch, case.folder, scratch, batch))

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
                fails += sum(
                    any(each.verdict is Verdict.FAIL for each in row.judgements) for row in rows
                )
            seconds = time.monotonic() - began
            report(Progress(states, planned, distinct, len(left), fails, seconds))
    finally:
        for future in running:
            future.cancel()


def _batches(contents: Iterable[Content]) -> Iterator[tuple[Content, ...]]:
    remaining = iter(contents)
    while batch := tuple(islice(remaining, _BATCH)):
        yield batch


def _keep(store: Store, case: Case, results: Sequence[Examined]) -> None:
    """Store a batch: contents, states and verdicts in one transaction."""
    with store.transaction():
        for each in results:
            store.add_content(case.name, each.number, each.tree, each.replayed, each.quick)
            store.add_states(each.rows)
            store.add_seconds(each.phases)


def _judge_log(case: Case, store: Store) -> None:
    """What the log says by itself: the barrier oracle."""
    journal = case.journal_map
    writes: list[int] = []
    if journal is not None:
        blocks, unit = journal.disk_blocks, case.log.sector_size
        for entry in case.log.writes:
            first = entry.sector * unit // journal.block_size
            last = (entry.sector * unit + entry.length - 1) // journal.block_size
            if any(block in blocks for block in range(first, last + 1)):
                writes.append(entry.index)
    flushes = [entry.index for entry in case.log.flushes]
    judgement = judge_barrier(case.commits, writes, flushes, driver_flushes=case.driver_flushes)
    store.add_log_verdict(case.name, judgement)
