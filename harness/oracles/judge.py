"""All oracles over one state, and over a row of states of one log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.crash.states import CrashState, StateBuilder
from harness.disk.jbd2 import JournalMap
from harness.oracles.boot import judge_boot
from harness.oracles.context import Context
from harness.oracles.object import judge_object
from harness.oracles.recover import Examination, examine
from harness.oracles.structure import judge_structure
from harness.verdicts import Judgement


@dataclass(frozen=True)
class StateReport:
    """One state, judged.  `same_as` is the id of the state with the same bytes, if it had one."""

    id: str
    position: int | None
    judgements: tuple[Judgement, ...]
    seen: Examination
    same_as: str | None = None


def judge_state(
    image: Path,
    context: Context,
    scratch: Path,
    *,
    name: str = "kill",
    journal: JournalMap | None = None,
) -> StateReport:
    """Judge one image, which is not written to; `scratch` takes the copies for recovery.

    Raises `InfraError` when a tool or the host breaks.
    """
    with TemporaryDirectory(prefix="judge-", dir=scratch) as folder:
        seen = examine(image, context.paths, Path(folder), journal=journal)
    return StateReport(name, context.position, judgements(seen, context), seen)


def judgements(seen: Examination, context: Context) -> tuple[Judgement, ...]:
    """What every oracle says of a state that was examined.  Pure."""
    found = (
        judge_structure(seen, context),
        judge_boot(seen, context),
        judge_object(seen, context),
    )
    return tuple(each for each in found if each is not None)


def judge_states(
    builder: StateBuilder,
    states: Iterable[CrashState],
    context_of: Callable[[CrashState], Context],
    scratch: Path,
    *,
    journal: JournalMap | None = None,
    workers: int | None = None,
) -> Iterator[StateReport]:
    """Judge states of one log, in order; a state with the bytes of the one before is seen once.

    Recovery runs in `workers` threads (default: one more than there are processors, at most 8),
    each on copies of its own, while the next state is made.  The threads only wait for e2fsck and
    debugfs.  They live until this ends, as they must: a child dies with the thread that started it
    (PR_SET_PDEATHSIG).
    """
    workers = workers or min(8, (os.cpu_count() or 1) + 1)
    with (
        TemporaryDirectory(prefix="states-", dir=scratch) as folder,
        ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool,
    ):
        waiting: list[tuple[CrashState, CrashState, Future[Examination]]] = []
        first: CrashState | None = None
        try:
            for state in states:
                context = context_of(state)
                changed = builder.materialise(state)
                if changed or first is None:
                    first = state
                    own = Path(folder) / state.id
                    own.mkdir()
                    copy = builder.working_copy(own / "state.raw")
                    future = pool.submit(_examine, copy, context.paths, own, journal)
                waiting.append((state, first, future))
                while len(waiting) > 2 * workers:
                    yield _report(*waiting.pop(0), context_of)
            while waiting:
                yield _report(*waiting.pop(0), context_of)
        finally:
            for *_, future in waiting:
                future.cancel()


def _examine(
    copy: Path, paths: tuple[str, ...], own: Path, journal: JournalMap | None
) -> Examination:
    try:
        return examine(copy, paths, own, journal=journal, own=True)
    finally:
        for each in own.iterdir():
            each.unlink()
        with suppress(OSError):
            own.rmdir()


def _report(
    state: CrashState,
    first: CrashState,
    future: Future[Examination],
    context_of: Callable[[CrashState], Context],
) -> StateReport:
    seen = future.result()
    same = None if first is state else first.id
    return StateReport(state.id, state.upto, judgements(seen, context_of(state)), seen, same)
