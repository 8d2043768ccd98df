"""A run from request to report: every variant is crashed, judged and compared."""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from harness.doctor import require
from harness.errors import Exit, GuestError, HurdleError, InfraError, UsageError
from harness.events import (
    Bus,
    Compared,
    Event,
    Note,
    ObjectExpected,
    RunBegan,
    RunEnded,
    TextKept,
    VerdictGiven,
)
from harness.experiment.context import Context, Request
from harness.experiment.crash import crash
from harness.experiment.expect import choose_variants, compare, exit_code
from harness.experiment.judge import judge
from harness.experiment.versions import versions
from harness.images.cache import Cache
from harness.images.recipe import Recipe
from harness.machine.accel import choose_accel
from harness.machine.spec import spec_for
from harness.oracles.selfcheck import selfcheck
from harness.progress import say
from harness.report.display import Display, timings_table
from harness.report.html import write_all
from harness.report.jsonl import JsonlWriter
from harness.rundir import RunDir, claimed
from harness.signals import Stopped
from harness.terminal import Terminal
from harness.variants.ready import ready_image
from harness.verdicts import SCENARIO_ORACLES, CrashModel, Verdict
from harness.workloads.scenario import Fields, Scenario

RESULTS = "results.jsonl"


def run_experiment(
    scenario: Scenario,
    recipe: Recipe,
    *,
    variant: str | None,
    out: Path,
    command: str,
    force: bool = False,
    timings: bool = False,
    hurd: Path | None = None,
) -> Exit:
    """Run a scenario on a guest and write the report; the exit code says how it ended.

    A variant that the recipe builds is brought up to date first; `hurd` is a tree to build the one
    variant from.
    `out` is created; a folder that holds an earlier run is replaced only with `force`.
    Raises `UsageError` before anything is started.  A guest or host that breaks later ends in the
    report as INFRA, with what was seen until then.
    """
    variants = choose_variants(scenario, recipe, variant)
    qemu = f"qemu-system-{recipe.machine.arch}"
    require(qemu, "qemu-nbd", "e2fsck", "debugfs", "mke2fs", "setpriv", "sfdisk")
    image = ready_image(recipe, variants, Cache.default(), say, tree=hurd)
    _claim(out, force)
    request = Request(scenario, recipe, image, variants, command)
    seen: list[Event] = []
    console = Terminal()
    with RunDir(out) as rundir, JsonlWriter(rundir.out / RESULTS) as writer:
        bus = Bus(time.monotonic)
        bus.subscribe(seen.append)
        with Display(console, rundir.out) as display:
            bus.subscribe(display)
            bus.subscribe(writer)  # last: a full disk stops it, and the others must know all
            code = _guarded(request, bus, rundir, seen)
    _write_reports(seen, rundir.out)
    if timings:
        console.print(timings_table(seen))
    return code


def _write_reports(seen: list[Event], out: Path) -> None:
    """The reports are made from events: a disk that is full now costs no result."""
    try:
        write_all(seen, out)
    except OSError as error:
        print(f"hurdle: the report can't be written: {error}", file=sys.stderr)
        print(f"what to do: free some space, then `hurdle report {out}`", file=sys.stderr)


