"""One way to make and find an image, whatever kind its recipe is."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import UsageError
from harness.images import control, local
from harness.images.cache import Cache, Progress
from harness.images.image import Image
from harness.images.meter import Meter, no_meter
from harness.images.recipe import ControlRecipe, MultibootRecipe, PreinstalledRecipe, Recipe


def build_image(recipe: Recipe, cache: Cache, progress: Progress, meter: Meter = no_meter) -> Image:
    """Make the image, or return the one in the cache if nothing that it is made from has changed.

    `progress` is told each step, `meter` shows how far a long one is.  Raises `UsageError` for what
    is wrong with the recipe and `InfraError` for what is wrong with the host or the network.
    """
    with cache.writing():
        return _build(recipe, cache, progress, meter)


def _build(recipe: Recipe, cache: Cache, progress: Progress, meter: Meter) -> Image:
    if isinstance(recipe, ControlRecipe):
        return control.build_control(recipe, cache, progress)
    if isinstance(recipe, MultibootRecipe):
        return local.import_local(recipe, cache, progress)
    # Large parts that only one kind of guest needs.
    if isinstance(recipe, PreinstalledRecipe):
        from harness.images.preinstalled.build import build_preinstalled

        return build_preinstalled(recipe, cache, progress, meter)
    from harness.images.source.guest import build_source

    return build_source(recipe, cache, progress)


def fetch_image(recipe: Recipe, cache: Cache, progress: Progress, meter: Meter = no_meter) -> None:
    """Bring what the image is made from into the cache and verify it, without building."""
    with cache.writing():
        _fetch(recipe, cache, progress, meter)


def _fetch(recipe: Recipe, cache: Cache, progress: Progress, meter: Meter) -> None:
    if isinstance(recipe, ControlRecipe):
        debs = control.fetch_control(recipe, cache, progress)
        progress(f"{len(debs)} packages are in the cache and verified")
    elif isinstance(recipe, MultibootRecipe):
        local.check_files(recipe)
        progress(f"{recipe.name} is made from files of this host; nothing to fetch")
    elif isinstance(recipe, PreinstalledRecipe):
        from harness.images.preinstalled.build import fetch_preinstalled

        path = fetch_preinstalled(recipe, cache, progress, meter)
        progress(f"{path} is verified")
    else:
        from harness.images.source.guest import fetch_source

        fetch_source(recipe, cache, progress)


def lookup(recipe: Recipe, cache: Cache, key: str | None = None) -> Image | None:
    """The recipe's image, or the one of its images with that key, if the cache has it.

    What only the start needs comes from the recipe.
    """
    image = cache.find(recipe.name, key=key, made_from=_made_from(recipe))
    if image is None:
        return None
    boot = replace(image.boot, cmdline=recipe.boot.cmdline)
    if isinstance(recipe, MultibootRecipe):
        if len(recipe.modules) != len(boot.modules):
            return None
        arguments = [module.args for module in recipe.modules.values()]
        files = [file for file, _ in boot.modules]
        boot = replace(boot, modules=tuple(zip(files, arguments, strict=True)))
    return replace(image, boot=boot)


def find_image(recipe: Recipe, cache: Cache, key: str | None = None) -> Image:
    """As `lookup`; `UsageError` with the command that makes the image where there is none."""
    image = lookup(recipe, cache, key)
    if image is not None:
        return image
    known = [cached for cached in cache.list() if cached.name == recipe.name]
    why = (
        f"the recipe of {recipe.name} has changed since its image was made"
        if known
        else f"there is no image of {recipe.name} yet"
    )
    raise UsageError(why, hint=f"hurdle image build {recipe.name}")


def _made_from(recipe: Recipe) -> str:
    if isinstance(recipe, ControlRecipe):
        return control.made_from(recipe)
    if isinstance(recipe, MultibootRecipe):
        return local.made_from(recipe)
    if isinstance(recipe, PreinstalledRecipe):
        from harness.images.preinstalled.build import made_from as preinstalled

        return preinstalled(recipe)
    from harness.images.source.guest import made_from

    return made_from(recipe)
