"""Make a failing state simpler while it fails for the same cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.crash.plan import Cut
from harness.verdicts import CrashModel

_TRIES = 200  # states that are looked at; each takes 5 to 30 ms


def minimise(cut: Cut, entries: int, fails: Callable[[Cut], bool]) -> Cut:
    """The simplest state that was found: fewer writes missing, and a shorter log.

    `fails` says whether a state fails as the first one does; `entries` is the log's length.
    First the missing writes are put back, half of them, a quarter, ... one by one.  Then the log
    is cut shorter, as long as the state stays what its model calls it.
    """
    tries = _Tries(fails)
    cut = _put_back(cut, tries)
    return _shorten(cut, tries)


class _Tries:
    def __init__(self, fails: Callable[[Cut], bool]) -> None:
        self._fails = fails
        self._left = _TRIES

    def __call__(self, cut: Cut) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        return self._fails(cut)


def _put_back(cut: Cut, fails: Callable[[Cut], bool]) -> Cut:
    size = max(1, len(cut.missing) // 2)
    while cut.missing:
        for part in _parts(sorted(cut.missing), size):
            smaller = replace(cut, missing=cut.missing - part)
            if _simplified(smaller) != cut and fails(_simplified(smaller)):
                cut = smaller
                break
        else:
            if size == 1:
                return _simplified(cut)
            size //= 2
            continue
        size = min(size, max(1, len(cut.missing)))
    return _simplified(cut)


def _simplified(cut: Cut) -> Cut:
    """A state without missing writes is a prefix, unless it is torn."""
    if cut.missing or cut.torn:
        return cut
    return Cut(CrashModel.PREFIX, cut.upto)


def _shorten(cut: Cut, fails: Callable[[Cut], bool]) -> Cut:
    """Cut the log behind the last write that has to be there for the failure."""
    floor = max((*cut.missing, cut.torn[0] if cut.torn else -1), default=-1) + 1
    step = max(1, (cut.upto - floor) // 2)
    while step:
        shorter = replace(cut, upto=cut.upto - step)
        if shorter.upto >= floor and fails(shorter):
            cut = shorter
        else:
            step //= 2
    return cut


def _parts(numbers: list[int], size: int) -> Iterator[frozenset[int]]:
    for begin in range(0, len(numbers), size):
        yield frozenset(numbers[begin : begin + size])
