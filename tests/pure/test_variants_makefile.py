"""Words appended to a make variable."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.variants.makefile import append_words

_MAKEFILE = """# SRCS = not this
dir := ext2fs
SRCS = balloc.c dir.c \\
       inode.c
OBJS = $(SRCS:.c=.o)
libs: SRCS = other.c
\tSRCS = recipe.c
SRCS += late.c
LIBS = $(foreach l,a b,$l) # why
TWICE = a
TWICE := b
"""


def test_words_go_to_the_end_of_the_assignment_that_may_span_lines() -> None:
    done = append_words(_MAKEFILE, "SRCS", ["journal.c", "revoke.c"], "Makefile")
    assert done == _MAKEFILE.replace("inode.c\n", "inode.c journal.c revoke.c\n")


def test_a_line_that_gets_too_long_is_folded() -> None:
    text = "SRCS = " + "x" * 61 + ".c"
    done = append_words(text, "SRCS", ["journal.c", "checkpoint.c"], "Makefile")
    assert done == text + " \\\n\tjournal.c checkpoint.c"


def test_an_empty_variable_gets_its_first_word() -> None:
    assert append_words("A =\nB = c\n", "A", ["x"], "Makefile") == "A = x\nB = c\n"


@pytest.mark.parametrize(
    ("variable", "word", "message"),
    [
        ("SOURCES", "x.c", "sub/Makefile: the variable SOURCES is not assigned"),
        ("TWICE", "x.c", "the variable TWICE is assigned 2 times"),
        ("SRCS", "inode.c", "SRCS already has inode.c"),
        ("SRCS", "late.c", "SRCS already has late.c"),
        ("LIBS", "x", "LIBS ends in a comment"),
    ],
)
def test_what_can_t_be_edited_is_an_error(variable: str, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        append_words(_MAKEFILE, variable, [word], "sub/Makefile")
