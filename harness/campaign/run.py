"""`hurdle campaign`: runs in the guest, states, verdicts, report; and going on after a kill."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.campaign.case import Case, is_case, load_case
from harness.campaign.compare import Count, Line, compare, exit_code
from harness.campaign.guest import record
from harness.campaign.judge import judge_log, judge_states, plan_contents
from harness.campaign.live import Live
from harness.campaign.recovery import chosen_parents, recoveries
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.workers import Content, Source, local_workers
from harness.doctor import require
from harness.errors import Exit, UsageError
from harness.events import Bus
from harness.experiment.context import Context, Request
from harness.experiment.versions import versions
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.machine.accel import Accel, choose_accel
from harness.machine.spec import spec_for
from harness.oracles.selfcheck import selfcheck
from harness.report.jsonl import JsonlWriter
from harness.rundir import RunDir, claimed
from harness.verdicts import CrashModel

RESULTS = "results.sqlite"


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


def run_campaign(campaign: Campaign, recipe: Recipe, options: Options) -> Exit:
    """Carry out a campaign and write its report; the exit code says how it ended.

    Raises `UsageError` before anything is started, `InfraError` or `GuestError` when host or guest
    break: what was judged until then is in the results, and `--resume` goes on behind it.
    """
    variants = _variants(campaign, recipe, options.variant)
    require(f"qemu-system-{recipe.machine.arch}", "e2fsck", "debugfs", "mke2fs", "setpriv")
    image = find_image(recipe, Cache.default())
    _claim(options, campaign)
    with ExitStack() as stack:
        rundir = stack.enter_context(RunDir(options.out))
        store = stack.enter_context(Store(options.out / RESULTS))
        store.set_meta("campaign", campaign.model_dump_json(by_alias=True, exclude_unset=True))
        store.set_meta("command", options.command)
        live = stack.enter_context(Live(Console()))
        with live.phase("self-check: each oracle tells a good image from a bad one"):
            selfcheck(rundir.scratch)
        runner = _Runner(campaign, recipe, image, rundir, store, live, options)
        for variant in variants:
            for seed in campaign.seeds:
                runner.run(variant, seed)
        lines = runner.lines(variants)
        phases = store.seconds()
    live.table(lines)
    if options.timings:
        live.timings(phases, options.workers)
    return exit_code(lines)


def _variants(campaign: Campaign, recipe: Recipe, wanted: str | None) -> tuple[str, ...]:
    """The variants to run: all that the campaign expects something of, or the one wanted."""
    names = (wanted,) if wanted else tuple(campaign.expect)
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


def _claim(options: Options, campaign: Campaign) -> None:
    """Make sure that nothing but an earlier campaign is replaced or continued, as asked."""
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


class _Runner:
    """One campaign while it is carried out."""

    def __init__(
        self,
        campaign: Campaign,
        recipe: Recipe,
        image: Image,
        rundir: RunDir,
        store: Store,
        live: Live,
        options: Options,
    ) -> None:
        self._campaign = campaign
        self._recipe = recipe
        self._image = image
        self._rundir = rundir
        self._store = store
        self._live = live
        self._options = options
        self._accel: Accel | None = None

    def run(self, variant: str, seed: int) -> None:
        """One run of a variant, from power on to the last verdict; what is there is not redone."""
        name = f"{variant}-{seed}"
        case = self._case(name, variant, seed)
        with self._live.phase(f"{name}: planning states"):
            began = time.monotonic()
            cuts = tuple(case.plan(self._campaign).cuts())
            contents = plan_contents(case.base, case.log, cuts)
            self._store.add_seconds({"plan": time.monotonic() - began})
        self._store.add_case(name, variant)
        self._store.set_planned(name, Counter(cut.model for cut in cuts))
        judge_log(case, self._store)
        self._live.note(
            f"{name}: {len(case.log.writes)} writes, {len(case.log.flushes)} flushes, "
            f"{len(case.commits)} commits; {len(cuts)} states, {len(contents)} distinct"
        )
        workers = self._options.workers
        began = time.monotonic()
        with local_workers(workers) as executor:
            try:
                self._judge(case, [(Source(case.folder), contents)], executor)
                self._judge(case, self._recoveries(case), executor)
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise
        self._store.add_seconds({"judging, wall": time.monotonic() - began})

    def _judge(
        self, case: Case, work: Sequence[tuple[Source, Sequence[Content]]], executor: Executor
    ) -> None:
        if not work:
            return
        kind = "states" if work[0][0].parent is None else "crashes in recovery"
        workers = (executor, self._options.workers)
        with self._live.states(f"{case.name}: {kind}") as report:
            judge_states(case, work, self._store, workers, self._rundir.scratch, report)

    def _recoveries(self, case: Case) -> list[tuple[Source, tuple[Content, ...]]]:
        states = self._campaign.states
        replayed = self._store.replayed(case.name)
        parents = chosen_parents(replayed, states.recovery, states.seed)
        with self._live.phase(f"{case.name}: recovering {len(parents)} states, logged"):
            work = list(recoveries(case, parents, states.in_recovery, self._rundir))
        planned = sum(len(content.cuts) for _, contents in work for content in contents)
        self._store.set_planned(case.name, {CrashModel.RECOVERY: planned})
        return work

    def _case(self, name: str, variant: str, seed: int) -> Case:
        folder = self._rundir.out / name
        if is_case(folder):
            return load_case(folder)
        if folder.exists():  # the run was cut off before its evidence was complete
            shutil.rmtree(folder)
        scenario = self._campaign.scenario(seed)
        request = Request(scenario, self._recipe, self._image, (variant,), self._options.command)
        if self._accel is None:
            probe = spec_for(self._recipe, self._image, ())
            self._accel = choose_accel(self._recipe.machine.accel, probe, self._rundir)
        with JsonlWriter(self._rundir.logs / f"{name}.jsonl") as writer:
            bus = Bus(time.monotonic)
            bus.subscribe(self._live.guest(name, len(scenario.steps) - 1))
            bus.subscribe(writer)
            context = Context(request, bus, self._rundir, self._accel)
            return record(
                context, self._campaign, variant, seed, name, versions(self._recipe, self._image)
            )

    def lines(self, variants: Iterable[str]) -> list[Line]:
        """What was found against what was expected, for every variant."""
        lines = []
        counts = self._store.counts()
        for variant in variants:
            own: list[Count] = []
            planned: Counter[CrashModel] = Counter()
            for name in (case for case, of in self._store.cases() if of == variant):
                own += [count for count in counts if count[0] == name]
                planned.update(self._store.planned(name))
                own += [
                    (name, CrashModel.PREFIX, each.oracle, each.verdict, 1)
                    for each in self._store.log_verdicts(name)
                ]
            lines += compare(self._campaign, variant, own, planned)
        return lines


def default_workers() -> int:
    """A worker for each processor: a state is nearly all e2fsck's time, in one process."""
    return len(os.sched_getaffinity(0))
