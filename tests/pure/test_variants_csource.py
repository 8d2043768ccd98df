"""Calls in C text: what counts as one, and in which function it is."""

from __future__ import annotations

import pytest

from harness.variants.csource import Call, blanked, called_names, calls, functions, names

_FILE = r"""/* update (np); in a comment */
#define TOUCH(np, op) \
  ({ op; \
     update (np); })
#define OTHER(np) update(np)

int update (struct node *np);

static error_t __attribute__ ((weak))
first (struct node *np)
{
  if (np)
    { update (np); }
  say ("update (np)");		// update (np)
  return 0;
}

#ifdef A
int
second (int a, int b)
{
#else
int
second (int a)
{
#endif
  return update
    (a);
}
#if 0
void gone (void) { update (0); }
#else
void here (void) { update (1); }
#endif

int
old_style (np, wait)
     struct node *np;
     int wait;
{
  return update (np) + sub (update (np));
}
"""


def test_calls_are_found_with_the_function_or_macro_around_them() -> None:
    found = [(call.function, call.line) for call in calls(_FILE, {"update"})]
    assert found == [
        ("TOUCH", 4),
        ("OTHER", 5),
        ("first", 13),
        ("second", 27),
        ("here", 33),
        ("old_style", 41),
        ("old_style", 41),
    ]


def test_functions_are_found_with_the_lines_of_name_and_braces() -> None:
    found = [(each.name, each.line, each.opened, each.last) for each in functions(_FILE)]
    assert found == [
        ("first", 10, 11, 16),
        ("second", 20, 21, 29),
        ("here", 33, 33, 33),
        ("old_style", 37, 40, 42),
    ]


def test_a_struct_behind_a_prototype_is_no_function() -> None:
    text = "int f (int a);\nstruct s\n{\n  int a;\n};\nerror_t (*g) (int);\nenum e { A };\n"
    assert functions(text) == ()


def test_a_definition_a_prototype_and_a_longer_name_are_no_calls() -> None:
    text = "int update (int a);\nint\nupdate (int a)\n{\n  return node_update (a);\n}\n"
    assert calls(text, {"update"}) == ()
    assert calls(text, {"node_update"}) == (Call("node_update", 5, "update"),)


def test_a_macro_s_own_name_is_no_call_of_it() -> None:
    assert calls("#define update(x) (x)\n", {"update"}) == ()


@pytest.mark.parametrize(
    "text", ["/* a\nb */ x", '"/*" y /* z */', "#if 0\nx\n#if 1\ny\n#endif\nz\n#endif\nw", "'\"' a"]
)
def test_blanks_keep_every_line_and_column(text: str) -> None:
    blank = blanked(text)
    assert len(blank) == len(text)
    assert blank.count("\n") == text.count("\n")


def test_if_0_is_blank_but_its_else_is_not() -> None:
    text = "#if 0\ndead\n#ifdef X\ndead\n#else\ndead\n#endif\n#else\nalive\n#endif\nafter\n"
    assert names(text) & {"dead", "alive", "after"} == {"alive", "after"}


def test_names_before_a_parenthesis_are_those_called_and_defined() -> None:
    assert called_names("if (a) f (b); while (sizeof (c)) g(d);") == {"f", "g"}
