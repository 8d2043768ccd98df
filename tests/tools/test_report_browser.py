"""The page in a real browser: nothing runs out of it sideways, and nothing is loaded."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from harness.events import CommandRan, Event, ObjectView, TextKept, VerdictGiven
from harness.process import run
from harness.report.campaign_files import page as campaign_page
from harness.report.html import page
from harness.tools import find_tool
from tests.pure.sample_campaign import summary
from tests.pure.sample_run import Case, sample

pytestmark = pytest.mark.tools

_WIDTHS = (360, 400, 768, 1280)
_MEASURE = """
window.onload = () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const inner = frame.contentDocument, view = frame.contentWindow;
    const wide = [...inner.querySelectorAll("body *")].filter(
      e => e.getBoundingClientRect().right > view.innerWidth + 1 && !e.closest(".box, pre, svg"));
    return {
      width: view.innerWidth,
      inner: inner.documentElement.clientWidth, page: inner.documentElement.scrollWidth,
      loaded: view.performance.getEntriesByType("resource").map(e => e.name),
      wide: wide.slice(0, 3).map(e => e.outerHTML.slice(0, 120)),
      headline: inner.querySelector("h1").innerText,
    };
  });
  document.body.innerHTML = "<pre id=seen></pre>";
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
"""


def _browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if find_tool(name):
            return name
    pytest.skip("no chromium here: apt-get install chromium")


def _measure(pages: list[str], folder: Path) -> list[dict[str, object]]:
    """What a browser makes of each page in frames of several widths."""
    frames = "".join(
        f'<iframe srcdoc="{html.escape(text)}" style="width:{width}px;height:900px"></iframe>'
        for text in pages
        for width in _WIDTHS
    )
    outer = folder / "outer.html"
    outer.write_text(f"<!DOCTYPE html><meta charset=utf-8><script>{_MEASURE}</script>{frames}")
    argv = [_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    argv += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    argv += ["--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}"]
    dom = run([*argv, "--dump-dom", outer.as_uri()], timeout=60).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    assert found is not None, dom[-2000:]
    seen: list[dict[str, object]] = json.loads(html.unescape(found[1]))
    return seen


def _stretched(event: Event) -> Event:
    """The event with words too long for any line."""
    word = "/very-long-name" * 40
    if isinstance(event, ObjectView):
        fields = {name: value + word for name, value in event.fields.items()}
        return event.model_copy(update={"path": event.path + word, "fields": fields})
    if isinstance(event, VerdictGiven):
        return event.model_copy(update={"reason": word, "evidence": word})
    if isinstance(event, TextKept):
        return event.model_copy(update={"title": word, "text": word * 9})
    if isinstance(event, CommandRan):
        return event.model_copy(update={"command": word})
    return event


def test_the_page_fits_every_width_and_loads_nothing(tmp_path: Path) -> None:
    events = sample(Case.UNEXPECTED)
    pages = [page(events), page([_stretched(event) for event in events])]
    # Closed boxes count as well: a reader will open them.
    seen = _measure([text.replace("<details>", "<details open>") for text in pages], tmp_path)
    assert [frame["width"] for frame in seen] == [*_WIDTHS, *_WIDTHS]
    for frame in seen:
        assert re.match("ext3 lost (test-dir3|very-long-name) in", str(frame["headline"]))
        assert frame["loaded"] == []
        assert (frame["wide"], frame["page"]) == ([], frame["inner"])


def test_a_campaigns_page_fits_every_width_and_loads_nothing(tmp_path: Path) -> None:
    pages = [campaign_page(summary()), campaign_page(summary("/very-long-name" * 40))]
    seen = _measure([text.replace("<details>", "<details open>") for text in pages], tmp_path)
    assert len(seen) == 2 * len(_WIDTHS)
    for frame in seen:
        assert str(frame["headline"]).startswith("200 crash states") and frame["loaded"] == []
        assert (frame["wide"], frame["page"]) == ([], frame["inner"])
