"""An ext2fs that does not come up in a real Hurd is taken back, and said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import Recipe, load_recipe
from harness.process import run
from harness.variants.install import attempt, install

pytestmark = [pytest.mark.guest, pytest.mark.hurd]


@pytest.fixture
def recipe(hurd: str) -> Recipe:
    return load_recipe(hurd, {"machine.accel": "tcg"})


@pytest.fixture
def cache(recipe: Recipe, tmp_path: Path) -> Cache:
    """A cache with the guest's image and nothing else, which the test may change."""
    image = find_image(recipe, Cache.default())
    home = tmp_path / "cache/images" / recipe.name
    home.mkdir(parents=True)
    run(["cp", "--recursive", "--sparse=always", str(image.folder), str(home)])
    return Cache(tmp_path / "cache")


def program(recipe: Recipe, cache: Cache, tmp_path: Path) -> Path:
    """The image's own ext2fs of the variant vanilla."""
    image, path = find_image(recipe, cache), tmp_path / "ext2fs"
    assert image.root
    name = recipe.variants["vanilla"].translator
    run(["debugfs", "-R", f"dump {name} {path}", str(image.root.path)])
    return path


@pytest.mark.parametrize(
    ("content", "root", "why"),
    [
        (b"#!/bin/sh\nexit 0\n", False, "Translator died"),
        (b"", True, "panicked"),
    ],
    ids=["a translator that exits at once", "a truncated boot module"],
)
def test_an_ext2fs_that_does_not_come_up_is_rolled_back(
    recipe: Recipe, cache: Cache, tmp_path: Path, content: bytes, root: bool, why: str
) -> None:
    before = find_image(recipe, cache)
    file = program(recipe, cache, tmp_path)
    file.write_bytes(content or file.read_bytes()[:300000])
    made = install("vanilla", file, "broken", recipe, cache, lambda _: None, root=root)
    with pytest.raises(GuestError, match=rf"was rolled back(.|\n)*({why})"):
        attempt("vanilla", made, recipe, cache, lambda _: None)
    assert find_image(recipe, cache) == before


def test_an_ext2fs_that_serves_the_root_comes_up(
    recipe: Recipe, cache: Cache, tmp_path: Path
) -> None:
    file = program(recipe, cache, tmp_path)
    made = install("vanilla", file, "the same", recipe, cache, lambda _: None, root=True)
    attempt("vanilla", made, recipe, cache, lambda _: None)
    assert find_image(recipe, cache) == made
