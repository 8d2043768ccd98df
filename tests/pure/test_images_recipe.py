"""Recipes: shipped ones are right, wrong ones explained; paths count from the right place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.errors import UsageError
from harness.images import control, local
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.manifest import Manifest, ModuleRecord
from harness.images.recipe import RECIPES, ControlRecipe, MultibootRecipe, load_recipe


def _edited(tmp_path: Path, old: str, new: str, name: str = "linux-control") -> str:
    text = (RECIPES / f"{name}.yaml").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    return str(path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_named_like_its_file(path: Path) -> None:
    assert load_recipe(path.stem).name == path.stem


def test_the_control_s_overlay_has_a_program_called_init() -> None:
    recipe = load_recipe("linux-control")
    assert isinstance(recipe, ControlRecipe)
    assert (recipe.overlay / "init").stat().st_mode & 0o100


def test_a_typo_names_line_and_cure(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine.yaml:\d+: machine.memory_mb") as caught:
        load_recipe(_edited(tmp_path, "memory_mib:", "memory_mb:"))
    assert "memory_mib" in str(caught.value.hint)


def test_an_unknown_guest_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("linux-contol")
    assert "linux-control" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"machine.disk_bus": "virtio"}, "calls its first disk /dev/vda"),
        ({"crash_disk.device": "/dev/vda"}, "calls its first disk /dev/sda"),
    ],
)
def test_a_disk_name_that_does_not_fit_the_bus_is_refused(
    settings: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("linux-control", settings)


def test_bus_and_disk_name_change_together() -> None:
    settings = {"machine.disk_bus": "virtio", "crash_disk.device": "/dev/vda"}
    assert load_recipe("linux-control", settings).crash_disk.device == "/dev/vda"


def test_the_hurd_has_no_virtio_disk() -> None:
    with pytest.raises(UsageError, match="no virtio disk"):
        load_recipe("hurd-local", {"machine.disk_bus": "virtio"})


def test_paths_in_a_file_count_from_the_file(tmp_path: Path) -> None:
    recipe = load_recipe(_edited(tmp_path, "kernel: gnumach", "kernel: sub/gnumach", "hurd-local"))
    assert isinstance(recipe, MultibootRecipe)
    assert recipe.kernel == tmp_path / "sub/gnumach"
    assert recipe.modules["exec"].file == tmp_path / "exec.static"


def test_paths_that_are_set_count_from_here_and_files_moves_the_rest() -> None:
    recipe = load_recipe(
        "hurd-local", {"files": "there", "kernel": "k", "variants.mainline.file": "build/ext2fs"}
    )
    assert isinstance(recipe, MultibootRecipe)
    assert recipe.kernel == Path("k").absolute()
    assert recipe.root_image == Path("there/root.img").absolute()
    assert recipe.modules["ext2fs"].file == Path("there/ext2fs.static").absolute()
    assert recipe.variants["mainline"].file == Path("build/ext2fs").absolute()
    assert recipe.variants["vanilla"].file is None


def test_modules_start_in_the_order_of_the_file() -> None:
    recipe = load_recipe("hurd-local")
    assert isinstance(recipe, MultibootRecipe)
    assert list(recipe.modules) == ["ext2fs", "exec"]


def test_missing_files_are_named_with_the_setting_that_gives_them(tmp_path: Path) -> None:
    (tmp_path / "gnumach").write_text("")
    recipe = load_recipe("hurd-local", {"files": str(tmp_path)})
    assert isinstance(recipe, MultibootRecipe)
    with pytest.raises(UsageError) as caught:
        local.check_files(recipe)
    hint = str(caught.value.hint)
    assert "root.img: no such file (root_image)" in str(caught.value)
    assert "--set modules.exec.file=PATH" in hint
    assert "--set kernel" not in hint


def test_the_control_s_image_depends_on_what_it_is_made_from_only(tmp_path: Path) -> None:
    def made_from(**changes: object) -> str:
        recipe = load_recipe("linux-control")
        assert isinstance(recipe, ControlRecipe)
        return control.made_from(recipe.model_copy(update=changes))

    plain = made_from()
    (tmp_path / "init").write_text("#!/bin/sh\n")
    assert made_from(title="other", prepare=()) == plain
    assert made_from(modules=("ext4",)) != plain
    assert made_from(programs=("usr/bin/busybox",)) != plain
    assert made_from(overlay=tmp_path) != plain


def test_an_image_that_is_missing_or_out_of_date_names_the_command(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    recipe = load_recipe("linux-control")
    with pytest.raises(UsageError, match="no image of linux-control yet") as caught:
        find_image(recipe, cache)
    assert caught.value.hint == "hurdle image build linux-control"
    with cache.building("linux-control", lambda _: None) as draft:
        (draft / "kernel").write_text("k")
        cache.publish(
            draft,
            Manifest(name="linux-control", key="a", made_from="old", built="2026", kernel="kernel"),
        )
    with pytest.raises(UsageError, match="recipe of linux-control has changed"):
        find_image(recipe, cache)


def test_the_start_of_a_hurd_comes_from_the_recipe_its_files_from_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    recipe = load_recipe("hurd-local", {"boot.cmdline": "root=device:hd0s2"})
    assert isinstance(recipe, MultibootRecipe)
    with cache.building("hurd-local", lambda _: None) as draft:
        for name in ("kernel", "one", "two"):
            (draft / name).write_text(name)
        cache.publish(
            draft,
            Manifest(
                name="hurd-local",
                key="a",
                made_from=local.made_from(recipe),
                built="2026",
                kernel="kernel",
                cmdline="root=device:hd0",
                modules=(ModuleRecord(file="one", args=""), ModuleRecord(file="two", args="old")),
            ),
        )
    image = find_image(recipe, cache)
    assert image.boot.cmdline == "root=device:hd0s2"
    assert [file.name for file, _ in image.boot.modules] == ["one", "two"]
    assert image.boot.modules[1][1] == "$(exec-task=task-create)"
    parsed = yaml.safe_load((RECIPES / "hurd-local.yaml").read_text())
    assert image.boot.modules[0][1] == parsed["modules"]["ext2fs"]["args"]
