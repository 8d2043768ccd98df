"""Which warnings of a build are new."""

from __future__ import annotations

from harness.variants.warn import new_warnings, warnings_in

SAID = """In file included from ext2fs/priv.h:3,
                 from ext2fs/dir.c:20:
ext2fs/dir.c: In function 'lookup':
ext2fs/dir.c:56:29: warning: passing argument 2 of 'f' discards 'const' [-Wdiscarded-qualifiers]
   56 |   f (name);
      |      ^~~~
ext2fs/dir.c:60:3: note: declared here
ext2fs/dir.c:99:5: error: expected ';'
/usr/bin/i686-gnu-ld: warning: pager.o: requires executable stack
"""


def test_warnings_of_compiler_and_linker_are_read_and_nothing_else() -> None:
    assert [str(each) for each in warnings_in(SAID)] == [
        "ext2fs/dir.c:56:29: passing argument 2 of 'f' discards 'const' [-Wdiscarded-qualifiers]",
        "/usr/bin/i686-gnu-ld: pager.o: requires executable stack",
    ]


def test_a_warning_that_only_moved_is_not_new() -> None:
    assert new_warnings(SAID.replace(":56:29", ":71:29"), SAID) == ()


def test_one_more_of_the_same_is_new() -> None:
    more = (
        SAID
        + "ext2fs/dir.c:80:2: warning: passing argument 2 of 'f' discards 'const' "
        + ("[-Wdiscarded-qualifiers]\n")
    )
    assert [each.line for each in new_warnings(more, SAID)] == [":80:2"]


def test_the_same_text_in_another_file_is_new() -> None:
    assert [w.file for w in new_warnings(SAID.replace("dir.c:56", "file.c:56"), SAID)] == [
        "ext2fs/file.c"
    ]


def test_a_warning_that_is_gone_is_no_matter() -> None:
    assert new_warnings("", SAID) == ()
