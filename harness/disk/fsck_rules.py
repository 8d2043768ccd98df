"""The messages of e2fsck and what each means for a verdict.  Data only.

The messages are those of e2fsck 1.47.0 in the C locale, after their line's device name was taken
off; the numbers are those of its problem log.  The first rule that matches counts.
"""

from __future__ import annotations

import re

from harness.verdicts import FindingClass

_REPLAY, _ORPHAN, _COUNTS = FindingClass.REPLAY, FindingClass.ORPHAN, FindingClass.COUNTS
_FLAGS, _DAMAGE, _NOTE = FindingClass.FLAGS, FindingClass.DAMAGE, FindingClass.NOTE


def _rule(code: str, kind: FindingClass, pattern: str) -> tuple[str, FindingClass, re.Pattern[str]]:
    return code, kind, re.compile(pattern)


#: lines that are no messages: headings, answers, statistics
NOISE = tuple(
    re.compile(pattern)
    for pattern in (
        r"^Pass (?:[1-5]|1E|3A): ",
        r"^[A-Z][A-Za-z /+-]{1,40}\? (?:yes|no)$",
        r"^Rename to \S+\? (?:yes|no)$",
        r"^[A-Z ]+\.$",
        r"^clean, \d+/\d+ files, \d+/\d+ blocks",
        r"^\d+/\d+ files \([\d.]+% non-contiguous\), \d+/\d+ blocks",
        r"^\*+ (?:WARNING: Filesystem still has errors|FILE SYSTEM WAS MODIFIED) \*+$",
        r"^Run journal anyway$",
        # The advice that follows "The superblock could not be read ..." over several lines.
        r"^filesystem(?:\.  If the device is| \(and not swap)|^is corrupt, and you might try",
    )
)

