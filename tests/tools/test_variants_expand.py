"""Semantic patches on a small tree of our own, with the real spatch and the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UsageError
from harness.images.source.sources import DirSource
from harness.images.source.stage import tree_digest
from harness.variants.expand import Expansion, expand
from harness.variants.export import Author, export
from harness.variants.spec import HurdVariant, load_variants
from harness.variants.trees import expanded_tree

pytestmark = pytest.mark.tools

_AUTHOR = Author("A. Maintainer", "maintainer@example.org")

_DIR = """/* Directories.  */
#include "priv.h"

/* Make a directory.  */
int
dir_mkdir (struct node *dir, const char *name)
{
  int err;

  err = node_create (dir, name);
  if (! err)
    node_update (dir, 1);
  return err;
}

int
dir_rmdir (struct node *dir, const char *name)
{
  node_update (dir, 0);
  return 0;
}
"""

_FILE = """#include "priv.h"

int
file_chmod (struct node *np, int mode)
{
  np->mode = mode;
  node_update (np, 0);
  return 0;
}
"""

_MAKEFILE = "dir := fs\nSRCS = dir.c file.c\n\ninclude ../Makeconf\n"

_PRIV = "struct node { int mode; };\nvoid node_update (struct node *np, int wait);\n"

_RULES = """@update@
expression NP, WAIT;
@@
- node_update (NP, WAIT)
+ journal_update (NP, WAIT, current_handle ())
"""

# What Coccinelle can't parse, and no compiler either.
_BROKEN = """
int
odd (struct node *np)
{
  int @ x = (;
  CALL;
}
"""


_REST = {"fs/file.c": "old"}
_BOTH = ["fs/dir.c", "fs/file.c"]


class Work:
    """A tree, the files that are laid over it, and a variants.yaml that says how."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.dest = folder / "dest"
        self.patches: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        texts = {"dir.c": _DIR, "file.c": _FILE, "Makefile": _MAKEFILE, "priv.h": _PRIV}
        for name, text in texts.items():
            self.write(f"tree/fs/{name}", text)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def new(self) -> None:
        """The first patch: a file of ours, and its word in the Makefile."""
        self.write("glue/journal.c", "/* Ours.  */\nint journal;\n")
        self.write("glue/journal.h", "extern int journal;\n")
        self.patches.append(
            {
                "subject": "fs: Add a journal",
                "body": "Nothing calls it yet.\n\n* fs/journal.c: New file.",
                "new": [{"into": "fs", "copy": ["glue/journal.c", "glue/journal.h"]}],
                "make": [{"file": "fs/Makefile", "variable": "SRCS", "append": ["journal.c"]}],
            }
        )

    def hook(self, rules: str = _RULES, **fields: Any) -> None:
        """A patch of a file of rules."""
        name = f"hooks/{len(self.patches)}.cocci"
        self.write(name, rules)
        hook = {
            "rules": name,
            "files": ["fs/dir.c"],
            "introduces": ["journal_update"],
        }
        subject = f"fs: Tell the journal of updates ({len(self.patches)})"
        self.patches.append({"subject": subject, "hook": {**hook, **fields}})

    @property
    def file(self) -> Path:
        """variants.yaml with the one variant `mine`."""
        mine = {
            "title": "mine",
            "source": f"dir:{self.tree}",
            "patches": self.patches,
            "calls": self.calls,
        }
        return self.write("variants.yaml", yaml.safe_dump({"variants": {"mine": mine}}))

    @property
    def variant(self) -> HurdVariant:
        return load_variants(self.file)["mine"]

    def expand(self) -> Expansion:
        return expand(self.tree, self.variant, self.dest)

    def fails(self, message: str) -> UsageError:
        """Expand, which has to fail with `message` and leave nothing."""
        before = tree_digest(self.tree)
        with pytest.raises(UsageError, match=message) as caught:
            self.expand()
        assert not self.dest.exists()
        assert tree_digest(self.tree) == before
        assert caught.value.hint
        return caught.value

    def git(self, *words: str, cwd: Path | None = None) -> str:
        argv = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *words]
        done = subprocess.run(
            argv, cwd=cwd or self.tree, check=True, capture_output=True, text=True
        )
        return done.stdout

    def commit_tree(self) -> None:
        self.git("init", "--quiet")
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "-m", "pristine")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_a_series_is_laid_over_a_copy_and_keeps_gnu_style(work: Work) -> None:
    work.new()
    work.hook()
    before = tree_digest(work.tree)
    assert work.expand().notes == ()
    assert tree_digest(work.tree) == before
    fs = work.dest / "fs"
    assert (fs / "journal.c").read_text() == "/* Ours.  */\nint journal;\n"
    assert "SRCS = dir.c file.c journal.c\n" in (fs / "Makefile").read_text()
    changed = _DIR.replace("node_update (dir, 1)", "journal_update (dir, 1, current_handle ())")
    changed = changed.replace("node_update (dir, 0)", "journal_update (dir, 0, current_handle ())")
    assert (fs / "dir.c").read_text() == changed


