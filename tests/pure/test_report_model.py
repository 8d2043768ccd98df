"""The view that all reports share, and the text that passes through it."""

from __future__ import annotations

import pytest

from harness.errors import Exit
from harness.events import (
    Commit,
    Compared,
    DiskLog,
    Event,
    FindingRecord,
    ObjectExpected,
    ObjectView,
    OpDone,
    PhaseBegan,
    PhaseEnded,
    RunEnded,
    VerdictGiven,
)
from harness.report.model import build
from harness.report.strip import PER_LARGE_PIECE, strip
from harness.report.text import clean, clean_line, counted, duration, excerpt, listed, size
from harness.report.timeline import timeline
from harness.report.view import Ending, Standing
from harness.verdicts import CrashModel, Expectation, Oracle, Verdict
from tests.pure.sample_run import Case, sample


def test_a_green_run_is_told_in_one_sentence_with_its_crash_models() -> None:
    report = build(sample(Case.EXPECTED))
    assert report.ending is Ending.OK
    assert report.caveat == ""
    assert report.headline == (
        "ext3 lost nothing after the kill and in 150 prefixes of the write log; ext2 was damaged, "
        "would not boot unattended and lost test-dir3 after the kill and in 15 of 150 "
        "prefixes, as expected."
    )


def test_what_was_not_expected_is_called_so() -> None:
    report = build(sample(Case.UNEXPECTED))
    assert report.ending is Ending.UNEXPECTED
    assert report.headline.startswith("ext3 lost test-dir3 in 6 of 150 prefixes, not expected;")


def test_void_is_said_first_and_not_counted_as_passed() -> None:
    report = build(sample(Case.VOID))
    assert report.caveat == "Of 906 verdicts, 618 prove nothing (VOID)."
    assert "ext3 lost nothing after the kill and in 47 prefixes" in report.headline


def test_a_state_that_an_oracle_was_not_asked_about_counts_by_the_others() -> None:
    verdicts = [_verdict(n, Oracle.STRUCTURE, Verdict.PASS) for n in range(14)]
    verdicts += [_verdict(n, Oracle.OBJECT, Verdict.PASS) for n in range(7, 14)]
    (variant,) = build(verdicts).variants
    assert variant.sentence == "v lost nothing in 14 prefixes of the write log"


def test_what_broke_comes_before_what_was_found() -> None:
    report = build(sample(Case.INFRA))
    assert report.ending is Ending.INFRA
    assert report.headline.startswith("The host or a tool failed: QEMU failed with exit code 1.")
    assert report.headline.endswith("ext2 could not be judged.")
    assert report.caveat == "Of 459 verdicts, 6 say nothing of the file system (INFRA)."


def test_a_run_that_stopped_is_not_taken_for_green() -> None:
    report = build(sample(Case.INTERRUPTED))
    assert report.ending is Ending.CUT_OFF
    assert report.headline.startswith("The run did not end")
    cells = [cell for cell in report.cells if cell.variant == "ext2"]
    assert cells and all(cell.ok is None and cell.expected is None for cell in cells)


def test_an_exit_code_does_not_outshine_an_unmet_expectation() -> None:
    events = [e for e in sample(Case.UNEXPECTED) if not isinstance(e, RunEnded)]
    assert build([*events, RunEnded(exit_code=0, message="fine")]).ending is Ending.UNEXPECTED


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (Exit.OK, Ending.VOID),  # with nothing judged, nothing is proved
        (Exit.VOID, Ending.VOID),
        (Exit.GUEST, Ending.GUEST),
        (Exit.TERMINATED, Ending.INTERRUPTED),
        (77, Ending.INFRA),
    ],
)
def test_every_exit_code_has_an_ending(code: int, ending: Ending) -> None:
    assert build([RunEnded(exit_code=code, message="")]).ending is ending


def test_a_run_that_judged_nothing_is_not_green() -> None:
    assert build(sample(Case.EMPTY)).ending is Ending.VOID
    half = [e for e in sample(Case.EXPECTED) if getattr(e, "variant", "") != "ext2"]
    assert build(half).ending is Ending.VOID