RULES = (
    # The log and the orphan list: what recovery is for.
    _rule("journal-replayed", _REPLAY, r"^recovering journal$"),
    _rule("orphan-released", _ORPHAN, r"^(?:Clearing|Truncating) orphaned inode \d+"),
    _rule("journal-flag-clear-with-data", _FLAGS, r"needs_recovery flag is clear, but journal has"),
    _rule("not-cleanly-unmounted", _NOTE, r"^was not cleanly unmounted, check forced"),
    _rule("error-flag", _FLAGS, r"^contains a file system with errors, check forced"),
    _rule("check-due", _NOTE, r"^has (?:been mounted|gone) \d+ (?:times|days) without being"),
    _rule("manual-fsck-needed", _FLAGS, r"UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY"),
    # The journal itself.
    _rule("journal-checksum", _DAMAGE, r"^Journal checksum error found"),
    _rule("journal-checksum", _DAMAGE, r"^Journal transaction \d+ was corrupt, replay was aborted"),
    _rule("journal-superblock", _DAMAGE, r"[Jj]ournal superblock is corrupt"),
    _rule("journal-superblock", _DAMAGE, r"no valid journal superblock found"),
    _rule("recovery-not-done", _DAMAGE, r"skipping journal recovery because doing a read-only"),
    _rule("journal-recovery-failed", _DAMAGE, r"while recovering journal of|^Journal corrupted in"),
    _rule("journal-recovery-failed", _DAMAGE, r"while checking journal for|journal too short"),
    _rule("journal-missing", _DAMAGE, r"needs_recovery flag is set, but no journal is present"),
    _rule("journal-missing", _DAMAGE, r"^Superblock has an invalid journal"),
    _rule("journal-backup", _NOTE, r"^Backing up journal inode block information"),
    _rule("journal-backup", _NOTE, r"^Recovery flag not set in backup superblock, so running"),
    _rule("journal-inode", _DAMAGE, r"^[Jj]ournal inode|^[Jj]ournal is not regular file"),
    # The orphan list when it is wrong.
    _rule("bad-orphan-list", _DAMAGE, r"^(?:Illegal|Invalid) orphaned inode"),
    _rule("bad-orphan-list", _DAMAGE, r"corrupted orphan linked list|^Orphan file|orphan file"),
    _rule("bad-orphan-list", _DAMAGE, r"found in orphaned inode|^Inode \d+ was part of the orphan"),
    # The superblock.
    _rule("clock", _NOTE, r"^Superblock last (?:mount|write) time .*is in the future"),
    _rule("sb-free-counts", _COUNTS, r"^Setting free (?:inodes|blocks) count to"),
    _rule("sb-free-counts", _COUNTS, r"^Free (?:inodes|blocks) count wrong \("),
    _rule("bad-superblock", _DAMAGE, r"[Bb]ad magic number in super-block|^The superblock could"),
    _rule("bad-superblock", _DAMAGE, r"[Ss]uperblock (?:invalid|is corrupt)|^Corruption found in"),
    _rule("bad-superblock", _DAMAGE, r"^The filesystem size \(according to the superblock\)"),
    # Groups: bitmaps and counts.
    _rule("block-bitmap-differences", _DAMAGE, r"^Block bitmap differences:"),
    _rule("inode-bitmap-differences", _DAMAGE, r"^Inode bitmap differences:"),
    _rule("group-free-counts", _DAMAGE, r"^Free (?:inodes|blocks) count wrong for group"),
    _rule("group-directory-count", _DAMAGE, r"^Directories count wrong for group"),
    _rule("bitmap-padding", _DAMAGE, r"^Padding at end of (?:inode|block) bitmap"),
    _rule("bad-group", _DAMAGE, r"^Group (?:descriptor )?\d+|^One or more block group descriptor"),
    _rule(
        "bad-group", _DAMAGE, r"(?:bitmap|table) for group \d+ is not in group|^Last group block"
    ),
    _rule("resize-inode", _DAMAGE, r"^Resize inode|^Resize_inode"),
    # Names.
    _rule("dangling-entry", _DAMAGE, r"^Entry '.*' in .* has deleted/unused inode"),
    _rule("bad-entry-inode", _DAMAGE, r"^Entry '.*' in .* has (?:an )?invalid inode #"),
    _rule(
        "wrong-filetype", _DAMAGE, r"^Entry '.*' in .* (?:has an incorrect filetype|has filetype)"
    ),
    _rule("wrong-filetype", _DAMAGE, r"^Setting filetype for entry"),
    _rule("duplicate-entry", _DAMAGE, r"^Duplicate (?:entry|filename)|is duplicate '\.\.?' entry"),
    _rule("duplicate-entry", _DAMAGE, r"^Entry '.*' in .* has a non-unique filename"),
    _rule("bad-entry", _DAMAGE, r"^Entry '.*' in .* "),
    _rule("missing-dots", _DAMAGE, r"^Missing '\.\.?' in directory|^(?:First|Second) entry '"),
    _rule(
        "missing-dots", _DAMAGE, r"^Invalid inode number for '\.' in|^'\.\.?' directory entry in"
    ),
    _rule("wrong-parent", _DAMAGE, r"^'\.\.' in .* is .*, should be"),
    _rule("directory-hole", _DAMAGE, r"^Directory inode \d+ has an unallocated block"),
    _rule("directory-corrupted", _DAMAGE, r"^Directory inode \d+,? "),
    _rule("directory-corrupted", _DAMAGE, r"^Unallocated|directory corrupted"),
    _rule("directory-index", _DAMAGE, r"HTREE|INDEX_FL"),
    _rule("lost-found", _DAMAGE, r"/?lost\+found (?:not found|is not a directory)"),
    # Inodes.
    _rule("unattached-inode", _DAMAGE, r"^Unattached (?:zero-length )?inode \d+"),
    _rule("unconnected-directory", _DAMAGE, r"^Unconnected directory inode \d+"),
    _rule("wrong-link-count", _DAMAGE, r"^(?:Extended attribute i|I)node \d+ ref count is"),
    _rule("bad-inode-mode", _DAMAGE, r"^(?:Reserved i|I)node \d+ .*has invalid mode"),
    _rule("bad-inode-type", _DAMAGE, r"^Inode \d+ is a .* but it looks like it is really"),
    _rule("bad-inode-type", _DAMAGE, r"^Inode \d+ \(.*\) is an illegal"),
    _rule("inode-dtime", _DAMAGE, r"^Inode \d+ is in use, but has dtime set"),
    _rule("deleted-inode-dtime", _DAMAGE, r"^Deleted inode \d+ has zero dtime"),
    _rule("bad-inode-size", _DAMAGE, r"^Inode \d+, i_size is|^i_size_high"),
    _rule("bad-inode-blocks", _DAMAGE, r"^Inode \d+, i_blocks is|^i_blocks_hi"),
    _rule("illegal-block", _DAMAGE, r"^(?:Illegal|.* overlaps filesystem metadata)|illegal block"),
    _rule("multiply-claimed-block", _DAMAGE, r"[Mm]ultiply-claimed block|^Pass 1[BCD]: "),
    _rule("multiply-claimed-block", _DAMAGE, r"^Running additional passes|^\(There are \d+ inodes"),
    _rule("multiply-claimed-block", _DAMAGE, r"^File .* has \d+ multiply-claimed"),
    _rule("multiply-claimed-block", _DAMAGE, r"^Duplicate or bad block in use"),
    _rule("multiply-claimed-block", _DAMAGE, r"^\s*\S.* \(inode #\d+, mod time .*\)$"),
    _rule("bad-symlink", _DAMAGE, r"^(?:Symlink|Fast symlink) .*invalid"),
    _rule("bad-special-file", _DAMAGE, r"^Special \(device"),
    _rule("extended-attribute", _DAMAGE, r"^[Ee]xtended attribute|^Inode \d+ has a bad extended"),
    # The kernel leaves such a tree behind a truncate; e2fsck offers to save a block.
    _rule("extent-tree-not-smallest", _NOTE, r"extent tree \(at level \d+\) could be"),
    _rule("bad-extent", _DAMAGE, r"[Ee]xtent"),
    _rule("root-inode", _DAMAGE, r"^[Rr]oot inode"),
    _rule("metadata-checksum", _DAMAGE, r"checksum"),
    _rule("check-aborted", _DAMAGE, r"^e2fsck: aborted"),
    _rule("bad-inode", _DAMAGE, r"^Inode \d+"),
)

