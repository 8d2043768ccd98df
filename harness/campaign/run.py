"""`hurdle campaign`: runs in the guest, states, verdicts, report; and going on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.campaign.again import next_disk
from harness.campaign.case import Case, is_case, load_case
from harness.campaign.compare import Line, exit_code
from harness.campaign.guest import Run, record
from harness.campaign.judging import Judging, campaign_lines
from harness.campaign.lists import bench_for, record_lists
from harness.campaign.live import Live
from harness.campaign.recoverers import BUILT_WITH
from harness.campaign.selfcheck import (
    check_list_oracles,
    check_model_oracles,
    check_quick_way,
)
from harness.campaign.smaller import Bounds, make_smaller, to_make_smaller
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.summary import summarise
from harness.campaign.workers import local_workers
from harness.doctor import require
from harness.errors import Exit, HurdleError, UsageError
from harness.events import Bus
from harness.experiment.context import Context, Request
from harness.experiment.mounts import GuestMounts
from harness.experiment.trial import Trial
from harness.experiment.versions import versions
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import Recipe, load_recipe
from harness.machine.accel import Accel, choose_accel
from harness.machine.spec import spec_for
from harness.oracles.selfcheck import selfcheck
from harness.progress import say
from harness.report.campaign_files import write_campaign
from harness.report.jsonl import JsonlWriter
from harness.report.sides import side_table
from harness.rundir import RunDir, claimed
from harness.signals import Stopped
from harness.terminal import Terminal
from harness.tools import tool
from harness.variants.ready import ready_image

RESULTS = "results.sqlite"
_WIDTH = 120  # columns
_BUILT = "guest ext2fs-"  # what the version of a variant's build is called


@dataclass(frozen=True)
class Options:
    """How a campaign is carried out; none of it changes a verdict."""

    out: Path
    workers: int
    command: str
    resume: bool = False
    force: bool = False
    timings: bool = False
    variant: str | None = None
    hurd: Path | None = None  #: a tree to build the one variant from
    until_found: bool = False  #: no case is judged behind one that failed against expectation


def run_campaign(campaign: Campaign, recipe: Recipe, options: Options) -> Exit:
    """Carry out a campaign and write its report; the exit code says how it ended.

    Raises `UsageError` before anything is started, `InfraError` or `GuestError` when host or guest
    break: what was judged until then is in the results, and `--resume` goes on behind it.
    """
    variants = _variants(campaign, recipe, options.variant)
    _require(campaign, recipe)
    image = ready_image(recipe, variants, Cache.default(), say, tree=options.hurd)
    now = versions(recipe, image)
    _claim(options, campaign, recipe, now)
    with ExitStack() as stack:
        rundir = stack.enter_context(RunDir(options.out))
        store = stack.enter_context(Store(options.out / RESULTS))
        _describe(store, campaign, recipe, options, variants, now)
        live = stack.enter_context(Live(_console()))
        with live.phase("self-check: each oracle tells a good image from a bad one"):
            _selfcheck(rundir.scratch)
        workers = (stack.enter_context(local_workers(options.workers)), options.workers)
        judging = Judging(campaign, rundir, store, live, workers)
        runner = _Runner(campaign, recipe, image, judging, live, options)
        try:
            for variant in variants:
                runner.run(variant)
        except (HurdleError, Stopped) as error:
            store.set_meta("broken", f"the campaign did not end: {error}")
            _tell(campaign, store, live, options, [v for v in variants if _ran(store, v)])
            raise
        return exit_code(_tell(campaign, store, live, options, variants))


def _require(campaign: Campaign, recipe: Recipe) -> None:
    """Raise `InfraError` or `UsageError` unless all is there that the campaign works with."""
    require(f"qemu-system-{recipe.machine.arch}", "e2fsck", "debugfs", "mke2fs", "setpriv")
    if campaign.states.engine:
        for program in BUILT_WITH:
            tool(program)
    if campaign.states.linux:
        find_image(load_recipe("linux-control"), Cache.default())


def _describe(
    store: Store,
    campaign: Campaign,
    recipe: Recipe,
    options: Options,
    variants: Sequence[str],
    now: Mapping[str, str],
) -> None:
    """Keep what the results are of."""
    store.set_meta("campaign", campaign.model_dump_json(by_alias=True, exclude_unset=True))
    store.set_meta("command", options.command)
    store.set_meta("guest", recipe.name)
    store.set_meta("machine", recipe.machine.model_dump_json())
    store.set_meta("variants", json.dumps(variants))
    store.set_meta("versions", json.dumps(now))
    store.set_meta("broken", "")
    if store.meta("started") is None:
        store.set_meta("started", datetime.now(UTC).isoformat(timespec="seconds"))


def _selfcheck(scratch: Path) -> None:
    """Raise `InfraError` unless each oracle tells a good example from a bad one."""
    selfcheck(scratch)
    check_model_oracles()
    check_list_oracles(scratch)
    check_quick_way(scratch)


def _ran(store: Store, variant: str) -> bool:
    return any(of == variant for _, of in store.cases())


def _tell(
    campaign: Campaign, store: Store, live: Live, options: Options, variants: Sequence[str]
) -> list[Line]:
    """Write the report and say what it says; also of a campaign that broke, as far as it came."""
    summary = summarise(store, options.out)
    write_campaign(summary, options.out)
    lines = campaign_lines(campaign, store, variants)
    if lines:
        live.table(lines)
        live.sides(side_table([side for side in summary.sides if side.variant in variants]))
    live.note(f"report: {options.out / 'report.html'}, its tables: {options.out / 'table.md'}")
    if summary.next_step:
        live.note(f"smallest failure: {summary.next_words}")
        live.note(f"next: {summary.next_step}")
    if options.timings:
        live.timings(store.seconds(), options.workers)
    return lines


def _console() -> Terminal:
    """The terminal; a file or a pipe gets lines that hold the last table."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=_WIDTH)


