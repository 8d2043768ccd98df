"""Workers: processes that examine batches of states, behind the standard Executor interface.

A worker keeps the case that it worked on last open, with the disk where the last state left it, so
a batch of neighbours costs little.  What it needs is the case's folder and a folder for scratch:
any Executor whose workers see both may take the place of local processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from harness.campaign.lab import Content, Examined, Lab, Source
from harness.campaign.rows import fails_for
from harness.crash.plan import Cut
from harness.verdicts import Oracle

_PR_SET_PDEATHSIG = 1


@contextmanager
def local_workers(count: int) -> Iterator[Executor]:
    """Processes of this machine; they end when hurdle does, however it ends."""
    executor = ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def _begin(parent: int) -> None:
    # Ctrl-C reaches the whole terminal: hurdle itself decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


_lab: Lab | None = None


def examine_batch(source: Source, scratch: Path, batch: Sequence[Content]) -> list[Examined]:
    """Examine contents of one source, in the order given, and judge their states."""
    lab = _opened(source, scratch)
    return [lab.examine(content) for content in batch]


def find_failing(
    source: Source, scratch: Path, cuts: Sequence[Cut], oracle: Oracle, cause: str
) -> Cut | None:
    """The first of some states that fails by an oracle for a cause."""
    with Lab(source, scratch) as lab:
        return next((cut for cut in cuts if fails_for(lab.row(cut), oracle, cause)), None)


def _opened(source: Source, scratch: Path) -> Lab:
    """The lab of this process, opened anew where the source is another than the last one."""
    global _lab
    if _lab is None or _lab.source != source:
        if _lab is not None:
            _lab.__exit__(None, None, None)
            _lab = None
        _lab = Lab(source, scratch).__enter__()
    return _lab
