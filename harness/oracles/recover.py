"""Recovery of one crash state, done on copies; the oracles judge what is seen here.

Two things are done to a state.  The *boot*: `e2fsck -p`, as an unattended boot does.  *Pure
recovery*: what a mount does, replaying the log and releasing the orphans, and nothing else; after
it a full check, read-only, shows what was left to mend.

Pure recovery in detail (as e2fsck 1.47.0 was seen to behave):

* `e2fsck -p -E journal_only` replays, releases the orphans and does nothing else, but only if
  needs_recovery is set; with the flag clear and data in the log it would go on to a full repair.
  So the flag is set on the copy, and that is a finding.
* With the error flag set it drops the orphan list, as Linux does at mount.  So the flag is cleared
  on the copy; where the log brings it back, the orphans stay, and the check finds them.
* If there are orphans still, the copy's superblock is made to say that no check is due,
  and `e2fsck -p` releases the orphans and calls the rest clean.  This is done after the replay
  since the log may hold a superblock of its own.
* Where the boot ended with "clean", it has done exactly that (and recounted the superblock's free
  counts, as a mount does), and its copy serves for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.ext2 import ObjectStat, Superblock
from harness.disk.fsck import FsckRun, Mode, e2fsck
from harness.disk.jbd2 import JournalMap, journal_superblock
from harness.verdicts import Finding, FindingClass

#: what recovery may report of a state that it brings back whole
HARMLESS = frozenset(
    {FindingClass.REPLAY, FindingClass.ORPHAN, FindingClass.COUNTS, FindingClass.NOTE}
)


@dataclass(frozen=True)
class Examination:
    """What was seen of one state.  Depends on its bytes alone, not on where in the log it is.

    `superblock` and `log_has_data` are from before recovery, `recovered` is the superblock after
    pure recovery; `before` and `after` are the watched objects then.  `recovery` are the runs of
    pure recovery, `check` the full check after it.
    """

    superblock: Superblock
    log_has_data: bool
    before: tuple[ObjectStat, ...]
    after: tuple[ObjectStat, ...]
    boot: FsckRun
    recovery: tuple[FsckRun, ...]
    check: FsckRun
    recovered: Superblock
    flag_set: bool  #: needs_recovery had to be set on the copy

    @property
    def had_work(self) -> bool:
        """Whether recovery had anything to do."""
        return self.log_has_data or bool(self.superblock.last_orphan or self.superblock.orphan_file)

    @property
    def recovery_findings(self) -> tuple[Finding, ...]:
        """What pure recovery reported, and whether its flag had to be set for it."""
        found = tuple(finding for run in self.recovery for finding in run.findings)
        if not self.flag_set:
            return found
        flag = Finding(
            "journal-flag-clear-with-data",
            FindingClass.FLAGS,
            "the log has data and needs_recovery is clear; the flag was set on the copy",
        )
        return (flag, *found)

    @property
    def runs(self) -> tuple[FsckRun, ...]:
        """Every run of e2fsck, each once."""
        return tuple(dict.fromkeys((self.boot, *self.recovery, self.check)))


def examine(
    image: Path,
    paths: tuple[str, ...],
    scratch: Path,
    *,
    journal: JournalMap | None = None,
    own: bool = False,
    keep: Path | None = None,
) -> Examination:
    """Recover copies of `image` in `scratch` and see what comes out; `image` is not written to.

    `paths` are the watched objects, `journal` saves looking for the journal where it is known.
    `own` says that `image` is a copy already and may be used up, which saves one; `keep` is where
    the recovered copy goes, for whoever wants to look at more of it.
    Raises `InfraError` when a tool or the host breaks; whatever the file system holds is a result.
    """
    superblock = ext2.superblock(image)
    has_data = _log_has_data(image, superblock, journal)
    before = ext2.stat_objects(image, paths)

    booted = scratch / "boot.raw"
    sparse_copy(image, booted)
    boot = e2fsck(booted, Mode.BOOT, label=superblock.label)
    pure, flag_set = booted, False
    recovery: tuple[FsckRun, ...] = (boot,)
    if not (boot.clean and all(each.kind in HARMLESS for each in boot.findings)):
        pure = scratch / "recovered.raw"
        if own:
            image.rename(pure)
        else:
            sparse_copy(image, pure)
        recovery, flag_set = _recover(pure, superblock, has_data)

    check = e2fsck(pure, Mode.CHECK, label=superblock.label)
    unchanged = not recovery
    after = before if unchanged else ext2.stat_objects(pure, paths)
    recovered = ext2.superblock(pure)
    if keep is not None:
        pure.rename(keep)
    for copy in {booted, pure}:
        copy.unlink(missing_ok=True)
    return Examination(
        superblock, has_data, before, after, boot, recovery, check, recovered, flag_set
    )


def _log_has_data(image: Path, superblock: Superblock, journal: JournalMap | None) -> bool:
    if not superblock.has_journal:
        return False
    if journal is None:
        runs = tuple(ext2.block_map(image, superblock.journal_inode or 8))
        journal = JournalMap(superblock.block_size, runs)
    return journal_superblock(image, journal).has_data


def _recover(
    copy: Path, superblock: Superblock, has_data: bool
) -> tuple[tuple[FsckRun, ...], bool]:
    """Pure recovery in place: the runs, and whether needs_recovery had to be set."""
    runs: list[FsckRun] = []
    flag_set = has_data and not superblock.needs_recovery
    if flag_set:
        ext2.set_needs_recovery(copy)
    if superblock.error:
        ext2.skip_full_check(copy)
    if superblock.has_journal and (has_data or superblock.needs_recovery):
        runs.append(e2fsck(copy, Mode.REPLAY, label=superblock.label))
    now = ext2.superblock(copy)
    if now.magic and (now.last_orphan or now.orphan_file):
        ext2.skip_full_check(copy)
        runs.append(e2fsck(copy, Mode.BOOT, label=superblock.label))
    return tuple(runs), flag_set