def _variants(campaign: Campaign, recipe: Recipe, wanted: str | None) -> tuple[str, ...]:
    """The variants to run: the one wanted, or all that guest and campaign both know."""
    both = tuple(name for name in campaign.expect if name in recipe.variants)
    names = (wanted,) if wanted else both or tuple(campaign.expect)
    for name in names:
        if name not in recipe.variants:
            raise UsageError(
                f"{recipe.name} has no variant {name!r}",
                hint=f"its variants: {', '.join(recipe.variants)}",
            )
        if name not in campaign.expect:
            raise UsageError(
                f"campaign {campaign.name} does not say what to expect of {name!r}",
                hint=f"add `{name}: {{}}` to its `expect`, if every oracle should pass",
            )
    return names


def _claim(options: Options, campaign: Campaign, recipe: Recipe, now: Mapping[str, str]) -> None:
    """Make sure that nothing but an earlier campaign is replaced or continued, as asked.

    What goes on has to be of the same guest and versions (`now`), or its verdicts would be of two.
    """
    out, results = options.out, options.out / RESULTS
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not results.is_file():
        raise UsageError(f"{out} holds something else than a campaign", hint="give another --out")
    if options.force:
        with claimed(out):
            shutil.rmtree(out)
        return
    if not options.resume:
        raise UsageError(
            f"{out} holds an earlier campaign",
            hint="--resume goes on with it, --force replaces it, --out DIR keeps it",
        )
    with Store(results) as store:
        if store.meta("campaign") != campaign.model_dump_json(by_alias=True, exclude_unset=True):
            raise UsageError(
                f"{out} holds a campaign with other settings, which would mix",
                hint="--force replaces it, --out DIR keeps it",
            )
        if changed := _changed(store, recipe, now):
            raise UsageError(
                f"{out} holds a campaign of something else, which would mix: {changed}",
                hint="--force replaces it, --out DIR keeps it",
            )


def _changed(store: Store, recipe: Recipe, now: Mapping[str, str]) -> str:
    """What verdicts depend on and is not as it was when the first were given; in words, or empty.

    Of the file systems that are built into a guest those count that have run: another one may have
    been installed since.
    """
    earlier = store.meta("guest") or recipe.name
    if earlier != recipe.name:
        return f"guest {earlier} then, {recipe.name} now"
    machine = recipe.machine.model_dump_json()
    if (store.meta("machine") or machine) != machine:
        return f"the machine of {recipe.name} has other settings"
    ran = {f"{_BUILT}{variant}" for _, variant in store.cases()}
    then: dict[str, str] = json.loads(store.meta("versions") or "{}")
    for name in then.keys() & now.keys() - {"guest"}:
        if then[name] != now[name] and (not name.startswith(_BUILT) or name in ran):
            return f"{name} {then[name]} then, {now[name]} now"
    return ""


