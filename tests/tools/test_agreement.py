"""Recoverers compared, on states of a made log; those that do something else are noticed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.campaign.agreement import differ, judge_agreement, sample, tree_of
from harness.campaign.case import Case
from harness.campaign.failures import save_difference
from harness.campaign.judge_again import judge_again
from harness.campaign.recoverers import Engine, cut_out, join, mounts
from harness.crash.blocks import BLOCK, LoggedDisk, WorkingDisk
from harness.crash.plan import parse
from harness.disk.copy import sparse_copy
from harness.disk.preen import Preener
from harness.errors import Exit, InfraError
from harness.process import run
from harness.verdicts import Oracle, Verdict
from tests.tools.cases import campaign

pytestmark = pytest.mark.tools

_INCOMPAT, _RECOVER = 1024 + 0x60, 4


def as_e2fsck(made: Case, folder: Path) -> list[tuple[str, str]]:
    """Every prefix, and the digest of the tree that e2fsck leaves of it."""
    found = []
    disk = LoggedDisk(made.base, made.log)
    with WorkingDisk(disk, folder / "work.raw") as work, Preener(folder) as preener:
        for upto in range(len(made.log.entries) + 1):
            name = f"prefix-{upto:05d}"
            work.go(parse(name))
            preener.run(work.image)
            found.append((name, tree_of(work.image, frozenset()).digest()))
            work.look()
    disk.close()
    return found


def test_our_journal_leaves_the_trees_that_e2fsck_leaves(good: Case, folder: Path) -> None:
    states = as_e2fsck(good, folder)
    assert len({digest for _, digest in states}) == 2  # without `new` and with it
    journal = good.journal_map
    assert journal is not None
    engine = Engine(journal, folder)
    found = differ(good, states, engine, folder)
    said = judge_agreement([(engine.name, len(states), found)])
    assert said.verdict is Verdict.PASS, said.reason
    assert f"our journal on {len(states)} states" in said.reason


class Broken:
    """Recovers with e2fsck and a defect."""

    def __init__(self, defect: Callable[[Path], str], folder: Path) -> None:
        self.name = "a broken one"
        self._defect = defect
        self._folder = folder

    def recover(self, images: Sequence[Path]) -> list[str]:
        found = []
        with Preener(self._folder) as preener:
            for image in images:
                found.append(self._defect(image))
                preener.run(image)
        return found


def forget_the_log(image: Path) -> str:
    """Clear needs_recovery without a replay, and empty the log."""
    with image.open("r+b") as file:
        file.seek(_INCOMPAT)
        flags = file.read(1)[0] & ~_RECOVER
        file.seek(_INCOMPAT)
        file.write(bytes([flags]))
    return ""


def refuse(image: Path) -> str:
    return "it did not mount it"


@pytest.mark.parametrize(
    ("defect", "words"),
    [(forget_the_log, "/new is None"), (refuse, "it did not mount it")],
)
def test_a_recoverer_that_does_something_else_is_named_with_the_state(
    good: Case, folder: Path, defect: Callable[[Path], str], words: str
) -> None:
    states = as_e2fsck(good, folder)
    broken = Broken(defect, folder)
    found = differ(good, states, broken, folder)
    said = judge_agreement([(broken.name, len(states), found)])
    assert said.oracle is Oracle.AGREEMENT and said.verdict is Verdict.FAIL
    assert words in said.reason and "prefix-000" in said.reason
    if defect is forget_the_log:
        assert len(found) < len(states)  # where nothing was committed, nothing is forgotten


class Leaking:
    """Recovers with e2fsck, and marks a block that nothing uses as in use: no tree shows it."""

    name = "a leaking one"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recover(self, images: Sequence[Path]) -> list[str]:
        with Preener(self._folder) as preener:
            for image in images:
                preener.run(image)
                last = image.stat().st_size // BLOCK - 1
                run(["debugfs", "-w", "-R", f"setb {last}", str(image)])
        return [""] * len(images)


def test_what_a_recoverer_leaves_to_mend_is_named_though_the_tree_is_right(
    good: Case, folder: Path
) -> None:
    states = as_e2fsck(good, folder)
    found = differ(good, states, Leaking(folder), folder)
    assert len(found) == len(states)
    assert "e2fsck mends behind it" in found[0].words and "bitmap" in found[0].words.lower()


@pytest.mark.parametrize(
    ("name", "defect", "again"),
    [
        ("Linux", forget_the_log, Exit.UNEXPECTED),  # no guest: what it left was kept
        ("Linux", refuse, Exit.UNEXPECTED),
        (Engine.name, forget_the_log, Exit.OK),  # ours runs again, and has no defect
    ],
)
def test_a_difference_is_saved_and_judged_again_without_a_guest(
    good: Case, folder: Path, name: str, defect: Callable[[Path], str], again: Exit
) -> None:
    broken = Broken(defect, folder)
    broken.name = name
    left = folder / "left.raw"
    first, *_ = differ(good, as_e2fsck(good, folder), broken, folder, left)
    saved = save_difference(campaign(engine=9), good, first, left, folder / "out", folder)
    good.base.unlink()  # nothing of the run is needed
    assert judge_again(saved) is again
    shown = subprocess.run([saved / "show.sh"], capture_output=True, text=True, check=True)
    assert "as another recoverer left it" in shown.stdout
    assert f"{name} and e2fsck differ" in (saved / "README.md").read_text()


def test_without_a_compiler_the_cure_is_named(
    good: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = good.journal_map
    assert journal is not None
    engine = Engine(journal, folder)
    monkeypatch.setattr("harness.tools.find_tool", lambda name: None)
    with pytest.raises(InfraError, match="make") as caught:
        engine.recover([])
    assert "apt-get install make" in (caught.value.hint or "")


def test_nothing_to_replay_proves_nothing_and_a_sample_keeps_its_order() -> None:
    assert judge_agreement([]).verdict is Verdict.VOID
    states = [(f"s{n}", "") for n in range(20)]
    drawn = sample(states, 5, 1)
    assert len(drawn) == 5 and drawn == sorted(drawn, key=states.index)
    assert drawn == sample(states, 5, 1) and sample(states, 50, 1) == states


def test_images_become_partitions_and_come_back(good: Case, folder: Path) -> None:
    images = [folder / "a.raw", folder / "b.raw"]
    for image in images:
        sparse_copy(good.base, image)
    before = [image.read_bytes() for image in images]
    disk = folder / "joined.raw"
    places = join(images, disk)
    assert places[0] % 512 == 0 and places[1] - places[0] >= images[0].stat().st_size
    for image, place in zip(images, places, strict=True):
        image.write_bytes(bytes(image.stat().st_size))
        cut_out(disk, place, image)
    assert [image.read_bytes() for image in images] == before
    assert "-le 2 ]" in mounts("/dev/sda", "ext4", 2)
