"""Which states of a write log are judged: pure, and each has a name that makes it again.

A *cut* is a set of writes of the log.  Its model says why the disk may have held just these:

* prefix: the first N, as they completed;
* subset: all up to the last flush, and any of those since, for a cache may write them in any order;
* torn: a prefix whose last write reached the disk in part (a physical sector is whole or not), or a
  subset of which one write did;
* overlap: as subset, but the last writes that were logged before a flush are taken for writes that
  were under way when it was issued, so that it need not cover them;
* lying: as subset, over two epochs: the disk said "flushed" and had not.

An *epoch* is what was written between two flushes.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from harness.crash.writelog import Entry, WriteLog
from harness.errors import UsageError
from harness.verdicts import CrashModel

T = TypeVar("T")

_SPARSE = 3  # writes that a sampled subset leaves out or keeps, at most


@dataclass(frozen=True)
class Cut:
    """A crash state: the entries below `upto`, without `missing`.

    `torn` is (entry, first byte, end) of the one write that is there in part, in bytes of its data.
    `completed`: that write is the last one, and had completed; a cache that the disk lost held it.
    """

    model: CrashModel
    upto: int
    missing: frozenset[int] = frozenset()
    torn: tuple[int, int, int] | None = None
    completed: bool = False

    @property
    def cut_short(self) -> bool:
        """Whether the last write is there in part and had not completed."""
        return self.torn is not None and self.torn[0] == self.upto - 1 and not self.completed

    @property
    def settled(self) -> int:
        """How many entries had completed; of a subset all had, but not reached the disk."""
        return self.upto - 1 if self.cut_short else self.upto

    @property
    def id(self) -> str:
        """The name; `parse` makes the cut from it again."""
        parts = [self.model.value, f"{self.upto:05d}"]
        if self.missing:
            parts.append("without-" + _ranges(self.missing))
        if self.torn:
            parts.append("torn-{}.{}.{}".format(*self.torn))
        if self.completed:
            parts.append("completed")
        return "-".join(parts)


_ID = re.compile(
    r"(?P<model>[a-z]+)-(?P<upto>\d+)(?:-without-(?P<missing>[\d.+]+))?"
    r"(?:-torn-(?P<torn>\d+\.\d+\.\d+)(?P<completed>-completed)?)?"
)


def parse(name: str) -> Cut:
    """The cut of that name.  Raises `UsageError` when it is none."""
    match = _ID.fullmatch(name)
    if match is None or match["model"] not in set(CrashModel):
        raise UsageError(
            f"{name!r} names no crash state", hint="copy the name from the campaign's report"
        )
    missing = frozenset(_numbers(match["missing"])) if match["missing"] else frozenset()
    torn = None
    if match["torn"]:
        entry, begin, end = map(int, match["torn"].split("."))
        torn = (entry, begin, end)
    completed = match["completed"] is not None
    return Cut(CrashModel(match["model"]), int(match["upto"]), missing, torn, completed)


def _ranges(numbers: Iterable[int]) -> str:
    """`3.5+2` is 3, 5, 6 and 7: a number and how many follow it."""
    parts = []
    for _, run in itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        parts.append(f"{members[0]}+{len(members) - 1}" if len(members) > 1 else f"{members[0]}")
    return ".".join(parts)


def _numbers(text: str) -> Iterator[int]:
    for part in text.split("."):
        first, _, more = part.partition("+")
        yield from range(int(first), int(first) + int(more or 0) + 1)


@dataclass(frozen=True)
class Limits:
    """How many states of each model are made.

    An epoch of at most `complete` writes has all its subsets; a larger one all that lack a single
    write or consist of one, and at most `subsets` in all.  Where these are some by `seed`, writes
    to `always`, an offset of the disk in bytes, are among the single ones.  `torn`, `overlap` and
    `lying` bound their model over the whole log, `torn_subsets` is for those of torn that are
    subsets.  `sector` is what the disk said it writes whole, in bytes.
    """

    seed: int = 1
    prefixes: bool = True
    complete: int = 6
    subsets: int = 64
    torn: int = 500
    torn_subsets: int = 0
    overlap: int = 0
    lying: int = 200
    sector: int = 512
    always: int | None = None


@dataclass(frozen=True)
class Epoch:
    """The writes between two flushes; `end` is the position behind the last of them."""

    begin: int
    end: int
    writes: tuple[int, ...]


class Plan:
    """The cuts of a log from position `begin` on; the same arguments give the same cuts."""

    def __init__(self, log: WriteLog, limits: Limits, begin: int = 0) -> None:
        self._entries: Sequence[Entry] = log.entries
        self._log_sector = log.sector_size
        self._limits = limits
        self._begin = begin

    def cuts(self) -> Iterator[Cut]:
        """All of them, model by model, each once."""
        makers = (self._prefixes, self._subsets, self._torn, self._overlaps, self._lies)
        for maker in makers:
            seen: set[Cut] = set()
            for cut in maker():
                if cut not in seen:
                    seen.add(cut)
                    yield cut

    @cached_property
    def epochs(self) -> tuple[Epoch, ...]:
        """The epochs that end behind `begin`; what was written before it counts as safe."""
        found: list[Epoch] = []
        start, writes = self._begin, list[int]()
        for entry in self._entries[self._begin :]:
            if _changes(entry):
                writes.append(entry.index)
            if entry.is_flush:
                if writes:
                    found.append(Epoch(start, writes[-1] + 1, tuple(writes)))
                start, writes = entry.index + 1, []
        if writes:
            found.append(Epoch(start, writes[-1] + 1, tuple(writes)))
        return tuple(found)

    def _random(self, *salt: object) -> random.Random:
        return random.Random(f"{self._limits.seed}/{'/'.join(map(str, salt))}")

    def _prefixes(self) -> Iterator[Cut]:
        """One behind each write, and one behind the flushes that follow it."""
        if not self._limits.prefixes:
            return
        yield Cut(CrashModel.PREFIX, self._begin)
        for index, entry in enumerate(self._entries):
            last = index + 1 == len(self._entries) or _changes(self._entries[index + 1])
            if index >= self._begin and (_changes(entry) or last):
                yield Cut(CrashModel.PREFIX, index + 1)

    def _subsets(self) -> Iterator[Cut]:
        for epoch in self.epochs:
            choice = self._random("subset", epoch.begin)
            yield from self._of_epoch(CrashModel.SUBSET, epoch.end, epoch.writes, choice)

    def _of_epoch(
        self, model: CrashModel, upto: int, writes: tuple[int, ...], choice: random.Random
    ) -> Iterator[Cut]:
        limits = self._limits
        if limits.subsets == 0:
            return
        if len(writes) <= limits.complete:
            for size in range(1, len(writes) + 1):
                for missing in itertools.combinations(writes, size):
                    yield Cut(model, upto, frozenset(missing))
            return
        everything = frozenset(writes)
        single = [frozenset({write}) for write in writes] + [everything - {w} for w in writes]
        if len(single) > limits.subsets:
            wanted = {write for write in writes if self._is_always(self._entries[write])}
            first = [frozenset({write}) for write in sorted(wanted)]
            first += [everything - each for each in first]
            some = choice.sample(single, limits.subsets * 3 // 4)
            single = list(dict.fromkeys([*first, *some]))[: max(len(some), 1)]
        for each in single:
            yield Cut(model, upto, each)
        for number in range(limits.subsets - len(single)):
            yield Cut(model, upto, _sample(writes, number, choice))

    def _is_always(self, entry: Entry) -> bool:
        begin = entry.sector * self._log_sector
        always = self._limits.always
        return always is not None and begin <= always < begin + entry.length

    def _torn(self) -> Iterator[Cut]:
        """A write in part: its first sectors, or its last; chosen by seed where there are many."""
        found = list(self._parts(entry.index for entry in self._entries[self._begin :]))
        for torn in _some(found, self._limits.torn, self._random("torn")):
            yield Cut(CrashModel.TORN, torn[0] + 1, frozenset(), torn)
        yield from self._torn_subsets()

    def _torn_subsets(self) -> Iterator[Cut]:
        """A subset of an epoch, of which one write is there in part; all of it chosen by seed, a
        long epoch more often than a short one.

        The epoch's last write may have been under way, or completed: each in turn.
        """
        choice = self._random("torn subsets")
        epochs = [
            (epoch, parts)
            for epoch in self.epochs
            if len(epoch.writes) > 1 and (parts := list(self._parts(epoch.writes)))
        ]
        weights = [len(epoch.writes) for epoch, _ in epochs]
        found: dict[Cut, None] = {}
        for number in range(self._limits.torn_subsets if epochs else 0):
            ((epoch, parts),) = choice.choices(epochs, weights)
            torn = choice.choice(parts)
            missing = _sample(epoch.writes, number, choice) - {torn[0]}
            completed = torn[0] == epoch.end - 1 and number % 2 == 1
            if missing or completed:  # else it may be a torn prefix
                found[Cut(CrashModel.TORN, epoch.end, missing, torn, completed)] = None
        yield from found

    def _parts(self, writes: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        """Each write's first sectors, and its last."""
        for entry in (self._entries[number] for number in writes):
            for boundary in self._boundaries(entry) if entry.is_write else ():
                yield entry.index, 0, boundary
                yield entry.index, boundary, entry.length

    def _boundaries(self, entry: Entry) -> range:
        """Where a write may tear, in bytes of its data: between two physical sectors."""
        sector = self._limits.sector
        begin = entry.sector * self._log_sector
        return range(sector - begin % sector, entry.length, sector)

    def _overlaps(self) -> Iterator[Cut]:
        """The last write before each flush counts as one that the flush need not cover."""
        found = []
        for before, after in itertools.pairwise(self.epochs):
            late = before.writes[-1]
            for upto in (before.end, *(write + 1 for write in after.writes)):
                found.append(Cut(CrashModel.OVERLAP, max(upto, after.begin), frozenset({late})))
        yield from _some(found, self._limits.overlap, self._random("overlap"))

    def _lies(self) -> Iterator[Cut]:
        """Writes of an epoch are missing, though its flush returned and the next epoch is there."""
        found = []
        for before, after in itertools.pairwise(self.epochs):
            choice = self._random("lying", before.begin)
            later = frozenset(write for write in after.writes if choice.random() < 0.2)
            found += [
                Cut(CrashModel.LYING, after.end, frozenset({write})) for write in before.writes
            ]
            found.append(Cut(CrashModel.LYING, after.end, frozenset(before.writes)))
            some = _sample(before.writes, 0, choice) | later
            found.append(Cut(CrashModel.LYING, after.end, some))
        yield from _some(found, self._limits.lying, self._random("lying"))


def _changes(entry: Entry) -> bool:
    return entry.is_write or entry.is_discard


def _sample(writes: Sequence[int], number: int, choice: random.Random) -> frozenset[int]:
    """A few writes missing, a few kept, or any half, in turn."""
    kind = number % 3
    if kind == 2 or len(writes) < 2:
        return frozenset(write for write in writes if choice.random() < 0.5)
    few = frozenset(choice.sample(writes, choice.randint(1, min(_SPARSE, len(writes)))))
    return few if kind == 0 else frozenset(writes) - few


def _some(found: list[T], limit: int, choice: random.Random) -> list[T]:
    """At most `limit` of them, in their order."""
    if len(found) <= limit:
        return found
    return [found[index] for index in sorted(choice.sample(range(len(found)), limit))]
