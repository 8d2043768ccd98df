"""A guest's image that has the variants which are to be run, as they are described now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.variants.build import Build, build_on_host
from harness.variants.install import install, variant_of
from harness.variants.spec import load_variants, pick
from harness.variants.tree import chosen_source

Say = Callable[[str], None]


def ready_image(
    recipe: Recipe, names: Sequence[str], cache: Cache, say: Say, *, tree: Path | None = None
) -> Image:
    """The recipe's image, in which every variant that it builds is up to date.

    With `tree` the one variant of `names` is built from that Hurd tree, whatever the recipe says.
    Seconds after an edit of ext2fs, a moment when nothing changed.
    """
    image = find_image(recipe, cache)  # before anything is built for it
    if tree is not None and len(names) != 1:
        raise UsageError("--hurd is the tree of one variant", hint="name it: --variant NAME")
    for name in names:
        if tree is None and recipe.variants[name].build is None:
            continue
        made = built(name, recipe, cache, say, tree=tree)
        # Not looked for again: another run may install something else meanwhile.
        image = install(name, made.file, made.record.version, recipe, cache, say, root=False)
    return image


def built(name: str, recipe: Recipe, cache: Cache, say: Say, *, tree: Path | None = None) -> Build:
    """The ext2fs of a recipe's variant, as guest-patches/variants.yaml describes it."""
    described = variant_of(recipe, name).build or name
    if recipe.machine.arch != "i386":
        raise UsageError(
            f"what is compiled on the host is for i386, and {recipe.name} is {recipe.machine.arch}",
            hint="compile it in the guest, and give the program to `hurdle variants install`: "
            "--program FILE",
        )
    variant = pick(load_variants(), described)
    return build_on_host(described, variant, chosen_source(variant, tree, say), cache, say)