def test_no_event_at_all_is_a_report_too() -> None:
    report = build([])
    assert report.ending is Ending.CUT_OFF
    assert report.headline.endswith("No crash state was judged.")


def test_a_planned_variant_that_never_ran_is_listed_as_not_judged() -> None:
    events = [e for e in sample(Case.EXPECTED) if getattr(e, "variant", "") != "ext2"]
    report = build(events)
    assert [variant.name for variant in report.variants] == ["ext3", "ext2"]
    assert report.headline.endswith("; ext2 was not judged.")


def test_phases_have_real_lengths_and_an_open_one_lasts_to_the_end() -> None:
    events: list[Event] = [
        PhaseBegan(t=1.0, variant="v", phase="boot"),
        PhaseEnded(t=11.0, variant="v", phase="boot", seconds=10.0, ok=True),
        PhaseEnded(t=12.0, variant="v", phase="lost its begin", seconds=0.5, ok=False),
        PhaseBegan(t=12.0, variant="v", phase="workload"),
        OpDone(
            t=15.0, variant="v", index=0, op="sync", began=12.0, ended=15.0,
            log_before=0, log_after=4, ok=True,
        ),
    ]  # fmt: skip
    phases = build(events).variants[0].phases
    assert [(p.name, p.began, p.ended, p.ok) for p in phases] == [
        ("boot", 1.0, 11.0, True),
        ("lost its begin", 11.5, 12.0, False),
        ("workload", 12.0, 15.0, None),
    ]


def _op(index: int, began: float, before: int, after: int) -> OpDone:
    return OpDone(
        variant="v", index=index, op="mkdir a", began=began, ended=began + 1,
        log_before=before, log_after=after, ok=True,
    )  # fmt: skip


def _log(*commits: Commit, flushes: tuple[int, ...] = (), workload_from: int = 0) -> DiskLog:
    return DiskLog(
        variant="v", entries=100, writes=98, flushes=2, discards=0, bytes_written=4096, settled=90,
        in_flight=3, torn_bytes=0, workload_from=workload_from, commits=commits,
        flush_entries=flushes,
    )  # fmt: skip


def test_operations_bound_the_time_of_a_commit() -> None:
    # The log had 10 entries when the second operation began at 5 s and 20 when it returned at 6 s.
    ops = [_op(0, 2.0, 5, 10), _op(1, 5.0, 10, 20), _op(2, 8.0, 30, 40)]
    log = _log(Commit(entry=15, tid=1), Commit(entry=25, tid=2), Commit(entry=60, tid=3))
    end = RunEnded(t=20.0, exit_code=0, message="")
    commits = build([*ops, log, end]).variants[0].commits
    assert [(c.earliest, c.latest) for c in commits] == [(5.0, 6.0), (6.0, 8.0), (9.0, 20.0)]


def _verdict(position: int, oracle: Oracle, verdict: Verdict, variant: str = "v") -> VerdictGiven:
    return VerdictGiven(
        verdict=verdict, oracle=oracle, scenario="s", guest="g", variant=variant,
        model=CrashModel.PREFIX, state=f"prefix-{position:04d}", reason="because", evidence="",
        position=position,
    )  # fmt: skip


