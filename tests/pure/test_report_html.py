"""The page: whole, self-contained and safe, whatever the events say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.events import (
    EVENT,
    CommandRan,
    Compared,
    DiskLog,
    Event,
    Note,
    ObjectExpected,
    ObjectView,
    OpDone,
    PhaseBegan,
    PhaseEnded,
    RunBegan,
    RunEnded,
    StatesPlanned,
    TextKept,
    VerdictGiven,
)
from harness.report.html import page
from harness.report.junit import junit_xml
from tests.pure.sample_run import Case, sample

_VOID_TAGS = {"meta", "link", "br", "hr", "img", "input"}


class _Checker(HTMLParser):
    """Every tag that opens is closed, in order; remembers what the page would load."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes nothing"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _check(html: str) -> _Checker:
    checker = _Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    tags = {tag for tag, _, _ in checker.attributes}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "base"}
    for _, name, value in checker.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value == "data:," or re.fullmatch("#[A-Z]+", value), value
    return checker


@pytest.mark.parametrize("case", Case)
def test_every_ending_makes_a_whole_page_that_loads_nothing(case: Case) -> None:
    html = page(sample(case))
    _check(html)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_the_verdict_comes_first() -> None:
    text = " ".join("".join(_check(page(sample(Case.VOID))).text).split())
    caveat = text.index("618 prove nothing (VOID)")
    headline = text.index("ext3 lost nothing", caveat)
    assert text.index("A directory made six seconds before") > headline


def test_no_verdict_is_told_by_colour_alone() -> None:
    html = page(sample(Case.UNEXPECTED))
    for verdict in ("PASS", "FAIL", "VOID", "INFRA"):
        symbol = re.search(rf'<symbol id="{verdict}".*?</symbol>', html)
        assert symbol is not None
    shapes = {re.sub("c-[A-Z]+|id=.[A-Z]+", "", s) for s in re.findall("<symbol.*?</symbol>", html)}
    assert len(shapes) >= 3  # PASS and VOID have one shape, solid and dashed
    assert "stroke-dasharray" in html[html.index(".c-VOID rect") :][:80]
    assert '<span class="g" aria-hidden="true">✗</span>FAIL' in html


def test_the_object_shows_the_bad_inode_and_the_good_one() -> None:
    html = page(sample(Case.EXPECTED))
    assert '<td class="odd">bad type<span class="tag">never written</span></td>' in html
    assert '<td class="odd">0000<span class="tag">never written</span></td>' in html
    assert "As neither" not in html


def test_every_prefix_has_a_cell_in_every_lane() -> None:
    html = page(sample(Case.EXPECTED, prefixes=150))
    cells = re.findall(r'<use href="#(PASS|FAIL)" x=', html)
    assert len(cells) == 2 * 3 * 150
    assert cells.count("FAIL") == 3 * 15
    assert "prefix-0131: structure FAIL: a full check finds 2 kinds of damage" in html


def test_commands_and_versions_are_there_to_paste() -> None:
    text = "".join(_check(page(sample())).text)
    assert "hurdle run scenarios/directory.yaml --guest linux-control" in text
    assert "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)" in text
    assert "e2fsck -y -E journal_only" in text


_HOSTILE = (
    "</pre></details></section><script>alert(1)</script>",
    "]]>",
    "a\x00b\x1b[31mc\x1b]0;t\x07\x9b2J",
    "\ufffd\ufffe\u202e\u2028",
    "{{ 7 * 7 }}{% raw %}",
    "&amp;&#0;&nbsp;",
    "'\"><img src=x onerror=alert(1)>",
    "x" * 10_000,
    "\udcff",
)


@pytest.mark.parametrize("text", _HOSTILE)
def test_hostile_text_stays_text_everywhere(text: str) -> None:
    events = [_poisoned(event, text) for event in sample(Case.UNEXPECTED, prefixes=3)]
    checker = _check(page(events))
    if "script" in text:
        assert text in "".join(checker.text)
    ElementTree.fromstring(junit_xml(events))


_FREE = (
    *("detail", "command", "op", "output", "text", "title", "reason", "note", "message", "hint"),
    *("path", "scenario", "guest", "guest_title", "accel_reason", "state", "what"),
)


def _poisoned(event: Event, text: str) -> Event:
    """The event with `text` behind every string of it that a guest or a tool can have written."""
    update: dict[str, object] = {
        name: getattr(event, name) + text for name in _FREE if hasattr(event, name)
    }
    if isinstance(event, RunBegan):
        update["versions"] = {
            f"{name}{text}": value + text for name, value in event.versions.items()
        }
    if isinstance(event, ObjectView):
        update["fields"] = {f"{name}{text}": value + text for name, value in event.fields.items()}
    return event.model_copy(update=update)


# Any strings, but few enough variants and paths that events meet each other.
_TEXT = st.text(max_size=12)
_NAMES = st.sampled_from(["ext2", "ext3", "", "\x00"])
_KINDS: tuple[type[Event], ...] = (
    RunBegan, PhaseBegan, PhaseEnded, CommandRan, OpDone, DiskLog, ObjectView, ObjectExpected,
    StatesPlanned, VerdictGiven, Compared, TextKept, Note, RunEnded,
)  # fmt: skip


def _event(kind: type[Event]) -> st.SearchStrategy[Event]:
    given: dict[str, st.SearchStrategy[object]] = {"t": st.floats()}
    if "variant" in kind.model_fields:
        given["variant"] = _NAMES
    if kind is VerdictGiven:
        given["position"] = st.none() | st.integers()
    return st.builds(kind, **given)


def _events() -> st.SearchStrategy[list[Event]]:
    st.register_type_strategy(str, _TEXT)
    return st.lists(st.one_of([_event(kind) for kind in _KINDS]), max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_events())
def test_any_events_make_a_page_and_junit(events: list[Event]) -> None:
    _check(page(events))
    ElementTree.fromstring(junit_xml(events))


_SAMPLES = [sample(case, prefixes=5) for case in Case]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(_SAMPLES), st.data())
def test_a_run_cut_off_or_shuffled_makes_a_page_and_junit(
    events: list[Event], data: st.DataObject
) -> None:
    some = events[: data.draw(st.integers(0, len(events)))]
    for order in (some, data.draw(st.permutations(some))):
        _check(page(order))
        ElementTree.fromstring(junit_xml(order))


def test_the_sample_is_made_of_valid_events() -> None:
    for events in _SAMPLES:
        for event in events:
            assert EVENT.validate_json(event.model_dump_json()) == event
