"""A campaign's page and its JUnit file, from a summary."""

from __future__ import annotations

import shlex
from dataclasses import replace
from io import StringIO

import pytest
from junitparser import JUnitXml
from rich.console import Console

from harness.campaign.failures import _each_cause_first
from harness.campaign.group import Group
from harness.campaign.live import Live
from harness.campaign.rows import Failure
from harness.campaign.summary import _simplest
from harness.report.campaign import Cell, OfRuns
from harness.report.campaign_files import junit_xml, page
from harness.report.sides import markdown, model_table, side_table
from harness.verdicts import CAMPAIGN_ORACLES, CrashModel, Oracle, Verdict
from tests.pure.junit_form import check
from tests.pure.sample_campaign import summary


def test_the_page_answers_in_the_order_in_which_a_reader_asks() -> None:
    text = page(summary())
    asked = ["expectations not met", "Is it safe?", "What broke, how often", "Where in the log"]
    places = [text.index(words) for words in asked]
    assert places == sorted(places)
    assert text.count("hurdle judge out/failures/ext2<") >= 2  # the next step, and the cause
    assert "hurdle judge out/failures/other" in text
    unexpected = text.index('class="surprise">unexpected</span></h4>')
    assert unexpected < text.index("1 cause of failure, all expected")


def test_a_map_draws_each_column_by_what_failed() -> None:
    text = page(summary())
    assert text.count('class="p"') == 2 and text.count('class="commit"') == 1
    assert text.count('class="k"') == 1 and text.count('class="u"') == 1
    assert "4 states from entry 1 on, 2 with a FAIL" in text


def test_nothing_of_a_state_gets_into_the_page_as_markup() -> None:
    text = page(summary("<script>alert(1)</script>\x1b[2J"))
    assert "<script>" not in text and "\x1b" not in text


def test_the_junit_file_is_what_its_consumers_read() -> None:
    xml = junit_xml(summary("\x00<&"))
    found = JUnitXml.fromstring(xml)
    assert (found.tests, found.failures, found.errors, found.skipped) == (10, 5, 0, 0)
    root = check(xml)
    assert [suite.get("name") for suite in root] == ["ext3", "ext2"]
    assert "out/failures/ext2" in next(root.iter("failure")).text  # type: ignore[operator]


@pytest.mark.parametrize(
    ("found", "ok", "tag"),
    [
        (Verdict.FAIL, True, None),  # a documented weakness
        (Verdict.FAIL, False, "failure"),
        (Verdict.VOID, True, "skipped"),
        (Verdict.VOID, False, "failure"),  # a skipped test would leave the build green
        (Verdict.INFRA, False, "error"),
    ],
)
def test_a_verdict_is_what_a_build_has_to_do_about_it(
    found: Verdict, ok: bool, tag: str | None
) -> None:
    made = summary()
    cell = Cell(Oracle.STRUCTURE, "any", found, 3, 9, ok, "why")
    row = replace(made.rows[0], cells=(cell,))
    root = check(junit_xml(replace(made, rows=(row,), tone="fail")))
    (case,) = root.iter("testcase")
    results = [each for each in case if each.tag != "system-out"]
    assert [each.tag for each in results] == ([tag] if tag else [])
    assert all("why" in (each.get("message") or "") for each in results)


def test_a_campaign_that_did_not_end_is_an_error_however_much_of_it_passed() -> None:
    made = summary()
    cut = replace(made, tone="infra", rows=made.rows[:1], headline="the guest died\x1b[2J")
    root = check(junit_xml(cut))
    assert (root.get("failures"), root.get("errors")) == ("0", "1")
    assert [suite.get("name") for suite in root] == ["ext3", "campaign"]
    assert check(junit_xml(replace(cut, rows=()))).get("errors") == "1"


def test_the_tables_have_every_figure_that_the_page_has() -> None:
    made = summary()
    head, ext3, ext2 = side_table(made.sides)
    assert head[:4] == ("variant", "states", "distinct", "FAIL")
    assert dict(zip(head, ext2, strict=True)) == {
        **dict.fromkeys(map(str, CAMPAIGN_ORACLES), "40"),
        "variant": "ext2",
        "states": "100",
        "distinct": "40",
        "FAIL": "40",
        "stops": "20",
        "barrier": "VOID",
    }
    assert ext3[3] == "0" and ext3[-1] == "PASS"
    said = replace(made.sides[1], oracles={}, of_log={Oracle.LIVENESS: OfRuns(Verdict.FAIL, 2, 3)})
    *_, barrier, liveness = side_table((made.sides[0], said))[2]
    assert (barrier, liveness) == ("-", "FAIL 2 of 3")
    _, first, second = model_table(made)
    assert first[:4] == ("ext3", "prefix", "100", "0") and second[3] == "40"
    text = markdown(summary("\x1b[2J|"))
    assert "\x1b" not in text and "| ext2 | 100 | 40 | 40 |" in text


def test_the_next_command_is_one_that_a_shell_takes_and_says_what_it_is_of() -> None:
    cause = replace(summary().causes[0], folder="my out/x'y", others=("z",), operations=(2, 60))
    judged, other = cause.commands
    assert shlex.split(judged) == ["hurdle", "judge", "my out/x'y"] and other == "hurdle judge z"
    said = "structure fails, dangling-entry, ext2, 2 of 60 operations, prefix-00012"
    assert cause.words == said
    text = page(replace(summary(), causes=(cause,), next_step=judged, next_words=said))
    assert "(2 operations of 60)" in text and said in text


def test_the_failure_to_look_at_first_has_the_fewest_operations() -> None:
    cause = summary().causes[0]
    few = replace(cause, operations=(2, 2), state="subset-00120-without-3")
    many = replace(cause, operations=(30, 60), state="prefix-00001")
    run = replace(cause, operations=(0, 0), models=())
    assert _simplest([many, run, few]) is few
    assert _simplest([few, replace(few, state="prefix-00120")]).state == "prefix-00120"


def test_of_many_causes_each_gets_an_example_before_one_of_them_gets_two() -> None:
    example = Failure("c", "prefix-1", CrashModel.PREFIX, 1, Oracle.BOOT, "", "", 0)
    found = [
        Group("ext2", Oracle.BOOT, cause, operation, (CrashModel.PREFIX,), 9, example)
        for cause, operation in (("a", "mkdir"), ("a", "link"), ("b", "link"), ("a", "sync"))
    ]
    order = [(each.cause, each.operation) for each in _each_cause_first(found)]
    assert order == [("a", "mkdir"), ("b", "link"), ("a", "link"), ("a", "sync")]


def test_variants_that_do_not_fit_side_by_side_are_told_one_figure_a_line() -> None:
    def told(width: int) -> list[list[str]]:
        said = StringIO()
        Live(Console(file=said, width=width)).sides(side_table(summary().sides))
        return [line.split() for line in said.getvalue().splitlines()]

    wide, narrow = told(120), told(60)
    assert len(wide) == 3 and wide[0][:3] == ["variant", "states", "distinct"]
    assert [list(column) for column in zip(*wide, strict=True)] == narrow
    assert not any("…" in cell for line in narrow for cell in line)