def test_the_map_puts_marks_between_the_states_that_they_part() -> None:
    flushes = (3, 11, 15)
    # A state holds the flushes behind its last write, so no state ends before a flush.
    upto = [count for count in range(10, 60) if count not in flushes][: PER_LARGE_PIECE + 2]
    verdicts = [
        _verdict(n, Oracle.STRUCTURE, Verdict.FAIL if n == 13 else Verdict.PASS) for n in upto
    ]
    log = _log(Commit(entry=13, tid=7), flushes=flushes, workload_from=10)
    drawn = strip(build([log, *verdicts]).variants[0])
    assert drawn is not None
    assert [piece.cells for piece in drawn.pieces] == [PER_LARGE_PIECE, 2]
    marks = {(mark.kind, mark.cell, mark.over) for mark in drawn.pieces[0].marks}
    # The states' last writes are the entries 9, 10, 12, 13, 14, 16 ...; the commit block 13 is the
    # cell 3 itself, and the flush 3 lies before the first state.
    assert marks == {
        ("flush", 2, False),
        ("flush", 5, False),
        ("commit", 3, True),
        ("begin", 1, False),
    }
    runs = drawn.pieces[0].lanes[0].runs
    assert [(run.verdict, run.first, run.count) for run in runs] == [
        (Verdict.PASS, 0, 2),
        (Verdict.FAIL, 2, 1),
        (Verdict.PASS, 3, PER_LARGE_PIECE - 3),
    ]


@pytest.mark.parametrize(
    ("states", "large", "pieces"),
    [(1, True, 1), (108, True, 6), (109, False, 4), (3000, False, 108)],
)
def test_the_map_takes_few_states_and_many(states: int, large: bool, pieces: int) -> None:
    verdicts = [_verdict(n, Oracle.BOOT, Verdict.PASS) for n in range(1, states + 1)]
    drawn = strip(build(verdicts).variants[0])
    assert drawn is not None
    assert (drawn.large, len(drawn.pieces)) == (large, pieces)
    assert sum(run.count for p in drawn.pieces for run in p.lanes[0].runs) == states


def test_a_commit_of_the_set_up_is_not_drawn_into_the_workload() -> None:
    op = _op(0, 5.0, 10, 12)
    log = _log(
        Commit(entry=8, tid=1, seen=5.5), Commit(entry=14, tid=2, seen=9.0), workload_from=10
    )
    events: list[Event] = [
        PhaseBegan(t=5.0, variant="v", phase="workload"),
        op,
        PhaseEnded(t=10.0, variant="v", phase="workload", seconds=5.0, ok=True),
        log,
    ]
    line = timeline(build(events).variants[0])
    assert line is not None and line.zoom is not None
    commits = [bar for bar in line.zoom.bars if bar.kind == "commit"]
    assert [(bar.label, bar.value) for bar in commits] == [("commit of transaction 2", "at 4.0 s")]
    assert commits[0].x == pytest.approx(80.0)


def test_a_state_without_a_place_on_the_log_is_not_drawn() -> None:
    event = _verdict(10, Oracle.BOOT, Verdict.PASS).model_copy(update={"position": None})
    assert strip(build([event]).variants[0]) is None


@pytest.mark.parametrize(
    ("codes", "word"),
    [
        (("object-lost", "dangling-entry"), "lost"),
        (("object-fields",), "garbled"),
        (("object-fields", "object-lost"), "lost or garbled"),
        ((), "lost or garbled"),
    ],
)
def test_the_sentence_says_what_happened_to_the_objects(codes: tuple[str, ...], word: str) -> None:
    findings = tuple(FindingRecord(code=code, kind="damage", text="") for code in codes)
    event = _verdict(10, Oracle.OBJECT, Verdict.FAIL).model_copy(update={"findings": findings})
    assert build([event]).variants[0].sentence == f"v {word} an object in 1 of 1 prefix"


def test_the_time_line_enlarges_what_is_about_the_crash() -> None:
    line = timeline(build(sample(Case.EXPECTED)).variants[0])
    assert line is not None and line.zoom is not None
    assert [bar.kind for bar in line.zoom.bars] == ["op", "wait", "kill", "commit"]
    assert line.factor == 4
    boot = next(bar for bar in line.whole.bars if bar.label == "boot")
    wait = next(bar for bar in line.whole.bars if bar.label == "wait")
    assert boot.width / wait.width == pytest.approx(9.84 / 7.0, rel=0.01)


