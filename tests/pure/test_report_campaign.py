"""A campaign's page and its JUnit file, from a summary."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from junitparser import JUnitXml

from harness.report.campaign import junit_xml, page
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
    root = ET.fromstring(xml)
    assert root.tag == "testsuites" and [suite.get("name") for suite in root] == ["ext3", "ext2"]
    for suite in root:
        assert {"name", "tests", "failures", "errors", "skipped", "time"} <= set(suite.keys())
        assert int(suite.get("tests") or 0) == len(suite)
        for case in suite:
            assert case.get("name") and case.get("classname")
            assert [each.tag for each in case] in ([], ["failure"])
            assert all(each.get("message") for each in case)
