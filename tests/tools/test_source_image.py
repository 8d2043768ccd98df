"""From the results of stages to the image that a run takes, with stages that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InfraError, UsageError
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import SourceRecipe, load_recipe
from harness.images.source import guest, host
from harness.images.source.sources import DirSource
from harness.images.source.stage import Stage, Step
from harness.process import run

pytestmark = pytest.mark.tools


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "hurd"
    (tree / "libdiskfs").mkdir(parents=True)
    (tree / "libdiskfs/diskfs.h").touch()
    (tree / "ext2fs.c").write_text("one")
    return tree


@pytest.fixture
def recipe(tree: Path, monkeypatch: pytest.MonkeyPatch) -> SourceRecipe:
    """The real recipe, with stages that copy one file instead of compiling."""
    settings = {"archive.mirror": "http://mirror.invalid", "hurd.source": f"dir:{tree}"}
    loaded = load_recipe("hurd-i386-source", settings)
    assert isinstance(loaded, SourceRecipe)
    monkeypatch.setattr(guest, "plan", stages)
    monkeypatch.setattr(host, "check", lambda: None)
    return loaded


def stages(recipe: SourceRecipe) -> list[Stage]:
    assert isinstance(recipe.hurd.where, DirSource)
    boot = Step("copy", "mkdir {out}/boot && echo kernel > {out}/boot/gnumach")
    servers = "mkdir -p {out}/root/hurd && cd {out}/root/hurd && cp {src}/ext2fs.c ext2fs.static"
    return [
        Stage("glibc", (Step("copy", "mkdir {out}/tools"),)),
        Stage("libgcc", (Step("copy", "mkdir {out}/tools"),)),
        Stage("gnumach", (boot,)),
        Stage("hurd", (Step("copy", f"{servers} && echo exec > exec.static"),), recipe.hurd.where),
    ]


def build(recipe: SourceRecipe, cache: Cache) -> Image:
    return guest.build_source(recipe, cache, lambda text: None)


def module(image: Image) -> str:
    return image.boot.modules[0][0].read_text()


def test_an_image_has_kernel_modules_root_and_versions(
    recipe: SourceRecipe, tmp_path: Path
) -> None:
    image = build(recipe, Cache(tmp_path / "cache"))
    assert image.boot.kernel is not None
    assert image.boot.kernel.read_text() == "kernel\n"
    assert [path.name for path, _ in image.boot.modules] == ["ext2fs.static", "exec.static"]
    assert "--readonly" in image.boot.modules[0][1]
    assert image.boot.cmdline == "root=device:hd0 console=com0"
    assert image.root and image.root.format == "raw"
    assert image.versions["hurd"].startswith("local-")


def test_a_run_takes_what_was_built_last(recipe: SourceRecipe, tree: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = build(recipe, cache)
    assert build(recipe, cache) == first
    (tree / "ext2fs.c").write_text("two")
    second = build(recipe, cache)
    assert second.key != first.key
    plain = load_recipe("hurd-i386-source")
    assert module(find_image(plain, cache)) == "two"
    (tree / "ext2fs.c").write_text("one")
    again = build(recipe, cache)
    assert again.key == first.key
    assert module(find_image(plain, cache)) == "one"
    assert [image.problem for image in cache.list(verify=True)] == ["", ""]


def test_a_compiler_brings_its_headers_and_static_libraries(
    recipe: SourceRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = "mkdir -p {out}/%s/include {out}/%s/lib && cd {out}/%s && : > include/a.h > lib/a.a"
    more = [
        Stage("some", (Step("copy", copy.replace("%s", "root").replace("a.", "some.")),)),
        Stage("native-gcc", (Step("copy", copy.replace("%s", "native")),)),
    ]
    monkeypatch.setattr(guest, "plan", lambda recipe: [*stages(recipe), *more])
    image = build(recipe, Cache(tmp_path / "cache"))
    assert image.root
    for folder, name in (("include", "a.h"), ("lib", "a.a")):
        names = run(["debugfs", "-R", f"ls -p /{folder}", str(image.root.path)]).stdout
        assert f"/{name}/" in names and "some" not in names


def test_a_folder_that_is_no_hurd_is_refused(
    recipe: SourceRecipe, tree: Path, tmp_path: Path
) -> None:
    (tree / "libdiskfs/diskfs.h").unlink()
    with pytest.raises(UsageError, match="no tree of the Hurd: it has no"):
        build(recipe, Cache(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_missing_packages_are_named_with_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PROGRAMS", {"no-such-program": "some-package"})
    monkeypatch.setattr(host, "HEADERS", {"no_such_header.h": "libsome-dev"})
    with pytest.raises(InfraError) as caught:
        host.check()
    assert caught.value.hint == "apt-get install libsome-dev some-package"
