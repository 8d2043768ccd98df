"""What a person at a terminal, or a CI log, gets to see."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from harness.events import Event, Note, OpDone, PhaseBegan, RunEnded, StatesPlanned
from harness.report.display import Display, timings_table
from harness.verdicts import CrashModel
from tests.pure.sample_run import Case, sample


def _plain(events: Iterable[Event], width: int = 80) -> str:
    sink = io.StringIO()
    with Display(Console(file=sink, width=width), Path("out/x")) as display:
        for event in events:
            display(event)
    return sink.getvalue()


def test_plain_output_has_whole_timestamped_lines_and_no_control_characters() -> None:
    text = _plain(sample(Case.UNEXPECTED))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", text)
    lines = text.split("\n\n")[0].splitlines()
    assert len(lines) < 60, "150 prefixes are summarised"
    assert all(re.match(r" *\d+\.\d s  \S", line) for line in lines)


def test_the_first_failing_prefixes_are_named_and_the_rest_counted() -> None:
    text = _plain(sample(Case.UNEXPECTED))
    assert [n for n in range(143, 149) if f"FAIL object at prefix-0{n}" in text] == [143, 144, 145]
    assert "judged 151 of 151 states: 447 PASS, 6 FAIL" in text
    assert "unexpected: object on prefix is FAIL, expected PASS (150 states)" in text


def test_it_ends_with_what_happened_where_the_report_is_and_what_to_type() -> None:
    *_, what, why, where, following = _plain(sample(Case.UNEXPECTED)).strip().splitlines()
    assert what.startswith("ext3 lost test-dir3 in 6 of 150 prefixes")
    assert why.startswith("1 of 12 expectations not met")
    assert where == "report: out/x/report.html"
    assert following == "next: hurdle judge out/directory-linux-control --state prefix-0140"


def test_a_caveat_comes_before_the_good_news() -> None:
    lines = _plain(sample(Case.VOID)).splitlines()
    caveat = lines.index("Of 906 verdicts, 618 prove nothing (VOID).")
    assert lines[caveat + 1].startswith("ext3 lost nothing")


def test_what_broke_is_said_once() -> None:
    text = _plain(sample(Case.INFRA))
    assert text.count("INFRA structure at none: QEMU failed with exit code 1") == 1
    assert "unexpected: structure on kill is INFRA" not in text


def test_the_table_has_a_line_for_each_variant_model_and_oracle() -> None:
    table = _plain(sample(Case.UNEXPECTED)).split("\n\n")[1].splitlines()
    assert table[0].split() == ["variant", "crash", "oracle", "expected", "found", "states"]
    assert len(table) == 13
    assert table[6].split() == [
        "prefix", "object", "PASS", "FAIL", "144", "PASS,", "6", "FAIL", "UNEXPECTED",
    ]  # fmt: skip


def test_a_long_judging_gives_a_sign_of_life_in_ci() -> None:
    events = sample(Case.EXPECTED, prefixes=163)
    slow = [event.model_copy(update={"t": event.t * 20}) for event in events]
    signs = re.findall(r"ext3: judged \d+ of 164 states: \d+ PASS$", _plain(slow), re.M)
    assert 15 <= len(signs) <= 25


def test_a_kill_that_was_not_planned_does_not_outrun_the_plan() -> None:
    events = [
        event
        for event in sample(Case.EXPECTED)
        if not (isinstance(event, StatesPlanned) and event.model is CrashModel.KILL)
    ]
    assert "ext3: judge took 9.8 s, judged 151 of 151 states" in _plain(events)


def test_ten_thousand_operations_are_not_ten_thousand_lines() -> None:
    ops = [
        OpDone(
            variant="v", index=n, op=f"create {n}", began=n, ended=n + 0.5, log_before=0,
            log_after=0, ok=n != 500, output="no space",
        )
        for n in range(-5, 1000)
    ]  # fmt: skip
    lines = _plain(ops).splitlines()
    assert len(lines) == 12
    assert lines[-1].endswith("v: operation failed: create 500: no space")


def test_hostile_text_can_not_move_the_cursor_or_mark_up() -> None:
    text = _plain([Note(level="error", text="[red]a\x1b[2J\r\nb[/red]\x07 " + "x" * 500)])
    assert text == "     0.0 s  error: [red]a b[/red]␇ " + "x" * 500 + "\n"


@pytest.mark.parametrize("case", Case)
def test_a_terminal_gets_live_lines_that_are_gone_at_the_end(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    sink = io.StringIO()
    console = Console(
        _environ={"TERM": "xterm"}, file=sink, width=80, force_terminal=True, color_system=None
    )
    with Display(console, Path("out/x")) as display:
        for event in sample(case):
            display(event)
    assert "\x1b[?25l" in sink.getvalue(), "the cursor is hidden while lines are live"
    assert sink.getvalue().rindex("\x1b[?25h") > sink.getvalue().rindex("\x1b[?25l")


def test_ci_in_the_environment_means_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    sink = io.StringIO()
    with Display(
        Console(_environ={"TERM": "xterm"}, file=sink, force_terminal=True, color_system=None)
    ) as display:
        for event in sample(Case.EMPTY):
            display(event)
    assert "\x1b" not in sink.getvalue()


def test_the_live_lines_show_phase_and_progress() -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=60)
    display = Display(console, live=False)
    for event in sample(Case.EXPECTED)[:60]:
        display(event)
    display(StatesPlanned(variant="ext3", model=CrashModel.PREFIX, states=99))
    display(PhaseBegan(t=20.0, variant="ext3", phase="judge", detail="d" * 90))
    sink.truncate(0)
    sink.seek(0)
    console.print(display.status())
    first, second = sink.getvalue().strip().splitlines()
    assert re.search(r"ext3  judge \d+ ms · d+…$", first)
    assert re.fullmatch(r"judged \d+ of 100 states: \d+ PASS", second.strip())


def test_timings_have_a_row_for_each_phase_and_a_sum() -> None:
    sink = io.StringIO()
    Console(file=sink, width=80).print(timings_table(sample(Case.INFRA)))
    rows = {line.split()[0]: line.split()[1:] for line in sink.getvalue().splitlines()}
    assert rows["phase"] == ["ext3", "ext2"]
    assert rows["boot"] == ["9.8", "s", "0.4", "s"]
    assert rows["wait"] == ["7.0", "s"]
    assert "all" in rows


def test_an_ending_without_any_run_still_says_what_to_do() -> None:
    text = _plain(
        [RunEnded(exit_code=3, message="no QEMU", hint="apt-get install qemu-system-x86")]
    )
    assert "The host or a tool failed: no QEMU. No crash state was judged." in text
    assert text.endswith("next: apt-get install qemu-system-x86\n")