def test_patches_are_laid_one_over_the_other(work: Work) -> None:
    work.hook()
    second = "@second@\nexpression E;\n@@\n- journal_update (E, 0, current_handle ())\n"
    work.hook(second + "+ journal_touch (E)\n", introduces=["journal_touch"])
    work.expand()
    assert "  journal_touch (dir);\n" in (work.dest / "fs/dir.c").read_text()


def test_a_rule_that_matches_nothing_in_one_file_names_rule_and_file(work: Work) -> None:
    one = _RULES.replace("(NP, WAIT)", "(NP, 1)").replace("(NP, WAIT,", "(NP, 1,")
    work.hook(one.replace("NP, WAIT;", "NP;"), files=_BOTH)
    work.fails(r"hooks/0.cocci: update matches nothing in fs/file.c")


def test_one_silent_rule_of_several_is_found(work: Work) -> None:
    work.hook(_RULES + "\n@gone@\nexpression E;\n@@\n- node_touch (E);\n")
    work.fails(r"0.cocci: gone matches nothing in fs/dir.c")


def test_rules_named_for_a_file_match_there_and_nowhere_else(work: Work) -> None:
    one = _RULES.replace("(NP, WAIT)", "(NP, 1)").replace("(NP, WAIT,", "(NP, 1,")
    two = _RULES.replace("@update@", "@rest@")
    work.hook(one + two, files={"fs/dir.c": ["update", "rest"], "fs/file.c": ["rest"]})
    work.expand()
    work.dest = work.folder / "second"
    work.patches[0]["hook"]["files"] = {"fs/dir.c": ["update"], "fs/file.c": ["rest"]}
    work.fails(r"rest matches in fs/dir.c, for which it is not named")


def test_a_part_that_coccinelle_can_t_parse_is_an_error_where_a_rule_has_business(
    work: Work,
) -> None:
    work.write("tree/fs/file.c", _FILE + _BROKEN.replace("CALL", "node_update (np, 1)"))
    work.hook(files=["fs/file.c"])
    work.fails(r"0.cocci: in fs/file.c Coccinelle can't parse lines 11-16, which has node_update")


def test_a_part_that_coccinelle_can_t_parse_elsewhere_is_noted(work: Work) -> None:
    work.write("tree/fs/file.c", _FILE + _BROKEN.replace("CALL", "other (np)"))
    work.hook(files=["fs/file.c"])
    (note,) = work.expand().notes
    assert note.startswith("fs/file.c: Coccinelle can't parse lines 11-16")


def test_a_macro_that_coccinelle_can_t_parse_counts_as_well(work: Work) -> None:
    work.write("tree/fs/dir.c", "#define BEGIN(np) node_update (np, 0); } else {\n" + _DIR)
    work.hook()
    work.fails(r"in fs/dir.c Coccinelle can't parse lines 1-1, which has node_update")


def test_a_call_in_the_other_branch_of_an_ifdef_is_seen(work: Work) -> None:
    one = "#ifdef X\nint\nodd (int a)\n{\n"
    other = "#else\nint\nodd (void)\n{\n  node_update (0, 1);\n#endif\n"
    work.write("tree/fs/dir.c", f"{_DIR}\n{one}{other}  return 0;\n}}\n")
    work.hook()
    work.fails("in fs/dir.c Coccinelle skips tokens, which has node_update")


_NESTED = """
int __attribute__ ((weak))
outer (int a)
{
  /* Ends.  */
  inline int
  done (int e)
    {
      node_update (0, e);
      return e;
    }

  node_update (0, done (a));
  return done (0);
}
"""


def test_rules_reach_into_functions_that_are_nested_or_weak(work: Work) -> None:
    work.write("tree/fs/dir.c", _DIR + _NESTED)
    work.hook()
    assert work.expand().notes == ()
    expected = _NESTED.replace("node_update (0, e)", "journal_update (0, e, current_handle ())")
    expected = expected.replace(
        "node_update (0, done (a))", "journal_update (0, done (a), current_handle ())"
    )
    assert (work.dest / "fs/dir.c").read_text().endswith(expected)


def test_a_function_that_coccinelle_parses_but_can_t_follow_counts_as_well(work: Work) -> None:
    lost = "\nint\nlost (int a)\n{\n  goto nowhere;\n  %s;\n}\n"
    text = _DIR + _NESTED.replace("node_update", "other")
    work.write("tree/fs/dir.c", text + lost % "node_update (0, a)")
    work.hook()
    work.fails(r"in fs/dir.c Coccinelle can't follow lost \(lines 39-43\), which has node_update")
    work.write("tree/fs/dir.c", text + lost % "other (a)")
    (note,) = work.expand().notes
    assert note.startswith("fs/dir.c: Coccinelle can't follow lost")