def test_a_thousand_phases_apart_still_have_true_proportions() -> None:
    events: list[Event] = [
        PhaseEnded(t=100.0, variant="v", phase="boot", seconds=100.0, ok=True),
        PhaseEnded(t=100.1, variant="v", phase="kill", seconds=0.1, ok=True),
    ]
    line = timeline(build(events).variants[0])
    assert line is not None
    widths = [bar.width for bar in line.whole.bars]
    assert widths[0] / widths[1] == pytest.approx(1000, rel=0.01)
    assert sum(widths) == pytest.approx(100)


@pytest.mark.parametrize("seconds", [0.0011, 0.5, 0.99, 1.0, 7.4, 9.999, 16.9, 60.0, 99.0, 7200.0])
def test_an_axis_has_some_ticks_and_not_too_many(seconds: float) -> None:
    events = [PhaseEnded(t=seconds, variant="v", phase="boot", seconds=seconds, ok=True)]
    line = timeline(build(events).variants[0])
    assert line is not None
    assert 3 <= len(line.whole.ticks) <= 7
    assert all(0 <= x <= 100 for x, _ in line.whole.ticks)


def _view(when: str, **fields: str) -> ObjectView:
    return ObjectView.model_validate(
        {
            "variant": "v", "model": "kill", "state": "kill", "path": "d", "when": when,
            "present": bool(fields), "fields": fields, "text": "",
        }
    )  # fmt: skip


def test_an_inode_that_was_never_written_stands_out_before_recovery() -> None:
    events: list[Event] = [
        ObjectExpected(
            path="d", was=None, now={"type": "directory", "mode": "0775", "uid": "1001"}
        ),
        _view("before", Type="bad type", Mode="0000", User="0"),
        _view("after", Type="directory", Mode="0775", User="1001"),
    ]
    (pair,) = build(events).variants[0].objects
    assert pair.standing is Standing.AFTER
    rows = {row.name: row for row in pair.rows}
    assert rows["Type"].odd and rows["Mode"].odd and not rows["User"].odd
    assert all(row.changed and not row.wrong for row in pair.rows)


def test_a_field_that_is_neither_old_nor_new_is_shown_with_what_was_expected() -> None:
    now = {"type": "directory", "mode": "0700", "uid": "1001"}
    events: list[Event] = [
        ObjectExpected(path="d", was={**now, "mode": "0755"}, now=now),
        _view("after", Type="directory", Mode="0777", User="1001"),
    ]
    (pair,) = build(events).variants[0].objects
    assert pair.standing is Standing.NEITHER
    assert [(row.name, row.expected) for row in pair.rows if row.wrong] == [("Mode", "0700")]


@pytest.mark.parametrize(
    ("was", "standing"), [(None, Standing.BEFORE), ({"mode": "0755"}, Standing.NEITHER)]
)
def test_an_absent_object_is_compared_with_both_states(
    was: dict[str, str] | None, standing: Standing
) -> None:
    now = {"mode": "0700"}
    events: list[Event] = [ObjectExpected(path="d", was=was, now=now), _view("after")]
    (pair,) = build(events).variants[0].objects
    assert (pair.standing, pair.after) == (standing, {})


@pytest.mark.parametrize(("verdict", "expected"), [(Verdict.PASS, None), (Verdict.FAIL, "0700")])
def test_the_oracle_says_whether_the_old_state_will_do(
    verdict: Verdict, expected: str | None
) -> None:
    # The object is as it was before the workload: right, unless the change was acknowledged.
    events: list[Event] = [
        ObjectExpected(path="d", was=None, now={"mode": "0700"}),
        _view("before", mode="0000"),
        _view("after"),
        _verdict(0, Oracle.OBJECT, verdict).model_copy(
            update={"model": CrashModel.KILL, "state": "kill"}
        ),
    ]
    (pair,) = build(events).variants[0].objects
    assert (pair.standing, pair.verdict) == (Standing.BEFORE, verdict)
    assert [(row.name, row.expected, row.wrong) for row in pair.rows] == [
        ("Mode", expected, expected is not None)
    ]


def test_findings_are_grouped_with_damage_first() -> None:
    groups = build(sample(Case.EXPECTED)).variants[1].findings
    assert [(g.code, g.kind, g.states) for g in groups] == [
        ("block-bitmap", "damage", 16),
        ("dangling-entry", "damage", 16),
    ]
    assert groups[0].more == 3 and len(groups[0].texts) == 6


