"""The trees that patches are laid over and the trees that come out, with the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UsageError
from harness.images.source.sources import DirSource
from harness.images.source.stage import tree_digest
from harness.variants.export import export
from harness.variants.trees import expanded_tree
from tests.tools.small_tree import (
    AUTHOR,
    REST,
    Work,
)

pytestmark = pytest.mark.tools


def test_a_tree_that_was_patched_before_is_refused(work: Work) -> None:
    work.new()
    work.hook()
    work.expand()
    work.tree, work.dest = work.dest, work.folder / "again"
    work.fails("fs/dir.c already has journal_update, which 1.cocci brings in")
    work.patches = work.patches[:1]
    work.fails("the tree already has fs/journal.c")


def test_a_tree_that_is_not_clean_is_refused(work: Work) -> None:
    work.commit_tree()
    work.hook()
    work.expand()
    work.dest = work.folder / "second"
    work.write("tree/fs/stray.c", "int stray;\n")
    work.fails(r"is not clean: fs/stray.c")


def test_only_what_git_tracks_is_copied_from_a_work_tree(work: Work) -> None:
    work.write("tree/.gitignore", "*.o\n")
    work.commit_tree()
    work.write("tree/fs/dir.o", "built")
    work.expand()
    assert not (work.dest / "fs/dir.o").exists()
    assert (work.dest / ".gitignore").exists()
    assert not (work.dest / ".git").exists()


def test_the_exported_series_gives_what_expand_gives(work: Work) -> None:
    work.commit_tree()
    work.new()
    work.hook()
    work.patches[1]["body"] = "Each update now names its handle."
    work.expand()
    series = export(work.tree, work.variant, work.folder / "series", AUTHOR)
    assert [each.name[:4] for each in series] == ["0001", "0002"]
    work.git("am", "--quiet", *map(str, series))
    assert tree_digest(work.tree) == tree_digest(work.dest)
    said = work.git("log", "-2", "--reverse", "--format=%an <%ae>|%s|%b")
    assert "A. Maintainer <maintainer@example.org>|fs: Add a journal|Nothing calls it yet." in said
    assert "|fs: Tell the journal of updates (1)|Each update now names its handle." in said


def test_bytes_that_are_no_text_of_ours_stay_as_they_are(work: Work) -> None:
    (work.tree / "fs/Makefile").write_bytes(b"# caf\xe9\nSRCS = a.c\nX = y\r\n")
    work.new()
    work.expand()
    text = (work.dest / "fs/Makefile").read_bytes()
    assert text == b"# caf\xe9\nSRCS = a.c journal.c\nX = y\r\n"


def test_a_tree_comes_from_a_commit_that_git_fetches(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HURDLE_CACHE", str(work.folder / "cache"))
    work.commit_tree()
    commit = work.git("rev-parse", "HEAD").strip()
    work.write("tree/fs/late.c", "int late;\n")
    work.commit_tree()
    work.hook()
    source = f"mine.source=git:file://{work.tree}@{commit}"
    args = ["variants", "expand", "mine", str(work.dest), "--file", str(work.file)]
    assert CliRunner().invoke(app, [*args, "--set", source]).exit_code == 0
    assert "journal_update" in (work.dest / "fs/dir.c").read_text()
    assert not (work.dest / "fs/late.c").exists()


def test_the_commands_expand_and_export(work: Work) -> None:
    work.new()
    work.hook()
    call = CliRunner().invoke
    common = ["--file", str(work.file)]
    listed = call(app, ["variants", "list", *common])
    assert "mine" in listed.output
    args = ["variants", "expand", "mine", "--hurd", str(work.tree), str(work.dest), *common]
    assert call(app, args).exit_code == 0
    assert (work.dest / "fs/journal.c").exists()
    series = work.folder / "series"
    args = ["variants", "export", "mine", str(series), "--author", "A <a@example.org>", *common]
    assert call(app, args).exit_code == 0
    assert len(list(series.glob("*.patch"))) == 2


def test_a_kept_tree_follows_edits_of_our_c_files_without_coccinelle(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.new()
    work.hook()
    said: list[str] = []

    def tree() -> Path:
        return expanded_tree(work.variant, DirSource(work.tree), tmp_path / "kept", said.append)

    first = tree()
    assert "journal_update" in (first / "fs/dir.c").read_text()
    assert len(said) == 1
    work.write("glue/journal.c", "int journal = 2;\n")
    assert tree() == first
    assert (first / "fs/journal.c").read_text() == "int journal = 2;\n"
    assert len(said) == 1
    # What rules can see is part of the key: headers of ours, the rules, the Hurd.
    for name in ("glue/journal.h", "hooks/1.cocci", "tree/fs/file.c"):
        path = tmp_path / name
        path.write_text(path.read_text() + "\n")
        assert tree() != first
    assert len(said) == 4


def test_a_kept_tree_is_checked_again_after_an_edit(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.new()
    work.calls = [{"of": "node_update", "in": ["fs/*.c"], "exempt": {"fs/dir.c": "old", **REST}}]
    source = DirSource(work.tree)
    expanded_tree(work.variant, source, tmp_path / "kept", print)
    work.write("glue/journal.c", "void f (void) { node_update (0, 0); }\n")
    with pytest.raises(UsageError, match=r"fs/journal\.c:1 \(in f\)"):
        expanded_tree(work.variant, source, tmp_path / "kept", print)


def test_a_build_takes_a_work_tree_that_was_edited(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.new()
    subprocess.run(["git", "init", "-q", str(work.tree)], check=True)
    subprocess.run(["git", "-C", str(work.tree), "add", "."], check=True)
    work.fails("is not clean")
    assert expanded_tree(work.variant, DirSource(work.tree), tmp_path / "kept", print).is_dir()
