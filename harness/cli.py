"""The command line: options to requests, errors to exit codes.  Nothing is decided here."""

from __future__ import annotations

import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness import __version__, sources
from harness.cli_campaign import campaign, judge, mutants
from harness.cli_image import image_app
from harness.cli_variants import variants_app
from harness.config import load, parse_overrides
from harness.errors import Exit, GuestError, HurdleError, UsageError
from harness.images.recipe import load_recipe
from harness.rundir import reap
from harness.signals import Stopped, stopping
from harness.workloads.scenario import Scenario, scenario_path, shipped_scenarios

_EXITS = """
[bold]Exit codes[/bold]

[bold]0[/bold] every verdict is the expected one · [bold]1[/bold] a verdict differs ·
[bold]2[/bold] wrong option, recipe or scenario · [bold]3[/bold] QEMU, the host or a tool broke ·
[bold]4[/bold] the guest panicked, hung or never answered ·
[bold]5[/bold] nothing unexpected, but a verdict is VOID · [bold]70[/bold] a bug of hurdle ·
[bold]130[/bold] Ctrl-C · [bold]141[/bold] a closed pipe · [bold]143[/bold] SIGTERM
"""

app = typer.Typer(
    name="hurdle",
    help="Crash-test a journaling file system inside GNU/Hurd.\n\n"
    "Boots a guest under QEMU, runs a workload on a second disk, kills QEMU, lets recovery run, "
    "and judges what is left.",
    epilog=_EXITS,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(image_app, name="image")
app.add_typer(variants_app, name="variants")

GuestOption = Annotated[
    str,
    typer.Option("--guest", "-g", metavar="NAME", help="Recipe in vm-images/, or a recipe's path."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeatable."),
]


@app.command(epilog=_EXITS)
def run(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A scenario file, or a shipped one's name.")
    ],
    guest: GuestOption,
    variant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="One variant only; else all that both sides know."),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(metavar="second|root", help="Crash this disk instead of the scenario's."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the results; else out/SCENARIO-GUEST."),
    ] = None,
    accel: Annotated[
        str | None,
        typer.Option(metavar="auto|kvm|tcg", help="Instead of the recipe's; kvm tries it anew."),
    ] = None,
    settings: SetOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier run in the same folder.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Boot the guest, though a saved state of it may do.")
    ] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Print what each phase took.")] = False,
    hurd: Annotated[
        Path | None,
        typer.Option(metavar="TREE", help="Build --variant from this Hurd tree, and put it in."),
    ] = None,
) -> None:
    """Crash a guest once for each variant and judge what recovery makes of it.

    Example: hurdle run directory --guest linux-control
    """
    from harness.experiment.run import run_experiment  # heavy imports only where they serve

    spec = load(scenario_path(scenario), Scenario, {"disk.which": disk} if disk else None)
    overrides = parse_overrides(settings or [])
    if accel is not None:
        overrides["machine.accel"] = accel
    if cold:
        overrides["boot.warm"] = "false"
    recipe = load_recipe(guest, overrides)
    folder = out or Path("out") / "-".join(filter(None, (spec.name, disk, recipe.name)))
    command = shlex.join(["hurdle", *sys.argv[1:]])
    code = run_experiment(
        spec,
        recipe,
        variant=variant,
        out=folder,
        force=force,
        command=command,
        timings=timings,
        hurd=hurd,
    )
    raise typer.Exit(int(code))


app.command(epilog=_EXITS)(campaign)
app.command()(judge)
app.command(epilog=_EXITS)(mutants)


@app.command()
def scenarios(
    names: Annotated[bool, typer.Option("--names", help="Names only, for scripts.")] = False,
    guest: Annotated[
        str | None,
        typer.Option("--guest", "-g", metavar="NAME", help="Those with a variant of this guest."),
    ] = None,
) -> None:
    """List the scenarios that come with hurdle."""
    known = set(load_recipe(guest).variants) if guest else None
    found = [load(path, Scenario) for path in shipped_scenarios()]
    found = [each for each in found if known is None or known & set(each.expect)]
    if names:
        print("\n".join(each.name for each in found))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("name")
    table.add_column("what happens")
    table.add_column("expectations for")
    for spec in found:
        table.add_row(spec.name, spec.title, ", ".join(spec.expect))
    Console().print(table)


@app.command()
def shell(
    guest: GuestOption,
    via: Annotated[
        str, typer.Option(metavar="console|ssh", help="The serial console, or SSH.")
    ] = "console",
    variant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Mount a new file system by this variant."),
    ] = None,
    hurd: Annotated[
        Path | None,
        typer.Option(metavar="TREE", help="Build --variant from this Hurd tree, and put it in."),
    ] = None,
    settings: SetOption = None,
) -> None:
    """Boot a guest and hand its console or an SSH session to you.  Ctrl-] leaves and ends it."""
    from harness.experiment.shell import open_shell

    if via not in ("console", "ssh"):
        raise UsageError(f"--via {via!r} is unknown", hint="use --via console or --via ssh")
    recipe = load_recipe(guest, parse_overrides(settings or []))
    open_shell(recipe, via, variant=variant, hurd=hurd)


@app.command()
def doctor() -> None:
    """Say what this host can do, and the cure for what it can't.  A no ends with exit code 3."""
    from harness.doctor import checks

    table = Table(box=None, header_style="bold")
    for column in ("", "check", "found", "cure"):
        table.add_column(column, overflow="fold")
    found = checks()
    marks = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "[yellow]?[/yellow]"}
    for check in found:
        table.add_row(marks[check.ok], check.name, check.found, "" if check.ok else check.cure)
    Console().print(table)
    if any(check.ok is False for check in found):
        raise typer.Exit(int(Exit.INFRA))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
) -> None:
    """Write report.html and junit.xml again from the results of a run or a campaign."""
    if (folder / "results.sqlite").is_file():
        from harness.cli_campaign import report_again

        report_again(folder)
        return
    from harness.report.html import write_all
    from harness.report.jsonl import read_events

    results = folder / "results.jsonl"
    if not results.is_file():
        raise UsageError(f"{results} is missing", hint="give the folder of a run (its --out)")
    write_all(read_events(results), folder)
    Console().print(f"wrote {folder / 'report.html'} and {folder / 'junit.xml'}")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hurdle {__version__}, sources {sources()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    for line in reap():
        Console(stderr=True).print(f"removed what an earlier, killed run left: {line}", style="dim")


def main() -> None:
    """Entry point of the command `hurdle`."""
    try:
        with stopping():
            app()
    except HurdleError as error:
        _complain(error)
        sys.exit(int(error.exit_code))
    except Stopped as stop:
        print(f"hurdle: {stop}: everything that was started has been ended", file=sys.stderr)
        sys.exit(int(stop.exit_code))
    except Exception:
        traceback.print_exc()
        print(
            "hurdle: this is a bug of hurdle; please report it with the lines above",
            file=sys.stderr,
        )
        sys.exit(int(Exit.BUG))


def _complain(error: HurdleError) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]hurdle:[/bold red] ", end="")
    console.print(str(error), markup=False)
    if isinstance(error, GuestError) and error.console:
        console.print("the guest's last words:", style="bold")
        console.print(error.console, markup=False, style="dim")
    if error.hint:
        console.print("[bold]what to do:[/bold] ", end="")
        console.print(error.hint, markup=False)