def test_rules_that_spatch_refuses_are_told_by_their_own_name(work: Work) -> None:
    work.hook(_RULES.replace("(NP, WAIT)\n+", "(NP, WAIT\n+"))
    error = work.fails(r"hooks/0.cocci: spatch can't apply it to fs/dir.c")
    assert "hurdle-smpl" not in str(error)


def test_two_changes_in_one_place_are_an_error(work: Work) -> None:
    work.write("tree/fs/file.c", _FILE.replace("(np, 0)", "(np, node_update (np, 1))"))
    work.hook("@swap@\nexpression E, F;\nidentifier f;\n@@\n- f (E, F)\n+ journal_update (f, F)\n")
    work.patches[0]["hook"]["files"] = ["fs/file.c"]
    work.fails("spatch can't apply it to fs/file.c")


def test_a_new_call_that_no_rule_covers_is_an_error(work: Work) -> None:
    work.hook(files=_BOTH)
    work.calls = [{"of": "node_update", "in": ["fs/*.c"]}]
    work.expand()
    work.dest = work.folder / "second"
    work.write("tree/fs/late.c", "void\nlate (void)\n{\n  node_update (0, 1);\n}\n")
    error = work.fails(r"1 calls of node_update .* fs/late.c:4 \(in late\)")
    assert "exempt" in str(error.hint)
    work.calls[0]["exempt"] = {"fs/late.c:late": "only before the mount"}
    work.expand()


def test_a_guard_has_to_come_before_the_call_that_it_covers(work: Work) -> None:
    rules = """@guard@
identifier f = {dir_mkdir, dir_rmdir};
@@
f (...)
{
+ handle_begin ();
...
}
"""
    work.hook(rules, files=["fs/dir.c"], introduces=["handle_begin"])
    work.calls = [{"of": "node_update", "in": ["fs/*.c"], "guard": ["handle_begin"]}]
    work.fails(r"1 calls of node_update .* fs/file.c:7 \(in file_chmod\)")
    work.calls[0]["in"] = ["fs/dir.c"]
    work.expand()


def test_each_call_can_need_a_guard_of_its_own(work: Work) -> None:
    rules = "@beside@\nexpression E, F;\n@@\n  node_update (E, F);\n+ journal_dirty (E);\n"
    work.hook(rules, files=["fs/file.c"], introduces=["journal_dirty"])
    check = {"of": "node_update", "in": ["fs/f*.c"], "guard": ["journal_dirty"], "mode": "each"}
    work.calls = [check]
    work.expand()
    work.dest = work.folder / "second"
    twice = "  int err = node_update (np, 0);\n  node_update (np, 0);\n"
    work.write("tree/fs/file.c", _FILE.replace("  node_update (np, 0);\n", twice))
    work.fails("1 calls of node_update are not covered")


def test_braces_that_are_not_gnu_style_are_an_error(work: Work) -> None:
    rules = "@beside@\nexpression E, F;\n@@\n  node_update (E, F);\n+ journal_dirty (E);\n"
    work.hook(rules, introduces=["journal_dirty"])
    work.fails(r"in fs/dir.c braces come out in no GNU style, lines 11$")


def test_checks_and_exemptions_that_prove_nothing_are_errors(work: Work) -> None:
    work.hook()
    work.calls = [{"of": "node_refresh", "in": ["fs/*.c"]}]
    work.fails("the tree never calls node_refresh")
    work.calls = [{"of": "node_update", "in": ["fs/d*.c"], "exempt": {"fs/dir.c:gone": "why"}}]
    work.fails("nothing needs the exemption of fs/dir.c:gone")


def test_a_tree_that_was_patched_before_is_refused(work: Work) -> None:
    work.new()
    work.hook()
    work.expand()
    work.tree, work.dest = work.dest, work.folder / "again"
    work.fails("fs/dir.c already has journal_update, which 1.cocci brings in")
    work.patches = work.patches[:1]
    work.fails("the tree already has fs/journal.c")


def test_rules_without_a_trace_must_have_nothing_left_to_do(work: Work) -> None:
    work.hook("@drop@\nexpression E, F;\n@@\n- node_update (E, F);\n", introduces=[])
    work.expand()
    work.dest = work.folder / "second"
    work.patches = []
    work.hook("@add@\nexpression E, F;\n@@\n  node_update (E, F);\n+ say (E);\n", introduces=[])
    work.fails("applied twice, it changes fs/dir.c twice")


def test_a_makefile_without_the_variable_is_an_error(work: Work) -> None:
    work.new()
    work.patches[0]["make"][0]["variable"] = "SOURCES"
    work.fails("fs/Makefile: the variable SOURCES is not assigned")


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
    series = export(work.tree, work.variant, work.folder / "series", _AUTHOR)
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
    work.calls = [{"of": "node_update", "in": ["fs/*.c"], "exempt": {"fs/dir.c": "old", **_REST}}]
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
