"""What is read from a file of semantic patches."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.variants.smpl import marked, parse_rules, with_marks

_RULES = """// dir_mkdir (np) in a comment
virtual debug

@has_handle@
identifier f;
position p;
@@
f@p (...) { ... handle_begin (...) ... }

@wrap depends on !has_handle@
identifier f = {dir_mkdir, dir_link};
identifier g =~ "^diskfs_.*$";
identifier h != boring;
struct node *np, *dir;
expression list args;
@@
f (...)
{
+ handle_begin (np);
... when != forget (np)
- g (np, dir, args);
+ g (np, dir, args, h);
...
}

@script:python@
p << has_handle.p;
@@
print (p)
"""


def test_names_anchors_and_patterns_of_rules() -> None:
    first, wrap, script = parse_rules(_RULES, "x.cocci")
    assert (first.name, first.changes) == ("has_handle", False)
    assert first.anchors == {"handle_begin"}
    assert (wrap.name, wrap.changes) == ("wrap", True)
    assert wrap.anchors == {"dir_mkdir", "dir_link"}
    assert wrap.patterns == ("^diskfs_.*$",)
    assert wrap.added == {"handle_begin"}
    assert script.kind == "script"


def test_a_rule_on_a_field_is_anchored_at_its_names() -> None:
    (rule,) = parse_rules("@r@\nexpression E;\n@@\n- E->st_nlink++;\n+ up (E);\n", "x.cocci")
    assert rule.anchors == {"st_nlink"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@@\nexpression E;\n@@\n- f (E);\n", "x.cocci:1: a rule has no name"),
        ("@ depends on x@\n@@\n- f ();\n", "x.cocci:1: a rule has no name"),
        ("\n@a depends on\n  b@\n@@\n- f ();\n", "x.cocci:2: the head of a rule"),
        ("@a@\n@@\n- f ();\n@a@\n@@\n- g ();\n", "two rules are called a"),
        ("@a@\n@@\nf ();\n", "no rule changes anything"),
    ],
)
def test_rules_that_could_not_be_followed_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_rules(text, "x.cocci")


def test_each_rule_gets_a_mark_and_marks_are_read_back() -> None:
    text = with_marks(_RULES, parse_rules(_RULES, "x.cocci"))
    assert text.startswith(_RULES)
    assert text.count("@script:python depends on ") == 2
    said = "HANDLING: a.c\nhurdle: matched wrap\nhurdle: matched has_handle\n"
    assert marked(said) == {"wrap", "has_handle"}
