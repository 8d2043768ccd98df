"""`hurdle image ...`: the cache of guest images."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from harness.config import parse_overrides
from harness.errors import UsageError
from harness.images.builders import build_image, fetch_image
from harness.images.cache import Cache, CachedImage
from harness.images.meter import Meter, bar
from harness.images.parts import ABOUT, Part, free, sizes
from harness.images.recipe import PreinstalledRecipe, Recipe, load_recipe, recipe_path
from harness.progress import say

image_app = typer.Typer(
    help="Pin, fetch, build, list and remove guest images.  They live in a cache, found by their "
    "content.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Recipe in vm-images/, or its path.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeatable."),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        envvar="HURDLE_MIRROR",
        help="Fetch a pre-installed image from here, instead of the recipe's download.mirror.",
    ),
]


@image_app.command("list")
def list_images(
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file again.")] = False,
) -> None:
    """List the images in the cache."""
    cache = Cache.default()
    table = Table(box=None, header_style="bold")
    for column in ("name", "key", "size", "built", "state"):
        table.add_column(column)
    for each in cache.list(verify=verify):
        table.add_row(each.name, each.key[:12], decimal(each.size_bytes), each.built, each.state)
    Console().print(table)
    beside = ", ".join(f"{part} {decimal(size)}" for part, size in sizes(cache).items())
    Console().print(f"cache: {cache.folder}; beside images: {beside}", style="dim", soft_wrap=True)


@image_app.command()
def build(name: Name, settings: Settings = None, mirror: Mirror = None) -> None:
    """Make an image, unless the cache has it already.

    Examples:

      hurdle image build linux-control

      hurdle image build hurd-local --set kernel=gnumach --set root_image=root.img

      hurdle image build debian-hurd-i386
    """
    image = build_image(_recipe(name, settings, mirror), Cache.default(), say, _meter())
    Console().print(f"{image.name} {image.key[:12]} is ready in {image.folder}", soft_wrap=True)


@image_app.command()
def fetch(name: Name, settings: Settings = None, mirror: Mirror = None) -> None:
    """Fetch what an image is made from, and check it, without building.

    A download that broke off goes on where it was.
    """
    fetch_image(_recipe(name, settings, mirror), Cache.default(), say, _meter())


@image_app.command()
def pin(name: Name, mirror: Mirror = None) -> None:
    """Write the checksum of a pre-installed image into its recipe, as the server gives it.

    The recipe is edited in place, one line, so that the pin can be seen and committed.  What the
    server says is believed this once; from then on only that very file is taken.

    Example: hurdle image pin debian-hurd-i386
    """
    from harness.images.preinstalled.pin import ask, write_pin

    recipe = _recipe(name, None, mirror)
    if not isinstance(recipe, PreinstalledRecipe):
        raise UsageError(
            f"{recipe.name} is no pre-installed image, so there is nothing to pin",
            hint="its recipe says what it is made from",
        )
    pinned = ask(recipe.download)
    path = recipe_path(name)
    before = write_pin(path, pinned.checksum)
    say(f"{pinned.source} says of {pinned.file}:")
    said = f"pinned {pinned.checksum} in {path}"
    if before == str(pinned.checksum):
        said = f"{path} has that pin already: {pinned.checksum}"
    elif before:
        said += f", in place of {before}"
    Console().print(said, soft_wrap=True)


@image_app.command()
def prune(
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=1, help="Builds of each image that stay.")
    ] = 1,
    also: Annotated[
        list[Part] | None,
        typer.Option("--also", help="A part of the cache to remove as well; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Remove older builds of the images in the cache, and damaged ones.

    The build that `hurdle variants rollback` goes back to stays; `hurdle image rm` removes all.
    --also frees what the cache keeps beside images, all of which comes back by itself: downloads
    (fetched disk images), states (saved machine states: the next run boots once), variants (their
    trees and builds: a minute or two to compile), source (a guest from source: the next build
    begins with nothing).

    Example: hurdle image prune --also states --also variants
    """
    cache, show = Cache.default(), Console().print
    done = "would remove" if dry_run else "removed"
    doomed = cache.prune(keep, dry_run=dry_run)
    for each in doomed:
        show(f"{done} {_described(each)}", soft_wrap=True)
    for each in cache.list():
        if each.rollback and keep == 1:
            show(f"kept {_described(each)}", soft_wrap=True)
    total = sum(each.size_bytes for each in doomed)
    for part in dict.fromkeys(also or []):
        size = free(part, cache, dry_run=dry_run)
        show(f"{done} {ABOUT[part].holds} ({decimal(size)}): {ABOUT[part].again}", soft_wrap=True)
        total += size
    show(f"{decimal(total)} {'would be' if dry_run else 'are'} free", style="dim")


def _described(image: CachedImage) -> str:
    return f"{image.name} {image.key[:12]} ({decimal(image.size_bytes)}, {image.state})"


@image_app.command()
def rm(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `hurdle image list` shows it.")],
) -> None:
    """Remove an image from the cache, in all its builds."""
    removed = Cache.default().remove(name)
    if not removed:
        raise UsageError(f"the cache has no image {name!r}", hint="`hurdle image list` shows all")
    for each in removed:
        Console().print(f"removed {each.name} {each.key[:12]} ({decimal(each.size_bytes)})")


def _recipe(name: str, settings: list[str] | None, mirror: str | None) -> Recipe:
    """The recipe with what the command line changes in it; a mirror only where one serves."""
    overrides = parse_overrides(settings or [])
    recipe = load_recipe(name, overrides)
    if mirror is None or not isinstance(recipe, PreinstalledRecipe):
        return recipe
    return load_recipe(name, {"download.mirror": mirror, **overrides})


def _meter() -> Meter:
    return bar(Console(stderr=True))
