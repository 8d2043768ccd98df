"""Crash states: what the disk held after the first N writes of the log.

A `StateBuilder` keeps one image and moves it from state to state by writing only what differs, so
that a log of thousands of writes costs about as much as replaying it once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.crash.writelog import Entry, WriteLog
from harness.disk.copy import host_errors, sparse_copy
from harness.errors import UsageError
from harness.verdicts import CrashModel

_CHUNK = 1 << 20


@dataclass(frozen=True)
class CrashState:
    """One state of the disk.

    `upto` is how many log entries it holds and `writes` how many of them are writes.  Flushes that
    follow the last write are counted in `upto`: they change nothing, and whatever was acknowledged
    by then has to be in the state.
    """

    model: CrashModel
    id: str
    upto: int
    writes: int


class StateBuilder:
    """Makes crash states from a base image and a write log; a context manager.

    `scratch` takes one image (sparse, so about as large as the data in `base` plus what was
    written).  Base and log are never written to.
    """

    def __init__(self, base: Path, log: WriteLog, scratch: Path) -> None:
        self.base = base
        self.log = log
        self.image = scratch / "state.raw"
        self._upto = 0
        self._fd: tuple[int, int, int] | None = None  # image, base, log

    def __enter__(self) -> Self:
        sparse_copy(self.base, self.image)
        with host_errors(self.image):
            self._fd = (
                os.open(self.image, os.O_RDWR),
                os.open(self.base, os.O_RDONLY),
                os.open(self.log.path, os.O_RDONLY),
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in self._fd or ():
            os.close(fd)
        self._fd = None
        self.image.unlink(missing_ok=True)

    @cached_property
    def _states(self) -> tuple[CrashState, ...]:
        return prefixes(self.log)

    def prefixes(self) -> tuple[CrashState, ...]:
        """One state for each write (and discard) of the log, in its order."""
        return self._states

    def cut(self, writes: int) -> CrashState:
        """The state after exactly `writes` writes; 0 is the base image.

        Raises `UsageError` when the log has fewer.
        """
        if not 0 <= writes <= len(self.log.writes):
            raise UsageError(
                f"the log has {len(self.log.writes)} writes, so it can't be cut after {writes}",
                hint="change `at: write N` in the scenario, or let its steps run longer",
            )
        upto = next((s.upto for s in self._states if s.writes == writes), 0)
        return CrashState(CrashModel.CUT, f"cut-{writes:04d}", upto, writes)

    def materialise(self, state: CrashState) -> bool:
        """Make `image` hold a state; whether that changed a byte of it.

        Raises `InfraError` when the host's disk is full.
        """
        before, self._upto = self._upto, state.upto
        with host_errors(self.image):
            if state.upto >= before:
                changed = False
                for entry in self.log.entries[before : state.upto]:
                    changed = self._apply(entry) or changed
                return changed
            return self._go_back(self.log.entries[state.upto : before], state.upto)

    def working_copy(self, target: Path) -> Path:
        """A private copy of the present state, for recovery to work on."""
        sparse_copy(self.image, target)
        return target

    def _apply(self, entry: Entry, begin: int = 0, end: int | None = None) -> bool:
        """Write the part of an entry that lies in [begin, end) of the disk; whether it differs."""
        if not (entry.is_write or entry.is_discard):
            return False
        start = entry.sector * self.log.sector_size
        low, high = max(start, begin), min(start + entry.length, end or start + entry.length)
        image, _, log = self._fds
        changed = False
        for position in range(low, high, _CHUNK):
            count = min(_CHUNK, high - position)
            data = (
                # What a disk returns for discarded sectors is its own affair; zeros repeat.
                bytes(count)
                if entry.is_discard
                else os.pread(log, count, entry.data_offset + position - start)
            )
            changed = self._put(image, data, position) or changed
        return changed

    def _go_back(self, undone: Iterable[Entry], upto: int) -> bool:
        """Restore what the undone entries touched: first the base, then the entries that stay."""
        image, base, _ = self._fds
        changed = False
        for begin, end in self._ranges(undone):
            for position in range(begin, end, _CHUNK):
                data = os.pread(base, min(_CHUNK, end - position), position)
                changed = self._put(image, data, position) or changed
            for entry in self.log.entries[:upto]:
                start = entry.sector * self.log.sector_size
                if start < end and start + entry.length > begin:
                    self._apply(entry, begin, end)
        return changed

    def _ranges(self, entries: Iterable[Entry]) -> list[tuple[int, int]]:
        """The byte ranges that entries touch, merged."""
        unit = self.log.sector_size
        touched = sorted(
            (entry.sector * unit, entry.sector * unit + entry.length)
            for entry in entries
            if entry.is_write or entry.is_discard
        )
        merged: list[tuple[int, int]] = []
        for begin, end in touched:
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged

    @staticmethod
    def _put(fd: int, data: bytes, position: int) -> bool:
        if os.pread(fd, len(data), position) == data:
            return False
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, position)
            view, position = view[done:], position + done
        return True

    @property
    def _fds(self) -> tuple[int, int, int]:
        if self._fd is None:
            raise RuntimeError("StateBuilder is used outside its block")
        return self._fd


def prefixes(log: WriteLog) -> tuple[CrashState, ...]:
    """The states of a log, one for each entry that changes the disk.

    They are numbered by writes: `prefix-0120` has the first 120.  A discard makes a state too, with
    its number behind that of the write before it.
    """
    states: list[CrashState] = []
    writes = discards = 0
    for entry in log.entries:
        if entry.is_write:
            writes, discards = writes + 1, 0
        elif entry.is_discard:
            discards += 1
        elif states:
            last = states[-1]
            states[-1] = CrashState(last.model, last.id, entry.index + 1, last.writes)
            continue
        else:
            continue
        name = f"prefix-{writes:04d}" + (f"-discard-{discards}" if discards else "")
        states.append(CrashState(CrashModel.PREFIX, name, entry.index + 1, writes))
    return tuple(states)


def spread(states: tuple[CrashState, ...], count: int) -> tuple[CrashState, ...]:
    """`count` of the states, evenly spread: the last always, and the first if there are two."""
    if count >= len(states):
        return states
    last = len(states) - 1
    return tuple(states[last - n * last // max(1, count - 1)] for n in reversed(range(count)))
