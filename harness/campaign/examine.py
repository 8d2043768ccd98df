"""One crash state, recovered and looked at: the work of a worker process.

The quick way is one process: `e2fsck -f -p` in place.  When it meets nothing but the log and the
orphan list, the boot gets through and mends nothing, and a full check after recovery finds no
damage.  Any other state goes the slow way of a scenario (`harness.oracles.recover.examine`), whose
verdicts count.  What e2fsck wrote is found by comparison, read as a tree, and undone.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from harness.crash.blocks import BLOCK, LoggedDisk, WorkingDisk, block_id
from harness.crash.plan import Cut
from harness.disk import ext2
from harness.disk.copy import host_errors
from harness.disk.jbd2 import JournalMap, parse_superblock
from harness.disk.preen import Preener
from harness.disk.tree import TreeReader
from harness.oracles.boot import judge_boot
from harness.oracles.context import Context
from harness.oracles.observed import Observed, observe
from harness.oracles.recover import HARMLESS, examine
from harness.oracles.structure import judge_structure
from harness.verdicts import CrashModel, FindingClass, Judgement, Oracle, Verdict


@dataclass(frozen=True)
class Seen:
    """What was seen of a content.  `number` names it; `phases` are seconds by what took them."""

    number: int
    structure: Judgement
    boot: Judgement
    tree: Observed
    replayed: bool
    quick: bool
    phases: dict[str, float] = field(default_factory=dict)


#: the context of a state as far as `structure` and `boot` ask: one of a row
_ROW = Context(CrashModel.PREFIX, None, (), True, 0, None, True)


class Examiner:
    """Examines states of one case, one after the other; a context manager.

    `scratch` takes two images that are as large as the data in them.
    """

    def __init__(
        self,
        base: Path,
        disk: LoggedDisk,
        journal: JournalMap | None,
        known: frozenset[int],
        scratch: Path,
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._known = known
        self._scratch = scratch
        self._label = ext2.superblock(base).label
        self._phases: dict[str, float] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.work = stack.enter_context(WorkingDisk(self._disk, self._scratch / "state.raw"))
            self._preener = stack.enter_context(Preener(self._scratch, self._label))
            self._reader = TreeReader(self.work, self._disk.size // BLOCK)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def see(self, cut: Cut) -> Seen:
        """Make a state, recover it and look at it.

        Raises `InfraError` when a tool or the host breaks; whatever the state holds is a result.
        """
        self._phases = {}
        with self._timed("move"):
            number = self.work.go(cut)
        raw = self.work.block(0)[1024:2048]
        before = ext2.parse_superblock(raw)
        # Where the flag is clear and the log has data, nothing would be replayed.
        if before.magic and not (self._has_data() and not before.needs_recovery):
            with self._timed("e2fsck"):
                run = self._preener.run(self.work.image)
            with self._timed("compare"):
                self.work.look()
            if run.rc <= 1 and all(finding.kind in HARMLESS for finding in run.findings):
                with self._timed("tree"):
                    tree = observe(self._reader, self.work.block, self._known)
                replayed = any(each.kind is FindingClass.REPLAY for each in run.findings)
                why = "replayed, then a" if replayed else "nothing to replay; a"
                reason = f"{why} full check finds no damage"
                return Seen(
                    number,
                    Judgement(Oracle.STRUCTURE, Verdict.PASS, reason, run.findings),
                    Judgement(Oracle.BOOT, Verdict.PASS, "e2fsck -p mends nothing", run.findings),
                    tree,
                    replayed,
                    True,
                    self._phases,
                )
            self.work.undo()
        with self._timed("slow way"):
            return self._slowly(number)

    def _slowly(self, number: int) -> Seen:
        with TemporaryDirectory(dir=self._scratch) as name:
            folder = Path(name)
            kept = folder / "kept.raw"
            seen = examine(self.work.image, (), folder, journal=self._journal, keep=kept)
            with FileBlocks(kept) as blocks:
                reader = TreeReader(blocks, self._disk.size // BLOCK)
                tree = observe(reader, blocks.block, self._known)
        replayed = any(each.kind is FindingClass.REPLAY for each in seen.recovery_findings)
        return Seen(
            number,
            judge_structure(seen, _ROW),
            judge_boot(seen, _ROW),
            tree,
            replayed,
            False,
            self._phases,
        )

    def _has_data(self) -> bool:
        if self._journal is None or self._journal.superblock_offset is None:
            return False
        block = self.work.block(self._journal.superblock_offset // BLOCK)
        return parse_superblock(block[:1024]).has_data

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._phases[phase] = self._phases.get(phase, 0.0) + time.perf_counter() - began


class FileBlocks:
    """The blocks of an image file; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with host_errors(self._path), self._path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._map.close()

    def block(self, number: int, /) -> bytes:
        return self._map[number * BLOCK : (number + 1) * BLOCK]

    def id_of(self, number: int, /) -> int:
        return block_id(self.block(number))
