"""Nested functions out of the way of Coccinelle, and back where they were."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.variants.hoist import foreign_braces, hoist, lower, respaced, wide_lines

_FILE = """error_t __attribute__ ((weak))
first (int a)
{
  if (a) { say ("x"); }
  EACH (a, b) { touch (a); }
  /* Ends.  */
  inline error_t
  done (error_t e)
    {
      if (e) { say ("}"); }
      return e;
    }
  int two (void) { return 2; }

  while (a) { touch (a); }
  return done (two ());
}

int
second (void)
{
  return 0;
}
"""


def test_what_is_hoisted_comes_back_byte_for_byte() -> None:
    hoisted = hoist(_FILE)
    assert (hoisted.nested, hoisted.attributes) == (2, ("__attribute__ ((weak))",))
    assert "  int hurdle_nested_0;\n  int hurdle_nested_1;\n\n  while" in hoisted.text
    assert "\nint hurdle_begin_1;\nint two (void) { return 2; }\nint" in hoisted.text
    assert lower(hoisted.text, hoisted, "x.c") == _FILE


def test_lines_are_the_original_s() -> None:
    hoisted = hoist(_FILE)
    lines, original = hoisted.text.split("\n"), _FILE.split("\n")
    for text in ("second (void)", "  return done (two ());", "      return e;"):
        assert original[hoisted.line(lines.index(text) + 1) - 1] == text


def test_changes_around_and_inside_of_a_nested_function_are_kept() -> None:
    hoisted = hoist(_FILE)
    changed = hoisted.text.replace("return e", "return f (e)").replace("while (a)", "while (b)")
    expected = _FILE.replace("return e", "return f (e)").replace("while (a)", "while (b)")
    assert lower(changed, hoisted, "x.c") == expected


@pytest.mark.parametrize("gone", ["int hurdle_nested_0;", "int hurdle_end_1;", "/*hurdle_attr"])
def test_a_part_that_was_lost_is_an_error(gone: str) -> None:
    hoisted = hoist(_FILE)
    with pytest.raises(UsageError, match="can't be put back"):
        lower(hoisted.text.replace(gone, ""), hoisted, "x.c")


def test_a_file_without_nested_functions_stays_as_it_is() -> None:
    text = (
        "int\nf (int a)\n{\n  LOOP (a) { g (a); }\n  else if (a) { g (a); }\n}\nint g (void) {}\n"
    )
    assert hoist(text).text == text


def test_new_lines_get_the_space_that_the_file_has_and_old_ones_stay() -> None:
    original = "f (a);\nG(b);\nmixed (1);\nmixed(2);\nold (3);\n"
    new = 'end (f(a), G(b));\nmixed(2);\nx = mixed(4) + old(3) + "old(3)";\n'
    assert respaced(new, original) == (
        'end (f (a), G(b));\nmixed(2);\nx = mixed(4) + old (3) + "old(3)";\n'
    )


def test_only_new_lines_are_measured_for_style() -> None:
    kernel, wide = "if (a) {", "\t" + "x" * 72
    assert foreign_braces(f"b\n{kernel}\n  }} else {{\n{{\n", "b\n") == (2, 3)
    assert foreign_braces(f"b\n{kernel}\n", f"{kernel}\n") == ()
    assert wide_lines(f"b\n{wide}\n{wide[:-1]}\n", "b\n") == (2,)
    assert wide_lines(f"{wide}\n", f"{wide}\n") == ()
