"""Failures: made small, saved in a folder, judged again without the run."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import JUnitXml

from harness.campaign.case import Case
from harness.campaign.group import groups
from harness.campaign.judge_again import judge_again
from harness.campaign.minimise import minimise
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.summary import summarise
from harness.crash.blocks import BLOCK
from harness.crash.plan import Cut
from harness.disk.copy import sparse_copy
from harness.errors import Exit, UsageError
from harness.oracles.selfcheck import debugfs
from harness.report.campaign_files import junit_xml, page
from harness.verdicts import CrashModel, Oracle
from tests.pure.write_logs import Item, flush
from tests.tools.cases import (
    before_and_after,
    campaign,
    case,
    journaled,
    unjournaled,
)
from tests.tools.judged import fails, run

pytestmark = pytest.mark.tools


def test_a_failure_is_saved_small_and_judged_again_without_the_run(folder: Path) -> None:
    base, changed = before_and_after(folder, "ext2")
    for image in (base, changed):
        debugfs(image, "ssv state 0")
    noise = [Item(4000 * 8 + 8 * n, bytes([n]) * BLOCK) for n in range(1, 6)]
    made = case(folder, base, [*noise, *unjournaled(base, changed), *noise], synced=False)
    found = run(made, campaign(recovery=0), folder / "out")
    assert fails(found, Oracle.STRUCTURE)
    saved = sorted((folder / "out" / "failures").iterdir())
    assert saved
    with Store(folder / "out" / "results.sqlite") as store:
        store.set_meta("campaign", campaign(recovery=0).model_dump_json(exclude_unset=True))
        summary = summarise(store, folder / "out")
    text = page(summary)
    assert summary.tone == "fail" and summary.next_step.startswith("hurdle judge ")
    first = json.loads((Path(summary.next_step.split()[-1]) / "failure.json").read_text())
    simplest = min(
        (each.state for each in summary.causes if each.folder), key=lambda s: (len(s), s)
    )
    assert first["model"] == "prefix" and simplest.startswith("prefix-")
    assert all(f"hurdle judge {each}" in text for each in saved) and "<svg" in text
    assert JUnitXml.fromstring(junit_xml(summary)).failures > 0
    (base.parent / "base.raw").unlink()  # nothing of the run is needed
    for each in saved:
        assert judge_again(each, folder / "state.raw") is Exit.UNEXPECTED
        shown = subprocess.run([each / "show.sh"], capture_output=True, text=True, check=True)
        assert "after e2fsck -p" in shown.stdout
        assert "hurdle judge" in (each / "README.md").read_text()


def test_minimising_keeps_the_cause_and_drops_the_rest() -> None:
    tried = []

    def needs(cut: Cut) -> bool:
        tried.append(cut)
        return {7, 11} <= cut.missing and cut.upto >= 20

    first = Cut(CrashModel.SUBSET, 40, frozenset(range(3, 30)))
    smallest = minimise(first, 40, needs)
    assert smallest == Cut(CrashModel.SUBSET, 20, frozenset({7, 11}))
    assert len(tried) < 60
    torn = Cut(CrashModel.TORN, 40, frozenset(range(3, 30)), (31, 0, 512))
    assert minimise(torn, 40, needs) == replace(torn, upto=32, missing=frozenset({7, 11}))
    whole = minimise(first, 40, lambda cut: cut.upto >= 5)
    assert whole == Cut(CrashModel.PREFIX, 5)


def _broken_case(folder: Path) -> tuple[Case, dict[str, str]]:
    """A journal that does not flush before its commit block, judged."""
    base, changed = before_and_after(folder, "ext3")
    items = journaled(base, changed, folder)
    flushes = [index for index, item in enumerate(items) if item == flush()]
    made = case(folder, base, [item for n, item in enumerate(items) if n != flushes[2]])
    return made, run(made, campaign(subsets=60, recovery=0, torn=40), folder / "out")


def test_the_causes_that_the_results_count_are_those_of_every_failure(folder: Path) -> None:
    made, _ = _broken_case(folder)
    with Store(folder / "out" / "results.sqlite") as store:
        steps = {made.name: store.outline(made.name).steps}
        every, counted = store.failures(made.name), store.examples(made.name)
        assert len(counted) < len(every) and sum(each.count for each in counted) == len(every)
        told = groups("made", every, steps), groups("made", counted, steps)
        for one, other in zip(*told, strict=True):
            assert replace(one, example=replace(one.example, count=0)) == replace(
                other, example=replace(other.example, count=0)
            )
        kinds = {row[0]: row[1] for row in _kinds(store)}
        honest = {number for number, models in kinds.items() if models != {"lying"}}
        assert store.distinct(made.name) == len(kinds)
        assert store.distinct(made.name, without=CrashModel.LYING) == len(honest) < len(kinds)


def _kinds(store: Store) -> Iterator[tuple[str, set[str]]]:
    with closing(sqlite3.connect(store.path)) as db:
        rows = db.execute("SELECT number, group_concat(DISTINCT model) FROM states GROUP BY number")
        yield from ((number, set(models.split(","))) for number, models in rows.fetchall())


def test_a_run_that_fails_as_a_whole_is_judged_again_by_its_folder(folder: Path) -> None:
    made, _ = _broken_case(folder)
    assert judge_again(made.folder) is Exit.UNEXPECTED  # barrier
    with pytest.raises(UsageError, match="no crash state"):
        judge_again(made.folder, folder / "state.raw")
    base, changed = before_and_after(folder, "ext3")
    sound = case(folder, base, journaled(base, changed, folder))
    assert judge_again(sound.folder) is Exit.OK


def _as_it_was(path: Path, *, work: bool) -> None:
    """What case.json and failure.json were before their formats had numbers."""
    file = path / "case.json"
    data = json.loads(file.read_text())
    del data["format"], data["outcome"], data["work"]["start"]
    if not work:
        steps = data.pop("work")
        data |= {name: steps[name] for name in ("setup", "steps", "journal")}
    file.write_text(json.dumps(data))
    file = path / "failure.json"
    data = json.loads(file.read_text())
    for name in ("format", "recoverer", "refused", *(() if work else ("model",))):
        del data[name]
    file.write_text(json.dumps(data))


def test_failures_of_older_formats_are_judged_and_later_ones_are_named(folder: Path) -> None:
    _, found = _broken_case(folder)
    assert fails(found, Oracle.STRUCTURE)
    saved = sorted((folder / "out" / "failures").iterdir())
    for number, each in enumerate(saved):
        _as_it_was(each, work=bool(number % 2))
        assert judge_again(each) is Exit.UNEXPECTED
    assert len(saved) > 1
    for name in ("case.json", "failure.json"):
        data = json.loads((saved[0] / name).read_text())
        (saved[0] / name).write_text(json.dumps({**data, "format": 99}))
        with pytest.raises(UsageError, match=f"{name} is of format 99"):
            judge_again(saved[0])
        (saved[0] / name).write_text(json.dumps(data))
    (saved[0] / "failure.json").write_text("{}")
    with pytest.raises(UsageError, match="can't be read"):
        judge_again(saved[0])


def test_what_is_expected_is_saved_of_the_first_run_alone(folder: Path) -> None:
    made, found = _broken_case(folder)
    models = ("prefix", "subset", "torn")
    anything = {model: dict.fromkeys(("structure", "boot"), "any") for model in models}
    plain = campaign(subsets=60, recovery=0, torn=40).model_dump(mode="json", exclude_unset=True)
    wanted = Campaign.model_validate({**plain, "expect": {"made": anything}})
    assert fails(found, Oracle.STRUCTURE)
    other = folder / "other"
    other.mkdir()
    for name in ("base.raw", "writes.log"):
        sparse_copy(folder / name, other / name)
    second = replace(made, name="made-2", base=other / "base.raw", log_path=other / "writes.log")
    second.save()
    out = folder / "both"
    run(made, wanted, out)
    first = {each.name for each in (out / "failures").iterdir()}
    assert any("structure" in name for name in first)
    run(second, wanted, out)
    more = {each.name for each in (out / "failures").iterdir()} - first
    assert not any("structure" in name or "boot" in name for name in more), more
