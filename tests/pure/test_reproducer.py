"""The folder of a failure: it is whole, or it is written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign import reproducer
from harness.campaign.case import Case
from harness.campaign.lab import Source
from harness.campaign.reproducer import Reproduction, save
from harness.campaign.work import ListWork
from harness.crash.plan import Cut
from harness.oracles.acknowledged import Strictness
from harness.report.atomic import write_atomically
from harness.verdicts import CrashModel, Judgement, Oracle, Verdict
from harness.workloads.agent.marks import Span
from harness.workloads.agent.oplist import OpRef, parse
from tests.pure.write_logs import Item, write_log

FILES = ["base.raw.gz", "case.json", "failure.json", "show.sh", "state.raw.gz", "writes.log"]


def test_a_kill_while_a_failure_is_saved_leaves_no_folder_that_counts_as_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder = tmp_path / "base.raw", tmp_path / "failure"
    base.write_bytes(bytes(1 << 16))
    log = write_log(tmp_path / "log", [Item(0, bytes(4096))])
    ops = parse("hurdle-ops 1 run=000005\nthread\nmkdir a 0755\n")
    work = ListWork(ops, (Span(OpRef(0, 0), 0, 1, "OK"),), (0,), 1, hurd=False, ordered_sizes=True)
    case = Case("c", "ext3", 5, base, log, work, 0, Strictness.EXT3, True, {})
    said = Reproduction("prefix-00001", None, "prefix", "boot", "x", "PASS", "FAIL", "y", 5, "own")
    judgement = Judgement(Oracle.BOOT, Verdict.FAIL, "y")
    cut = Cut(CrashModel.PREFIX, 1)
    written = list[str]()

    def note(path: Path, data: bytes) -> None:
        written.append(path.name)
        write_atomically(path, data)

    monkeypatch.setattr(reproducer, "write_atomically", note)
    save(folder, case, Source(case.folder), cut, base, said, judgement)
    assert written[-1] == "README.md"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["README.md", *FILES])
    assert (folder / "show.sh").stat().st_mode & 0o111
