"""Stages run, resumed and found again; sources from git and from a folder; the root image."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.errors import InfraError, UsageError
from harness.images.source.apt import AptArchive, PrivateApt
from harness.images.source.fetch import Fetcher, apply_series
from harness.images.source.root import assemble, link, make_image, parse_node
from harness.images.source.sources import AptSource, DirSource, GitSource
from harness.images.source.stage import Edit, Stage, Step
from harness.images.source.workshop import Result, Workshop

pytestmark = pytest.mark.tools


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    archive = AptArchive("http://127.0.0.1:9", ("sid",), tmp_path / "key")
    fetcher = Fetcher(tmp_path / "shop", PrivateApt(tmp_path / "shop/apt", archive))
    return Workshop(tmp_path / "shop", fetcher, jobs=2, say=lambda text: None)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source of one C-like file, one header, and a makefile that counts what it makes."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.c").write_text("one\n")
    (tree / "a.h").write_text("head\n")
    (tree / "Makefile").write_text("all: {a.out}\n")
    return tree


def headers(tree: Path) -> Stage:
    return Stage(
        "headers",
        source=DirSource(tree),
        exclude=("*.c",),
        steps=(Step("install", "mkdir {out}/tools && cp {src}/* {out}/tools"),),
    )


LIBRARY = Stage(
    "library",
    needs=("headers",),
    steps=(Step("make", "mkdir {out}/tools && cat {tools}/a.h > {out}/tools/lib"),),
)


def program(tree: Path) -> Stage:
    return Stage(
        "program",
        source=DirSource(tree),
        needs=("library",),
        incremental=("*.c",),
        steps=(
            Step("configure", "echo configured >> count", once=True),
            Step(
                "make",
                "test o -nt {src}/a.c || { cat {src}/a.c {tools}/lib > o; echo made >> count; }",
            ),
            Step("install", "mkdir {out}/root && cp o count {out}/root"),
        ),
    )


def build(shop: Workshop, tree: Path) -> dict[str, Result]:
    return shop.build([headers(tree), LIBRARY, program(tree)])


def cached(results: dict[str, Result]) -> list[str]:
    return [name for name, result in results.items() if result.cached]


def test_nothing_runs_twice(shop: Workshop, tree: Path) -> None:
    first = build(shop, tree)
    assert cached(first) == []
    assert (first["program"].out / "root/o").read_text() == "one\nhead\n"
    again = build(shop, tree)
    assert cached(again) == ["headers", "library", "program"]
    assert [r.digest for r in again.values()] == [r.digest for r in first.values()]


def test_an_edit_runs_only_what_sees_it_and_only_make(shop: Workshop, tree: Path) -> None:
    build(shop, tree)
    (tree / "a.c").write_text("two\n")
    edited = build(shop, tree)
    assert cached(edited) == ["headers", "library"]
    assert (edited["program"].out / "root/o").read_text() == "two\nhead\n"
    assert (edited["program"].out / "root/count").read_text() == "configured\nmade\nmade\n"
    (tree / "a.c").write_text("one\n")
    assert cached(build(shop, tree)) == ["headers", "library", "program"]


def test_a_result_with_the_same_bytes_starts_nothing(shop: Workshop, tree: Path) -> None:
    build(shop, tree)
    same = Stage("library", LIBRARY.steps, needs=("headers",), env={"NEW": "1"})
    results = shop.build([headers(tree), same, program(tree)])
    assert cached(results) == ["headers", "program"]


def test_a_change_outside_the_incremental_files_starts_afresh(shop: Workshop, tree: Path) -> None:
    build(shop, tree)
    (tree / "a.h").write_text("other\n")
    results = build(shop, tree)
    assert cached(results) == []
    assert (results["program"].out / "root/count").read_text() == "configured\nmade\n"


def test_a_source_that_is_not_there_is_told_before_anything_is_built(
    shop: Workshop, tree: Path, tmp_path: Path
) -> None:
    """A wrong path is not worth the half hour that the compiler before it takes."""
    ran = tmp_path / "ran"
    first = Stage("first", steps=(Step("make", f"touch {ran}"),))
    with pytest.raises(UsageError, match="no such folder"):
        shop.build([first, program(tree / "nowhere")])
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    with pytest.raises(UsageError, match="no such commit"):
        shop.build([first, Stage("late", (), source=GitSource(str(tree), "0" * 40))])
    assert not ran.exists()


def test_a_failure_names_stage_step_command_and_log_and_is_resumed(
    shop: Workshop, tmp_path: Path
) -> None:
    stage = Stage(
        "brittle",
        steps=(
            Step("configure", "echo once >> count", once=True),
            Step("make", f"cat {tmp_path}/missing && mkdir {{out}}/root && cp count {{out}}/root"),
        ),
    )
    with pytest.raises(InfraError, match="stage brittle, step make: exit code 1") as caught:
        shop.build([stage])
    assert f"command: cat {tmp_path}/missing" in str(caught.value)
    log = re.search(r"the whole log is (\S+);", str(caught.value.hint))
    assert log and "No such file" in Path(log[1]).read_text()
    (tmp_path / "missing").touch()
    result = shop.build([stage])["brittle"]
    assert (result.out / "root/count").read_text() == "once\n"


def interrupt_removals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when a removal has taken one file of a folder: the last by its name."""

    def half(folder: Path, ignore_errors: bool = False) -> None:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        if found and folder.name != "src.new":
            found[-1].unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr("harness.images.source.workshop.shutil.rmtree", half)


