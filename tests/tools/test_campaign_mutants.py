"""Planted defects of the journal: what counts as found.  The guest's part is played by logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from harness.campaign import mutants
from harness.campaign.case import Case
from harness.campaign.judging import Judging
from harness.campaign.live import Live
from harness.campaign.run import RESULTS, Options
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.workers import local_workers
from harness.errors import Exit, GuestError, UsageError
from harness.images.recipe import Recipe, load_recipe
from harness.rundir import RunDir
from harness.variants.build import Build
from harness.variants.mutants import Mutant
from tests.pure.write_logs import flush
from tests.tools.cases import before_and_after, campaign, case, journaled
from tests.tools.images import folder_in_memory

pytestmark = pytest.mark.tools

FLUSHLESS, DEADLY, HARMLESS = (Mutant(n, {}) for n in ("flushless", "deadly", "harmless"))


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as found:
        yield found


def recipe() -> Recipe:
    """The Hurd guest, whose variant `ours` is called as the tests' campaign calls its own."""
    found = load_recipe("hurd-i386-source")
    return found.model_copy(update={"variants": {"made": found.variants["ours"]}})


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place where each defect leaves the log that its name says."""
    base, changed = before_and_after(folder, "ext3")
    items = journaled(base, changed, folder)
    flushless = [item for n, item in enumerate(items) if item != flush() or n < 2]
    file = folder / "ext2fs"
    file.write_bytes(b"program")

    def logged(name: str) -> Case:
        return case(folder, base, flushless if name == "flushless" else items)

    def guestless(wanted: Campaign, planted: Recipe, options: Options) -> Exit:
        described = planted.variants["made"]
        assert described.build is None and described.file is not None
        assert options.until_found is (_defect(options) != "none")
        if _defect(options) == "deadly":
            with Store(_made(options.out) / RESULTS):
                raise GuestError("the guest panicked")
        with (
            RunDir(options.out, base=folder) as rundir,
            Store(options.out / RESULTS) as store,
            Live(Console(quiet=True)) as live,
            local_workers(1) as executor,
        ):
            Judging(wanted, rundir, store, live, (executor, 1)).judge(logged(_defect(options)))
        return Exit.OK

    monkeypatch.setattr(mutants, "run_campaign", guestless)
    monkeypatch.setattr(mutants, "build_mutant", lambda *_, **__: Build(file, None))  # type: ignore[arg-type]
    yield folder / "out"


def _defect(options: Options) -> str:
    """Its folder has one for each campaign."""
    return options.out.parent.name


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)  # a guest that breaks gets a second try
    return folder


def options(out: Path, *, resume: bool = False) -> Options:
    return Options(out, 1, "hurdle mutants", resume=resume, variant="made")


def test_a_defect_is_found_by_an_oracle_or_by_the_guest_or_missed(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = campaign(torn=0, recovery=0, lying=0)
    wanted = [(one.model_copy(update={"name": name}), recipe()) for name in ("first", "second")]
    code = mutants.run_mutants(wanted, (FLUSHLESS, DEADLY, HARMLESS), options(run))
    assert code is Exit.UNEXPECTED  # one was missed
    said = capfd.readouterr().err
    assert "none: noticed by nobody" in said and "harmless: noticed by nobody" in said
    assert "deadly: noticed by the guest in first" in said and "2 of 3 found" in said
    (found,) = (line for line in said.splitlines() if line.startswith("flushless: noticed"))
    assert "barrier" in found and "structure" in found and "in first;" in found
    assert not (run / "flushless" / "second").exists() and (run / "harmless" / "second").exists()
    page = (run / "report.html").read_text()
    assert "1 defect of the journal went unnoticed" in page and "the guest panicked" in page
    (run / "none" / "first" / RESULTS).unlink()
    again = mutants.run_mutants(wanted, (FLUSHLESS,), options(run, resume=True))
    assert again is Exit.OK


def test_only_a_variant_that_is_built_can_have_a_defect(folder: Path) -> None:
    with pytest.raises(UsageError, match="no defect can be planted"):
        mutants.run_mutants([(campaign(), load_recipe("linux-control"))], (), options(folder))
