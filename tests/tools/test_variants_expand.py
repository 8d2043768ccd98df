"""Semantic patches on a small tree of our own, with the real spatch and the real git."""

from __future__ import annotations

import pytest

from harness.images.source.stage import tree_digest
from tests.tools.small_tree import (
    BOTH,
    BROKEN,
    DIR,
    FILE,
    RULES,
    Work,
)

pytestmark = pytest.mark.tools


def test_a_series_is_laid_over_a_copy_and_keeps_gnu_style(work: Work) -> None:
    work.new()
    work.hook()
    before = tree_digest(work.tree)
    assert work.expand().notes == ()
    assert tree_digest(work.tree) == before
    fs = work.dest / "fs"
    assert (fs / "journal.c").read_text() == "/* Ours.  */\nint journal;\n"
    assert "SRCS = dir.c file.c journal.c\n" in (fs / "Makefile").read_text()
    changed = DIR.replace("node_update (dir, 1)", "journal_update (dir, 1, current_handle ())")
    changed = changed.replace("node_update (dir, 0)", "journal_update (dir, 0, current_handle ())")
    assert (fs / "dir.c").read_text() == changed


def test_patches_are_laid_one_over_the_other(work: Work) -> None:
    work.hook()
    second = "@second@\nexpression E;\n@@\n- journal_update (E, 0, current_handle ())\n"
    work.hook(second + "+ journal_touch (E)\n", introduces=["journal_touch"])
    work.expand()
    assert "  journal_touch (dir);\n" in (work.dest / "fs/dir.c").read_text()


def test_a_rule_that_matches_nothing_in_one_file_names_rule_and_file(work: Work) -> None:
    one = RULES.replace("(NP, WAIT)", "(NP, 1)").replace("(NP, WAIT,", "(NP, 1,")
    work.hook(one.replace("NP, WAIT;", "NP;"), files=BOTH)
    work.fails(r"hooks/0.cocci: update matches nothing in fs/file.c")


def test_one_silent_rule_of_several_is_found(work: Work) -> None:
    work.hook(RULES + "\n@gone@\nexpression E;\n@@\n- node_touch (E);\n")
    work.fails(r"0.cocci: gone matches nothing in fs/dir.c")


def test_rules_named_for_a_file_match_there_and_nowhere_else(work: Work) -> None:
    one = RULES.replace("(NP, WAIT)", "(NP, 1)").replace("(NP, WAIT,", "(NP, 1,")
    two = RULES.replace("@update@", "@rest@")
    work.hook(one + two, files={"fs/dir.c": ["update", "rest"], "fs/file.c": ["rest"]})
    work.expand()
    work.dest = work.folder / "second"
    work.patches[0]["hook"]["files"] = {"fs/dir.c": ["update"], "fs/file.c": ["rest"]}
    work.fails(r"rest matches in fs/dir.c, for which it is not named")


def test_a_part_that_coccinelle_can_t_parse_is_an_error_where_a_rule_has_business(
    work: Work,
) -> None:
    work.write("tree/fs/file.c", FILE + BROKEN.replace("CALL", "node_update (np, 1)"))
    work.hook(files=["fs/file.c"])
    work.fails(r"0.cocci: in fs/file.c Coccinelle can't parse lines 11-16, which has node_update")


def test_a_part_that_coccinelle_can_t_parse_elsewhere_is_noted(work: Work) -> None:
    work.write("tree/fs/file.c", FILE + BROKEN.replace("CALL", "other (np)"))
    work.hook(files=["fs/file.c"])
    (note,) = work.expand().notes
    assert note.startswith("fs/file.c: Coccinelle can't parse lines 11-16")


def test_a_macro_that_coccinelle_can_t_parse_counts_as_well(work: Work) -> None:
    work.write("tree/fs/dir.c", "#define BEGIN(np) node_update (np, 0); } else {\n" + DIR)
    work.hook()
    work.fails(r"in fs/dir.c Coccinelle can't parse lines 1-1, which has node_update")


def test_a_call_in_the_other_branch_of_an_ifdef_is_seen(work: Work) -> None:
    one = "#ifdef X\nint\nodd (int a)\n{\n"
    other = "#else\nint\nodd (void)\n{\n  node_update (0, 1);\n#endif\n"
    work.write("tree/fs/dir.c", f"{DIR}\n{one}{other}  return 0;\n}}\n")
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
    work.write("tree/fs/dir.c", DIR + _NESTED)
    work.hook()
    assert work.expand().notes == ()
    expected = _NESTED.replace("node_update (0, e)", "journal_update (0, e, current_handle ())")
    expected = expected.replace(
        "node_update (0, done (a))", "journal_update (0, done (a), current_handle ())"
    )
    assert (work.dest / "fs/dir.c").read_text().endswith(expected)


def test_a_function_that_coccinelle_parses_but_can_t_follow_counts_as_well(work: Work) -> None:
    lost = "\nint\nlost (int a)\n{\n  goto nowhere;\n  %s;\n}\n"
    text = DIR + _NESTED.replace("node_update", "other")
    work.write("tree/fs/dir.c", text + lost % "node_update (0, a)")
    work.hook()
    work.fails(r"in fs/dir.c Coccinelle can't follow lost \(lines 39-43\), which has node_update")
    work.write("tree/fs/dir.c", text + lost % "other (a)")
    (note,) = work.expand().notes
    assert note.startswith("fs/dir.c: Coccinelle can't follow lost")


def test_rules_that_spatch_refuses_are_told_by_their_own_name(work: Work) -> None:
    work.hook(RULES.replace("(NP, WAIT)\n+", "(NP, WAIT\n+"))
    error = work.fails(r"hooks/0.cocci: spatch can't apply it to fs/dir.c")
    assert "hurdle-smpl" not in str(error)


def test_two_changes_in_one_place_are_an_error(work: Work) -> None:
    work.write("tree/fs/file.c", FILE.replace("(np, 0)", "(np, node_update (np, 1))"))
    work.hook("@swap@\nexpression E, F;\nidentifier f;\n@@\n- f (E, F)\n+ journal_update (f, F)\n")
    work.patches[0]["hook"]["files"] = ["fs/file.c"]
    work.fails("spatch can't apply it to fs/file.c")


def test_a_new_call_that_no_rule_covers_is_an_error(work: Work) -> None:
    work.hook(files=BOTH)
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
    work.write("tree/fs/file.c", FILE.replace("  node_update (np, 0);\n", twice))
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
