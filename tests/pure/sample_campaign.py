"""A campaign's summary, made by hand: one variant that is safe and one that is not."""

from __future__ import annotations

from harness.report.campaign import Bar, Cause, Cell, Lane, Map, OfRuns, Row, Share, Side, Summary
from harness.verdicts import CAMPAIGN_ORACLES, CrashModel, Oracle, Verdict


def summary(word: str = "") -> Summary:
    """`word` is appended to every text that comes from outside."""
    return Summary(
        name="sample",
        title="Sample" + word,
        guest="linux-control",
        command="hurdle campaign sample" + word,
        ending="not as expected",
        tone="fail",
        headline="200 crash states, 80 of them distinct; 1 of 24 expectations not met" + word,
        facts=(("runs", "2"), ("disk", "64.0 MiB, physical sectors of 512 bytes")),
        sides=(_side("ext3", 0, word), _side("ext2", 40, word)),
        rows=(_row("ext3", 0, word), _row("ext2", 40, word)),
        causes=(_cause(False, word), _cause(True, word)),
        maps=(_map(word),),
        phases=(("e2fsck", 1.5, 80),),
        versions=(("QEMU", "7.2" + word),),
        next_step="hurdle judge out/failures/ext2" + word,
    )


def _side(variant: str, fails: int, word: str) -> Side:
    return Side(
        variant,
        f"{fails} of 100 states fail{word}",
        not fails,
        100,
        40,
        fails,
        fails // 2,
        dict.fromkeys(CAMPAIGN_ORACLES, fails),
        {Oracle.BARRIER: OfRuns(Verdict.VOID if fails else Verdict.PASS, 0, 1)},
        {CrashModel.PREFIX: Share(CrashModel.PREFIX, 100, fails)},
    )


def _row(variant: str, fails: int, word: str) -> Row:
    found = Verdict.FAIL if fails else Verdict.PASS
    cells = tuple(
        Cell(oracle, "PASS", found, fails, 100, not fails, word) for oracle in CAMPAIGN_ORACLES
    )
    return Row(variant, CrashModel.PREFIX, 100, cells)


def _cause(expected: bool, word: str) -> Cause:
    return Cause(
        "ext2",
        Oracle.STRUCTURE,
        "dangling-entry",
        (("mkdir", 30), ("rename", 10)),
        (CrashModel.PREFIX,),
        40,
        expected,
        "prefix-00012",
        "Entry 'g' in / (2) has deleted/unused inode 12." + word,
        "out/failures/ext2" + word,
        ("out/failures/other" + word,),
    )


def _map(word: str) -> Map:
    bars = (Bar(0, 0.0, 3.6, 4, 0, 0), Bar(1, 4.0, 3.6, 4, 2, 1))
    return Map("ext2-1", "9 operations" + word, (Lane(CrashModel.PREFIX, bars),), (), (4.0,), (), 9)