def test_an_interrupted_removal_of_the_build_folder_loses_nothing(
    shop: Workshop, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_removals(patch)
        with pytest.raises(KeyboardInterrupt):
            shop.build([headers(tree)])
    again = shop.build([headers(tree), LIBRARY])
    assert cached(again) == ["headers"]
    assert (again["library"].out / "tools/lib").read_text() == "head\n"


def test_what_an_interrupted_removal_left_of_an_old_result_is_no_result(
    shop: Workshop, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tree / "a.c").write_text(f"{number}\n")
        build(shop, tree)
    with monkeypatch.context() as patch:
        (tree / "a.c").write_text("4\n")
        interrupt_removals(patch)
        with pytest.raises(KeyboardInterrupt):
            build(shop, tree)
    (tree / "a.c").write_text("0\n")
    results = build(shop, tree)
    assert (results["program"].out / "root/o").read_text() == "0\nhead\n"
    assert not list(results["program"].out.parents[1].glob(".gone-*"))


def test_an_edit_changes_a_copy(shop: Workshop, tree: Path) -> None:
    stage = Stage(
        "edited",
        source=DirSource(tree),
        edits=(Edit("a.c", "one", "1"),),
        steps=(Step("install", "cp {src}/a.c {out}"),),
    )
    assert (shop.build([stage])["edited"].out / "a.c").read_text() == "1\n"
    assert (tree / "a.c").read_text() == "one\n"
    wrong = Stage("edited", source=DirSource(tree), edits=(Edit("a.c", "nil", "1"),), steps=())
    with pytest.raises(InfraError, match=r"stage edited: the edit of a\.c"):
        shop.build([wrong])


def test_another_workshop_goes_on_from_the_results_that_were_used_last(
    shop: Workshop, tree: Path, tmp_path: Path
) -> None:
    assert shop.latest(["headers"]) == {}
    shop.build([headers(tree), LIBRARY])
    (tree / "a.h").write_text("newer\n")
    newer = shop.build([headers(tree), LIBRARY])
    found = shop.latest(["headers", "library", "nothing"])
    assert {name: each.digest for name, each in found.items()} == {
        name: each.digest for name, each in newer.items()
    }
    other = Workshop(tmp_path / "other", shop._fetcher, jobs=1, say=print)
    made = other.build([program(tree)], found)["program"]
    assert (made.out / "root/o").read_text() == "one\nnewer\n"


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """A git repository with one file, and the id of its commit."""
    origin = tmp_path / "origin"
    git = ["git", "-C", str(origin), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", str(origin)], check=True)
    (origin / "f").write_text("1")
    subprocess.run([*git, "add", "f"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    ask = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return origin, ask.stdout.strip()


def test_a_commit_is_fetched_once(
    shop: Workshop, repository: tuple[Path, str], tmp_path: Path
) -> None:
    origin, commit = repository
    steps = (Step("install", "cp {src}/f {out}"),)
    stage = Stage("git", steps, source=GitSource(str(origin), commit))
    assert (shop.build([stage])["git"].out / "f").read_text() == "1"
    with pytest.raises(UsageError, match="no such commit"):
        shop.build([Stage("git", steps, source=GitSource(str(origin), "0123456789ab"))])
    origin.rename(tmp_path / "away")
    assert shop.build([stage])["git"].cached
    # A full id is the same commit wherever it comes from.
    other = Stage("git", steps, source=GitSource("https://other.invalid/f.git", commit))
    assert shop.build([other])["git"].cached


def test_what_was_fetched_is_built_without_its_origin(
    shop: Workshop, repository: tuple[Path, str], tmp_path: Path
) -> None:
    origin, commit = repository
    source = GitSource(str(origin), commit)
    stage = Stage("git", (Step("install", "cp {src}/f {out}"),), source=source)
    shop.fetch([stage, LIBRARY])
    origin.rename(tmp_path / "away")
    assert (shop.build([stage])["git"].out / "f").read_text() == "1"


def test_what_cannot_be_fetched_is_told_with_another_way(shop: Workshop, tmp_path: Path) -> None:
    away = Stage("git", (), source=GitSource(str(tmp_path / "no-repository"), "v1"))
    with pytest.raises(InfraError, match="can't fetch git:") as of_git:
        shop.build([away])
    assert "dir:PATH" in (of_git.value.hint or "")
    package = Stage("dash", (), source=AptSource("dash"))
    with pytest.raises(InfraError, match="key is missing") as of_key:
        shop.build([package])
    assert "debian-archive-keyring" in (of_key.value.hint or "")
    (tmp_path / "key").touch()
    with pytest.raises(InfraError, match="package index of http") as of_apt:
        shop.build([package])
    assert "archive.mirror=URL" in (of_apt.value.hint or "")


def test_debian_patches_are_applied_in_order(tmp_path: Path) -> None:
    patches = tmp_path / "debian/patches"
    patches.mkdir(parents=True)
    (tmp_path / "f").write_text("a\n")
    for name, old, new in (("1", "a", "b"), ("2", "b", "c")):
        (patches / name).write_text(f"--- x/f\n+++ y/f\n@@ -1 +1 @@\n-{old}\n+{new}\n")
    (patches / "series").write_text("1\n# none\n\n2 -p1 # why\n")
    apply_series(tmp_path)
    assert (tmp_path / "f").read_text() == "c\n"


def test_the_root_image_has_files_of_root_and_nodes_with_translators(tmp_path: Path) -> None:
    built = tmp_path / "built"
    (built / "bin").mkdir(parents=True)
    (built / "bin/[").write_text("test")
    (built / "lib").mkdir()
    (built / "lib/x.a").touch()
    (tmp_path / "passwd").write_text("root")
    tree = tmp_path / "tree"
    (tree / "dev").mkdir(parents=True)
    assemble([built], {"/etc/passwd": tmp_path / "passwd"}, tree)
    link(tree, "/bin/sh", "[")
    assert not (tree / "lib/x.a").exists()
    image = tmp_path / "root.img"
    nodes = [parse_node("c 0666 /dev/null /hurd/null"), parse_node("d 0555 /proc /hurd/procfs -c")]
    make_image(tree, nodes, image, 32)

    def ask(command: str) -> str:
        done = subprocess.run(
            ["debugfs", "-R", command, str(image)], capture_output=True, text=True
        )
        return done.stdout

    ask(f"ea_get -f {tmp_path}/record /proc gnu.translator")
    assert (tmp_path / "record").read_bytes() == b"/hurd/procfs\0-c\0"
    shown = ask("stat /dev/null")
    assert "character special" in shown and "0666" in shown
    assert re.search(r"User: +0 +Group: +0", ask('stat "/bin/["'))
    assert (
        "Block size:               4096"
        in subprocess.run(["dumpe2fs", "-h", str(image)], capture_output=True, text=True).stdout
    )
    assert 'Fast link dest: "["' in ask("stat /bin/sh")


def test_a_file_that_the_recipe_wants_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        assemble([], {"/etc/x": tmp_path / "x"}, tmp_path / "tree")
