"""results.jsonl: whole lines whatever happens, and back again."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.events import Note
from harness.report.jsonl import JsonlWriter, read_events
from tests.pure.sample_run import Case, sample


def test_events_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    events = sample(Case.UNEXPECTED)
    with JsonlWriter(path) as writer:
        for event in events:
            writer(event)
    assert read_events(path) == events


def test_each_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    writer = JsonlWriter(path)
    for number in range(3):
        writer(Note(level="info", text=str(number)))
        assert path.read_bytes().count(b"\n") == number + 1
    writer.close()


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    events = sample(Case.EMPTY)
    with JsonlWriter(path) as writer:
        for event in events:
            writer(event)
    whole = path.read_bytes()
    last = len(whole.rstrip(b"\n").rpartition(b"\n")[2])
    for cut in range(2, last):
        path.write_bytes(whole[:-cut])
        assert read_events(path) == events[:-1]


def test_a_bad_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    note = Note(level="info", text="a").model_dump_json()
    path.write_text(f'{note}\n{{"kind": "moon"}}\n{note}\n')
    with pytest.raises(UsageError, match=r"results\.jsonl:2: no event of a run") as caught:
        read_events(path)
    assert caught.value.hint


def test_a_missing_file_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_events(tmp_path / "results.jsonl")


def test_text_with_line_separators_and_controls_survives(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    text = "a\x00b\u2028c\x85d\ne\x1b[0m \ufffd"
    with JsonlWriter(path) as writer:
        writer(Note(level="info", text=text))
    (event,) = read_events(path)
    assert isinstance(event, Note) and event.text == text


def test_a_lone_surrogate_does_not_stop_the_run(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with JsonlWriter(path) as writer:
        writer(Note(level="info", text="file \udcff"))
    (event,) = read_events(path)
    assert isinstance(event, Note) and event.text == "file ?"


def test_an_event_after_the_end_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    writer = JsonlWriter(path)
    writer(Note(level="info", text="1"))
    writer.close()
    writer(Note(level="info", text="2"))
    writer.close()
    assert [event.text for event in read_events(path) if isinstance(event, Note)] == ["1", "2"]


def test_a_full_disk_leaves_whole_lines_and_closing_says_nothing_of_it_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "results.jsonl"
    short, long = Note(level="info", text="short"), Note(level="info", text="long " * 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))  # a write beyond fails with EFBIG
    try:
        with JsonlWriter(path) as writer:
            writer(short)
            with pytest.raises(OSError):
                writer(long)
            writer(short)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_events(path) == [short, short]
    assert path.read_bytes().endswith(b"\n")
