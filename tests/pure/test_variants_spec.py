"""variants.yaml: the shipped one is right, wrong ones are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UsageError
from harness.images.source.sources import DirSource, GitSource
from harness.variants.export import Author
from harness.variants.spatch import Part, minus_lines, parse_report
from harness.variants.spec import load_variants, pick

_HOOK = {"rules": "a.cocci", "files": ["a.c"], "introduces": ["begin"]}


def _file(tmp_path: Path, **fields: Any) -> Path:
    path = tmp_path / "variants.yaml"
    variant = {"title": "t", "source": "dir:/nowhere", **fields}
    path.write_text(yaml.safe_dump({"variants": {"x": variant}}))
    return path


def test_the_shipped_variants_are_upstream_commits_with_nothing_laid_over() -> None:
    variants = load_variants()
    for name, commit in {"vanilla": "2288b69c", "mainline": "d80222b9"}.items():
        where = variants[name].where
        assert isinstance(where, GitSource)
        assert where.commit.startswith(commit)
        assert not variants[name].patches


def test_a_setting_replaces_the_tree(tmp_path: Path) -> None:
    variants = load_variants(overrides={"vanilla.source": f"dir:{tmp_path}"})
    assert variants["vanilla"].where == DirSource(tmp_path)


def test_our_files_count_from_the_file_that_names_them(tmp_path: Path) -> None:
    new = [{"into": "ext2fs", "copy": ["glue/a.c"]}]
    path = _file(tmp_path, patches=[{"subject": "s", "new": new}, {"subject": "t", "hook": _HOOK}])
    first, second = load_variants(path)["x"].patches
    assert first.new[0].copy_from == (tmp_path / "glue/a.c",)
    assert second.hook
    assert second.hook.rules == tmp_path / "a.cocci"


def test_an_unknown_variant_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no variant 'nobody'") as caught:
        pick(load_variants(), "nobody")
    assert "vanilla" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"subject": "s"}, "a patch has new files or a hook"),
        ({"subject": "[PATCH] s", "hook": _HOOK}, "a subject is one line"),
        ({"subject": "s", "hook": _HOOK, "body": "a\n---\nb"}, "ends a message at a line"),
        ({"subject": "s", "hook": {**_HOOK, "files": ["../a.c"]}}, "leads out of the tree"),
        ({"subject": "s", "hook": {**_HOOK, "files": ["/a.c"]}}, "leads out of the tree"),
        ({"subject": "s", "hook": {**_HOOK, "introduces": ["a b"]}}, "is no name of C"),
        (
            {"subject": "s", "hook": _HOOK, "new": [{"into": "a", "copy": ["b.c"]}]},
            "new files or a hook, not both",
        ),
    ],
)
def test_a_wrong_patch_is_refused(tmp_path: Path, patch: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_variants(_file(tmp_path, patches=[patch]))


def test_a_rule_file_is_applied_to_a_file_once(tmp_path: Path) -> None:
    patches = [{"subject": "s", "hook": _HOOK}, {"subject": "t", "hook": _HOOK}]
    with pytest.raises(UsageError, match=r"a.cocci is applied 2 times to a.c"):
        load_variants(_file(tmp_path, patches=patches))


def test_a_source_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no tree"):
        load_variants(_file(tmp_path, source="apt:hurd"))


def test_an_author_has_a_name_and_a_mail() -> None:
    assert Author.parse("A B <a@example.org>") == Author("A B", "a@example.org")
    with pytest.raises(UsageError, match="is no author"):
        Author.parse("a@example.org")


_SOURCE = """int
good (void)
{
}

int
bad (void)
{
  update (; /* hidden () */
}
"""

_SAID = """PARSING: a.c
parse error 
 = File "a.c", line 9, column 10, charpos = 60
  around = ';',
  whole content =   update (;
badcount: 5
bad: 
bad: int
bad: bad (void)
bad: {
BAD:!!!!!   update (; /* hidden () */
bad: }
passed:#if 0 
passed:dead ( x ) 
passed:#ifdef B 
passed:dead ( x ) 
passed:#endif 
passed:#endif 
passed:#else 
passed:alive ( x ) 
nb good = 2,  nb bad = 5 =========> 50% good or passed
"""  # noqa: W291


def test_a_parse_report_gives_parts_by_line_and_skipped_tokens_but_no_dead_ones() -> None:
    bad, passed = parse_report(_SAID, "a.c", _SOURCE)
    assert (bad.first, bad.last) == (6, 10)
    assert bad.wanted({"update", "hidden", "good"}) == ("update",)
    assert bad.wanted((), ("^ba",)) == ("bad",)
    assert passed.wanted({"dead", "alive"}) == ("alive",)
    assert str(bad) == "can't parse lines 6-10"


def test_what_is_wrong_in_an_included_header_is_not_the_file_s() -> None:
    said = _SAID.replace('"a.c"', '"a.h"')
    assert [part.first for part in parse_report(said, "a.c", _SOURCE)] == [0]


def test_lines_that_a_diff_takes_away_are_counted_in_the_old_file() -> None:
    diff = "--- a\n+++ b\n@@ -3,4 +3,3 @@ x\n a\n-b\n+c\n+d\n d\n-e\n@@ -20 +19 @@\n-f\n"
    assert minus_lines(diff) == {4, 6, 20}


def test_nothing_reported_is_nothing_unparsed() -> None:
    assert parse_report("PARSING: a.c\nnb good = 2\n", "a.c", _SOURCE) == ()


def test_a_pattern_of_coccinelle_s_is_read_as_it_reads_it() -> None:
    part = Part(1, 2, "dir_mkdir (x) dir_link (y)")
    assert part.wanted((), (r"^dir_\(mkdir\|rmdir\)$",)) == ("dir_mkdir",)
