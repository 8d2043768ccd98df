"""`hurdle variants ...`: what is laid over a Hurd tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.config import parse_overrides
from harness.errors import InfraError, UsageError
from harness.images.cache import Cache
from harness.images.manifest import file_hash
from harness.images.recipe import load_recipe
from harness.images.source.sources import DirSource, GitSource
from harness.progress import say
from harness.variants.build import build_on_host
from harness.variants.expand import expand as expand_tree
from harness.variants.export import Author
from harness.variants.export import export as export_series
from harness.variants.spec import VARIANTS, HurdVariant, load_variants, pick
from harness.variants.tree import chosen_source, open_tree

variants_app = typer.Typer(
    help="Variants of the Hurd's ext2fs (guest-patches/variants.yaml): as trees, as patches, and "
    "in a guest.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A variant's name.")]
Dest = Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")]
Tree = Annotated[
    Path | None,
    typer.Option("--hurd", metavar="TREE", help="A Hurd tree, instead of the variant's source."),
]
File = Annotated[
    Path, typer.Option("--file", metavar="FILE", help="Instead of guest-patches/variants.yaml.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME.KEY=VALUE", help="Change a value of a variant; repeatable."
    ),
]

Guest = Annotated[
    str,
    typer.Option("--guest", "-g", metavar="NAME", help="Recipe in vm-images/, or a recipe's path."),
]
GuestSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeatable."),
]


@variants_app.command("list")
def list_variants(file: File = VARIANTS, settings: Settings = None) -> None:
    """List the variants."""
    table = Table(box=None, header_style="bold")
    for column in ("name", "title", "patches", "tree"):
        table.add_column(column, overflow="fold")
    for name, variant in load_variants(file, parse_overrides(settings or [])).items():
        table.add_row(name, variant.title, str(len(variant.patches)), _shown(variant.where))
    Console().print(table)


@variants_app.command()
def expand(
    name: Name, dest: Dest, hurd: Tree = None, file: File = VARIANTS, settings: Settings = None
) -> None:
    """Write a tree with a variant's patches laid over it.

    Example: hurdle variants expand vanilla --hurd ~/hurd /tmp/vanilla
    """
    variant = pick(load_variants(file, parse_overrides(settings or [])), name)
    with open_tree(_source(variant, hurd)) as tree:
        done = expand_tree(tree, variant, dest)
    for note in done.notes:
        say(note)
    Console().print(f"{name}: {len(variant.patches)} patches laid over {dest}", soft_wrap=True)


@variants_app.command()
def export(
    name: Name,
    dest: Dest,
    hurd: Tree = None,
    author: Annotated[
        str | None,
        typer.Option("--author", metavar="'NAME <MAIL>'", help="Instead of git's user."),
    ] = None,
    file: File = VARIANTS,
    settings: Settings = None,
) -> None:
    """Write a variant as patches for `git am`.

    Example: hurdle variants export ours --hurd ~/hurd /tmp/series
    """
    variant = pick(load_variants(file, parse_overrides(settings or [])), name)
    who = Author.parse(author) if author else Author.of_git()
    with open_tree(_source(variant, hurd)) as tree:
        series = export_series(tree, variant, dest, who)
    Console().print(f"{name}: {len(series)} patches in {dest}", soft_wrap=True)


@variants_app.command()
def build(
    name: Name,
    where: Annotated[
        str, typer.Option(metavar="host|guest", help="By the cross compiler, or in a guest.")
    ] = "host",
    guest: Annotated[
        str, typer.Option("--guest", "-g", metavar="NAME", help="The guest of --where guest.")
    ] = "hurd-i386-source-dev",
    static: Annotated[
        bool,
        typer.Option("--static", help="In the guest make only what the static program is made of."),
    ] = False,
    hurd: Tree = None,
    file: File = VARIANTS,
    settings: Settings = None,
) -> None:
    """Build a variant's ext2fs, with the toolchain of the guest from source.

    What has changed since the last time is compiled.  A warning that the tree without the patches
    does not have is an error.  --where guest builds it on the host and again in the guest, and
    compares the two.

    Example: hurdle variants build ours --hurd ~/hurd
    """
    variant = pick(load_variants(file, parse_overrides(settings or [])), name)
    source = _source(variant, hurd)
    show = Console().print
    if where == "guest":
        _build_in_guest(name, variant, source, guest, static)
        return
    if where != "host":
        raise UsageError(f"--where {where!r} is unknown", hint="use --where host or --where guest")
    made = build_on_host(name, variant, source, Cache.default(), say)
    show(f"{name}: {made.record.version}, {made.record.seconds} s", soft_wrap=True)
    show(str(made.file), soft_wrap=True)


def _build_in_guest(
    name: str, variant: HurdVariant, source: GitSource | DirSource, guest: str, static: bool
) -> None:
    from harness.variants.guestbuild import build_in_guest

    recipe, show = load_recipe(guest), Console().print
    made = build_in_guest(name, variant, source, recipe, Cache.default(), say, static=static)
    record = made.build.record
    show(f"{name}: {record.version}", soft_wrap=True)
    show(f"configure {made.configure_seconds} s, make {made.make_seconds} s", soft_wrap=True)
    compilers = f"{record.compiler} in the guest, {made.host.record.compiler} on the host"
    show(f"{compilers}: {'the same' if made.same_code else 'other'} code", soft_wrap=True)
    show(str(made.build.file), soft_wrap=True)
    if made.same_compiler and not made.same_code:
        raise InfraError(
            f"the same compiler made other code of {name} in the guest than on the host",
            hint="compare the two programs below variants/builds in the cache: objdump -d",
        )


@variants_app.command()
def install(
    name: Name,
    guest: Guest,
    hurd: Tree = None,
    root: Annotated[
        bool, typer.Option("--root", help="Let it serve the guest's root as well.")
    ] = False,
    program: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An ext2fs of your own, instead of building one."),
    ] = None,
    settings: GuestSettings = None,
) -> None:
    """Build a variant and put its ext2fs into a guest's image; try it there.

    The image is a new one, which runs take from now on.  If the guest does not boot with it, or
    can't mount a file system by it, it is rolled back.

    Example: hurdle variants install ours --guest hurd-i386-source
    """
    from harness.variants.install import attempt
    from harness.variants.install import install as put
    from harness.variants.ready import built

    recipe, cache = load_recipe(guest, parse_overrides(settings or [])), Cache.default()
    if program is not None:
        if not program.is_file():
            raise UsageError(f"{program}: no such file", hint="give the path of an ext2fs")
        file, version = program, f"{program.name}, sha256 {file_hash(program)[:12]}"
    else:
        made = built(name, recipe, cache, say, tree=hurd)
        file, version = made.file, made.record.version
    image = put(name, file, version, recipe, cache, say, root=root)
    attempt(name, image, recipe, cache, say)
    Console().print(f"{recipe.name} boots, and mounts by {name}: {version}", soft_wrap=True)


@variants_app.command()
def rollback(guest: Guest, settings: GuestSettings = None) -> None:
    """Take the last installation into a guest's image back."""
    from harness.variants.install import rollback as take_back

    recipe = load_recipe(guest, parse_overrides(settings or []))
    image = take_back(recipe, Cache.default(), say)
    Console().print(f"{recipe.name} is {image.key[:12]} again", soft_wrap=True)


def _shown(where: GitSource | DirSource) -> str:
    return f"commit {where.commit[:12]}" if isinstance(where, GitSource) else str(where.path)


def _source(variant: HurdVariant, hurd: Path | None) -> GitSource | DirSource:
    return chosen_source(variant, hurd, say)
