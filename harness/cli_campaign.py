"""`hurdle campaign` and `hurdle judge`: options to requests."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.config import load, parse_overrides


def campaign(
    name: Annotated[
        str, typer.Argument(metavar="CAMPAIGN", help="A campaign file, or a shipped one's name.")
    ],
    guest: Annotated[
        str | None,
        typer.Option("--guest", "-g", metavar="NAME", help="Instead of the campaign's guest."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="One variant only; else all it expects of.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the results; else out/CAMPAIGN-GUEST."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; else one per processor.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a campaign that was cut off.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier campaign in the same folder.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the campaign."),
    ] = None,
    guest_settings: Annotated[
        list[str] | None,
        typer.Option("--guest-set", metavar="KEY=VALUE", help="Change a value of the recipe."),
    ] = None,
    hurd: Annotated[
        Path | None,
        typer.Option(metavar="TREE", help="Build the one --variant from this Hurd tree."),
    ] = None,
    timings: Annotated[bool, typer.Option("--timings", help="Print what each phase took.")] = False,
) -> None:
    """Make thousands of crash states of each run's write log, and judge them all.

    Example: hurdle campaign smoke
    """
    from harness.campaign.run import Options, default_workers, run_campaign
    from harness.campaign.spec import Campaign, campaign_path

    spec = load(campaign_path(name), Campaign, parse_overrides(settings or []))
    recipe = spec.recipe(guest, guest_settings or [])
    options = Options(
        out=out or Path("out") / f"{spec.name}-{recipe.name}",
        workers=workers or default_workers(),
        command=shlex.join(["hurdle", *sys.argv[1:]]),
        resume=resume,
        force=force,
        timings=timings,
        variant=variant,
        hurd=hurd,
    )
    raise typer.Exit(int(run_campaign(spec, recipe, options)))


def mutants(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DEFECT]...", help="These defects; else some drawn by seed."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many are drawn.")] = 12,
    seed: Annotated[int, typer.Option(metavar="N", help="By which they are drawn.")] = 1,
    campaigns: Annotated[
        list[str] | None,
        typer.Option(
            "--campaign", metavar="CAMPAIGN", help="What has to notice them; else all mutants*."
        ),
    ] = None,
    variant: Annotated[
        str, typer.Option(metavar="NAME", help="Into which they are planted.")
    ] = "ours",
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder for each, and the report.")
    ] = Path("out/mutants"),
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; else one per processor.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what was found earlier.")] = False,
    hurd: Annotated[
        Path | None, typer.Option(metavar="TREE", help="Build from this Hurd tree.")
    ] = None,
) -> None:
    """Plant defects in the guest's ext2fs, one at a time, and see which oracle notices.

    guest-patches/sim/mutants.txt has them.  Each goes through the campaigns up to the first
    workload with a failure.  0: each was noticed, and nothing fails without one.

    Example: hurdle mutants --seed 1 --count 12
    """
    from harness.campaign.mutants import run_mutants
    from harness.campaign.run import Options, default_workers
    from harness.campaign.spec import Campaign, campaign_path, shipped_campaigns
    from harness.variants.mutants import disk_mutants, draw, named

    wanted = campaigns or [each.stem for each in shipped_campaigns() if "mutants" in each.stem]
    specs = [load(campaign_path(each), Campaign) for each in wanted]
    known = disk_mutants()
    chosen = named(known, names) if names else draw(known, count, seed)
    options = Options(
        out=out,
        workers=workers or default_workers(),
        command=shlex.join(["hurdle", *sys.argv[1:]]),
        resume=resume,
        variant=variant,
        hurd=hurd,
    )
    raise typer.Exit(int(run_mutants([(each, each.recipe()) for each in specs], chosen, options)))


def judge(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder that a campaign saved a failure in, or a run's folder."
        ),
    ],
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the crash state, before recovery."),
    ] = None,
) -> None:
    """Judge a saved failure again, without a guest.  1: it fails again, 0: it does not.

    Example: hurdle judge out/smoke-linux-control/failures/ext2-1-structure-dangling-entry-mkdir
    """
    from harness.campaign.judge_again import judge_again

    raise typer.Exit(int(judge_again(folder, image)))


def report_again(folder: Path) -> None:
    """Write a campaign's report from its results."""
    from harness.campaign.run import RESULTS
    from harness.campaign.store import Store
    from harness.campaign.summary import summarise
    from harness.report.campaign_files import write_campaign

    with Store(folder / RESULTS) as store:
        write_campaign(summarise(store, folder), folder)
    print(f"wrote {folder / 'report.html'}, {folder / 'table.md'} and {folder / 'junit.xml'}")