def test_escape_sequences_go_and_other_controls_stay_visible() -> None:
    assert clean("\x1b[31mred\x1b[0m\x00\x07\x7f\x9b") == "red␀␇␡\ufffd"
    assert clean("\x1b]0;title\x07a\x1b") == "a␛"
    assert clean("a\r\nb\rc\ud800\u202e\u2028\ufffe") == "a\nb\nc\ufffd\ufffd\ufffd\ufffd"
    assert clean_line(" a\n\tb  c ") == "a b c"


def test_an_excerpt_says_what_it_leaves_out() -> None:
    lines = excerpt("\n".join(str(n) for n in range(5000))).split("\n")
    assert len(lines) == 2001
    assert lines[500] == "… 3000 lines left out …"
    assert lines[499] == "499" and lines[501] == "3500" and lines[-1] == "4999"
    assert excerpt("x" * 9000).endswith("… 9000 characters")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"), (0.0412, "41 ms"), (0.0999, "0.1 s"), (3.24, "3.2 s"), (59.96, "1 min 00 s"),
        (125, "2 min 05 s"), (3720, "1 h 02 min"), (-1, "0 ms"), (float("nan"), "0 ms"),
    ],
)  # fmt: skip
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_words_for_numbers() -> None:
    assert [counted(1, "entry"), counted(2, "entry")] == ["1 entry", "2 entries"]
    assert [counted(2, "prefix"), counted(3, "flush")] == ["2 prefixes", "3 flushes"]
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert [size(512), size(2048), size(3 << 30)] == ["512 B", "2.0 KiB", "3.0 GiB"]


def test_variants_with_the_same_fate_share_a_sentence_and_a_long_cause_stands_apart() -> None:
    events = [
        event.model_copy(update={"message": "m" * 200} if isinstance(event, RunEnded) else {})
        for event in sample(Case.INFRA)
        if getattr(event, "variant", "") != "ext3"
    ]
    twin = [
        event.model_copy(update={"variant": "ext4"})
        for event in events
        if getattr(event, "variant", "") == "ext2"
    ]
    report = build([*events, *twin])
    assert report.headline == (
        "The host or a tool failed. ext3 was not judged; ext2 and ext4 could not be judged."
    )
    assert report.caveat == "", "that nothing was judged is in the headline already"
    assert [len(variant.reasons) for variant in report.variants] == [0, 1, 1]


def test_the_next_step_is_the_first_surprise_not_the_first_fail() -> None:
    events = [
        event.model_copy(update={"hint": ""}) if isinstance(event, RunEnded) else event
        for event in sample(Case.UNEXPECTED)
    ]
    assert build(events).next_step == (
        "look at ext3/prefix-0143/object.txt in the run's folder (ext3, object at prefix-0143)"
    )
    assert build(sample(Case.EXPECTED)).next_step == "", "ext2 fails as expected"


def test_fails_that_are_expected_and_not_are_told_apart_in_one_sentence() -> None:
    events = [
        event.model_copy(update={"expected": Expectation.PASS, "ok": False})
        if isinstance(event, Compared) and event.oracle is Oracle.STRUCTURE
        else event
        for event in sample(Case.EXPECTED)
    ]
    sentence = build(events).variants[1].sentence
    assert "was damaged after the kill and in 15 of 150 prefixes (not expected), and" in sentence
    assert sentence.endswith("after the kill and in 15 of 150 prefixes (as expected)")


def test_a_fail_that_a_scenario_leaves_open_is_neither_expected_nor_a_surprise() -> None:
    events = [
        event.model_copy(update={"expected": Expectation.ANY})
        if isinstance(event, Compared)
        else event
        for event in sample(Case.EXPECTED)
    ]
    report = build(events)
    assert report.ending is Ending.OK
    assert report.headline.endswith("in 15 of 150 prefixes, which it may.")
