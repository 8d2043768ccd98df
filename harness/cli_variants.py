"""`hurdle variants ...`: what is laid over a Hurd tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.config import parse_overrides
from harness.images.cache import Cache
from harness.images.source.sources import DirSource, GitSource
from harness.variants.build import build_on_host
from harness.variants.expand import expand as expand_tree
from harness.variants.export import Author
from harness.variants.export import export as export_series
from harness.variants.spec import VARIANTS, HurdVariant, load_variants, pick
from harness.variants.tree import commit_of, open_tree

variants_app = typer.Typer(
    help="List, expand and export variants of the Hurd's ext2fs (guest-patches/variants.yaml).",
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
        _note(note)
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
    hurd: Tree = None,
    file: File = VARIANTS,
    settings: Settings = None,
) -> None:
    """Build a variant's ext2fs, with the toolchain of the guest from source.

    What has changed since the last time is compiled.  A warning that the tree without the patches
    does not have is an error.

    Example: hurdle variants build ours --hurd ~/hurd
    """
    variant = pick(load_variants(file, parse_overrides(settings or [])), name)
    made = build_on_host(name, variant, _source(variant, hurd), Cache.default(), _note)
    show = Console().print
    show(f"{name}: {made.record.version}, {made.record.seconds} s", soft_wrap=True)
    show(str(made.file), soft_wrap=True)


def _shown(where: GitSource | DirSource) -> str:
    return f"commit {where.commit[:12]}" if isinstance(where, GitSource) else str(where.path)


def _source(variant: HurdVariant, hurd: Path | None) -> GitSource | DirSource:
    """The tree to take; a word about one that is not at the variant's own commit."""
    if hurd is None:
        return variant.where
    tree = hurd.expanduser().absolute()
    at, meant = commit_of(tree), variant.where
    if at and isinstance(meant, GitSource) and not at.startswith(meant.commit):
        _note(f"{tree} is at {at[:12]}; the variant's own tree is {meant.commit[:12]}")
    return DirSource(tree)


def _note(text: str) -> None:
    Console(stderr=True).print(text, style="dim", markup=False, soft_wrap=True)
