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
from harness.images.cache import Cache
from harness.images.recipe import load_recipe

image_app = typer.Typer(
    help="Build, list and remove guest images.  They live in a cache, found by their content.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Recipe in vm-images/, or its path.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeatable."),
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
    Console().print(f"cache: {cache.folder}", style="dim", soft_wrap=True)


@image_app.command()
def build(name: Name, settings: Settings = None) -> None:
    """Make an image, unless the cache has it already.

    Examples:

      hurdle image build linux-control

      hurdle image build hurd-local --set kernel=gnumach --set root_image=root.img
    """
    image = build_image(load_recipe(name, parse_overrides(settings or [])), Cache.default(), _say)
    Console().print(f"{image.name} {image.key[:12]} is ready in {image.folder}", soft_wrap=True)


@image_app.command()
def fetch(name: Name, settings: Settings = None) -> None:
    """Fetch what an image is made from, and check it, without building."""
    fetch_image(load_recipe(name, parse_overrides(settings or [])), Cache.default(), _say)


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


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", markup=False, soft_wrap=True)
