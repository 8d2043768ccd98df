"""Op lists in a real guest: marks in a real write log, and trees that the model allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.experiment.lists import Bench, ListsRun, run_lists
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import GuestOs, load_recipe
from harness.machine.accel import TCG
from harness.rundir import RunDir
from harness.workloads.agent.build import build, build_for_hurd
from harness.workloads.agent.mixes import mix
from harness.workloads.agent.oplist import OpList, OpRef, parse_op, single
from harness.workloads.agent.patterns import pattern_list
from harness.workloads.agent.rules import HURD, LINUX
from tests.guest.lists_support import judged, log_of

# Nothing in it makes ext3 flush: no sync, and far less time than a commit tick of 5 s.
QUIET = single(1, map(parse_op, ["mkdir A 0755", *(f"creat A/{n} 0644" for n in range(30))]))


def run(guest: str, variant: str, lists: Sequence[OpList], folder: Path, scratch: Path) -> ListsRun:
    recipe = load_recipe(guest)
    image = find_image(recipe, Cache.default())
    hurd = recipe.os is GuestOs.HURD
    agent = build_for_hurd(Cache.default(), print) if hurd else build(folder / "agent")
    bench = Bench(recipe, image, variant, agent, TCG)
    with RunDir(folder / "out", base=scratch / "s") as rundir:
        done = run_lists(bench, lists, rundir, folder)
    assert done.broke == ""
    return done


@pytest.mark.guest
def test_ext3_leaves_only_trees_that_the_lists_allow(
    control: str, tmp_path: Path, scratch: Path
) -> None:
    lists = [QUIET, pattern_list("rename-over-synced"), mix("mixed", 5, 25, run=2)]
    done = run(control, "ext3", lists, tmp_path, scratch)
    quiet = done.journals[0]
    assert quiet.end is not None
    assert len(quiet.spans) == 31
    # A mark is no flush: there is none among 32 marks of a list that asks for none.
    flushes = [f.index for f in log_of(done).flushes if quiet.first < f.index < quiet.end]
    assert flushes == []
    states = [
        each for journal in done.journals for each in judged(done, journal, LINUX, scratch, 2)
    ]
    assert len(states) > 15
    wrong = [each for each in states if each.verdict.durable is None or each.rc > 1]
    assert not wrong, wrong[0]


@pytest.mark.hurd
def test_the_agent_marks_on_a_disk_that_a_hurd_has_mounted(
    hurd_from_source: str, tmp_path: Path, scratch: Path
) -> None:
    listing = mix("mixed", 5, 15, run=2)
    done = run(hurd_from_source, "vanilla", [listing], tmp_path, scratch)
    journal = done.journals[0]
    assert journal.end is not None
    assert len(journal.spans) == sum(map(len, listing.threads))
    assert {span.errno for span in journal.spans.values()} == {"OK"}
    first = journal.spans[OpRef(0, 0)]
    assert first.end is not None and journal.laid is not None
    assert journal.laid < journal.first <= first.begin < first.end < journal.end
    # The disk as the guest left it, put away in order after the list, has the model's tree.
    *_, last = judged(done, journal, HURD, scratch, 1_000_000)
    assert last.position == journal.end + 1