def _claim(out: Path, force: bool) -> None:
    """Make sure that nothing but an earlier run is replaced, and that only when asked."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / RESULTS).is_file():
        raise UsageError(f"{out} holds something else than a run", hint="give another --out")
    if not force:
        raise UsageError(
            f"{out} holds an earlier run", hint="--force replaces it; --out DIR keeps it"
        )
    with claimed(out):
        shutil.rmtree(out)


def _guarded(request: Request, bus: Bus, rundir: RunDir, seen: list[Event]) -> Exit:
    """Run, and end the stream of events whatever happens, so that every report has an ending."""
    try:
        code, message, hint = _run(request, bus, rundir, seen)
    except HurdleError as error:
        code, message, hint = error.exit_code, str(error), error.hint or ""
    except OSError as error:  # the run's own files: evidence that can't be written is no verdict
        code, message = Exit.INFRA, f"the host failed: {error}"
        hint = "free some space, or give --out a folder on a larger disk"
    except Stopped as stop:
        _end(bus, stop.exit_code, f"stopped by {stop} before the end", "")
        _write_reports(seen, rundir.out)
        raise
    except Exception as bug:  # what was seen until then is worth a report, whoever is to blame
        _end(bus, Exit.BUG, f"hurdle itself failed: {bug!r}", "this is a bug: please report it")
        _write_reports(seen, rundir.out)
        raise
    _end(bus, code, message, hint)
    return code


def _end(bus: Bus, code: Exit, message: str, hint: str) -> None:
    with suppress(OSError):  # a full disk must not hide how the run ended
        bus.emit(RunEnded(exit_code=code, message=message, hint=hint))


def _run(request: Request, bus: Bus, rundir: RunDir, seen: list[Event]) -> tuple[Exit, str, str]:
    """The ending: exit code, message, hint."""
    scenario, recipe = request.scenario, request.recipe
    probe = spec_for(recipe, request.image, ())
    accel = choose_accel(recipe.machine.accel, probe, rundir)
    bus.emit(_began(request, accel.name, accel.reason))
    for each in scenario.objects:
        bus.emit(ObjectExpected(path=each.path, was=_plain(each.was), now=_plain(each.now)))
    context = Context(request, bus, rundir, accel)
    with context.phase("", "self-check", "each oracle tells a good image from a bad one"):
        selfcheck(rundir.scratch)
    broken: list[HurdleError] = []
    lines: list[Compared] = []
    for variant in request.variants:
        try:
            judge(context, crash(context, variant))
        except (GuestError, InfraError) as error:
            broken.append(error)
            _report_broken(context, variant, error, seen)
        given = [event for event in seen if isinstance(event, VerdictGiven)]
        for line in compare(scenario, variant, given):
            lines.append(line)
            bus.emit(line)
    if broken:
        return broken[0].exit_code, str(broken[0]), broken[0].hint or ""
    return exit_code(lines), _summary(lines), ""


def _summary(lines: list[Compared]) -> str:
    wrong = [line for line in lines if not line.ok]
    if not wrong:
        return "every verdict is the expected one"
    first = wrong[0]
    return (
        f"{len(wrong)} of {len(lines)} expectations not met, first: {first.variant}, "
        f"{first.oracle} over {first.model}: expected {first.expected}, found {first.found}"
    )


def _report_broken(context: Context, variant: str, error: HurdleError, seen: list[Event]) -> None:
    """A guest or host that broke: the reason, and INFRA for every oracle that has not finished.

    An oracle has finished with the single state of a kill or cut once it spoke; with the row of
    prefixes never, as the rest of the row is missing.
    """
    finished = {
        (event.model, event.oracle)
        for event in seen
        if isinstance(event, VerdictGiven)
        and event.variant == variant
        and event.model is not CrashModel.PREFIX
    }
    context.bus.emit(Note(level="error", text=str(error), variant=variant))
    if isinstance(error, GuestError) and error.console:
        context.bus.emit(
            TextKept(variant=variant, title="console when it broke", text=error.console)
        )
    for model in context.request.scenario.models:
        for oracle in SCENARIO_ORACLES:
            if (model, oracle) in finished:
                continue
            context.bus.emit(
                VerdictGiven(
                    verdict=Verdict.INFRA,
                    oracle=oracle,
                    scenario=context.request.scenario.name,
                    guest=context.request.recipe.name,
                    variant=variant,
                    model=model,
                    state="none",
                    reason=str(error).splitlines()[0],
                    evidence=f"logs/qemu-{variant}.log",
                )
            )


def _began(request: Request, accel: str, reason: str) -> RunBegan:
    recipe = request.recipe
    return RunBegan(
        run_id=uuid.uuid4().hex[:12],
        scenario=request.scenario.name,
        title=request.scenario.title,
        guest=recipe.name,
        guest_title=recipe.title,
        os=str(recipe.os),
        variants=request.variants,
        accel=accel,
        accel_reason=reason,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        versions=versions(request.recipe, request.image),
    )


def _plain(fields: Fields | str) -> dict[str, str] | None:
    if isinstance(fields, str):
        return None
    return {name: str(value) for name, value in fields.model_dump(exclude_none=True).items()}