class _Runner:
    """The runs of a campaign in the guest, and their judging."""

    def __init__(
        self,
        campaign: Campaign,
        recipe: Recipe,
        image: Image,
        judging: Judging,
        live: Live,
        options: Options,
    ) -> None:
        self._campaign = campaign
        self._recipe = recipe
        self._image = image
        self._judging = judging
        self._live = live
        self._options = options
        self._accel: Accel | None = None

    def run(self, variant: str) -> None:
        """All runs of a variant, to the last verdict; what is there is not redone."""
        if self._campaign.states.guest:
            mounts = GuestMounts(
                self._recipe, self._image, variant, self._judging.rundir, self._accelerator()
            )
            self._judging = replace(self._judging, guest=mounts)
        if self._campaign.lists is not None:
            cases = self._lists(variant)
            for case in cases:
                self._judging.judge(case)
                if self._options.until_found and self._judging.found(variant):
                    break
            self._make_smaller(variant, cases)
            return
        cases = []
        for seed in self._campaign.seeds:
            for trial in self._campaign.fates:
                name = f"{variant}-{seed}" + (f"-{trial.name}" if trial else "")
                setup = self._campaign.prelude
                steps = self._campaign.workload(seed, trial)
                case = self._case(Run(name, variant, seed, setup, steps), trial)
                self._judging.judge(case)
                cases.append(case)
                self._go_on(case)
        self._make_smaller(variant, cases)

    def _go_on(self, case: Case) -> None:
        """The later rounds of a seed: each begins with a crash state of the one before."""
        first, rounds = case.name, self._campaign.stress.rounds if self._campaign.stress else 1
        for number in range(2, rounds + 1):
            name = f"{first}-{number}"
            disk = self._judging.rundir.scratch / f"{name}.raw"
            start = next_disk(case, self._campaign, disk)
            steps = self._campaign.round(case.seed, number, start)
            run = Run(name, case.variant, case.seed, (), steps, start)
            case = self._case(run, None, disk)
            disk.unlink()
            self._judging.judge(case)

    def _lists(self, variant: str) -> list[Case]:
        with self._live.phase(f"{variant}: op lists in the guest", told=True):
            cases = record_lists(
                self._campaign,
                self._recipe,
                self._image,
                variant,
                self._accelerator(),
                self._judging.rundir,
                versions(self._recipe, self._image),
            )
        self._live.note(f"{variant}: {len(cases)} op lists")
        return cases

    def _make_smaller(self, variant: str, cases: Sequence[Case]) -> None:
        """Leave out operations of failures, as many boots as the campaign allows.

        A guest that breaks by that changes no verdict.
        """
        campaign = self._campaign
        causes = to_make_smaller(campaign, self._judging.store, variant, cases)
        if not causes or self._options.until_found:
            return
        recipe, image, rundir = self._recipe, self._image, self._judging.rundir
        try:
            bench = bench_for(campaign, recipe, image, variant, self._accelerator(), rundir)
            executor, _ = self._judging.workers
            bounds = Bounds(
                *(campaign, bench, rundir, versions(recipe, image)),
                *(campaign.minimise.boots, campaign.minimise.within, executor, self._live),
            )
            make_smaller(bounds, causes, cases)
        except HurdleError as error:
            self._live.note(f"{variant}: operations could not be left out: {error}")

    def _accelerator(self) -> Accel:
        if self._accel is None:
            probe = spec_for(self._recipe, self._image, ())
            accel = self._recipe.machine.accel
            self._accel = choose_accel(accel, probe, self._judging.rundir)
        return self._accel

    def _case(self, run: Run, trial: Trial | None, disk: Path | None = None) -> Case:
        """Carry out a run, on `disk` or on a fresh file system; what is there is not redone."""
        rundir = self._judging.rundir
        folder = rundir.out / run.name
        if is_case(folder):
            return load_case(folder)
        if folder.exists():  # the run was cut off before its evidence was complete
            shutil.rmtree(folder)
        scenario = self._campaign.scenario(run.setup, run.steps)
        command = self._options.command
        request = Request(
            *(scenario, self._recipe, self._image, (run.variant,), command, trial),
            outlives=True,
            base=disk,
        )
        with JsonlWriter(rundir.logs / f"{run.name}.jsonl") as writer:
            bus = Bus(time.monotonic)
            bus.subscribe(self._live.guest(run.name, len(scenario.steps) - 1))
            bus.subscribe(writer)
            context = Context(request, bus, rundir, self._accelerator())
            return record(context, self._campaign, run, versions(self._recipe, self._image))


def default_workers() -> int:
    """A worker for each processor: a state is nearly all e2fsck's time, in one process."""
    return len(os.sched_getaffinity(0))