#: findings of messages that are no numbered problems
UNNUMBERED = frozenset(
    {
        "journal-replayed",
        "not-cleanly-unmounted",
        "error-flag",
        "check-due",
        "manual-fsck-needed",
        "recovery-not-done",
    }
)

#: e2fsck's problem numbers of what preen mode mends without a message, and of what else it logs
#: on the way of recovery (e2fsprogs e2fsck/problem.h)
PROBLEMS = {
    0x00003F: ("sb-free-counts", _COUNTS),
    0x000040: ("sb-free-counts", _COUNTS),
    0x000018: ("journal-flag-clear-with-data", _FLAGS),
    0x000020: ("orphan-released", _ORPHAN),
    0x050001: ("bitmap-padding", _DAMAGE),
    0x050002: ("bitmap-padding", _DAMAGE),
    **dict.fromkeys(range(0x050003, 0x050007), ("block-bitmap-differences", _DAMAGE)),
    **dict.fromkeys(range(0x050007, 0x05000B), ("inode-bitmap-differences", _DAMAGE)),
    **dict.fromkeys((0x050014, 0x050015), ("block-bitmap-differences", _DAMAGE)),
    **dict.fromkeys((0x050016, 0x050017), ("inode-bitmap-differences", _DAMAGE)),
    0x05000B: ("group-free-counts", _DAMAGE),
    0x05000C: ("group-directory-count", _DAMAGE),
    0x05000D: ("sb-free-counts", _COUNTS),
    0x05000E: ("group-free-counts", _DAMAGE),
    0x05000F: ("sb-free-counts", _COUNTS),
}
