"""JUnit XML as a CI server reads it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.report.html import write_all
from harness.report.junit import junit_xml
from harness.verdicts import Expectation, Verdict
from tests.pure.junit_form import check
from tests.pure.sample_run import Case, sample


def _cases(case: Case) -> dict[tuple[str, str], ElementTree.Element]:
    root = ElementTree.fromstring(junit_xml(sample(case)))
    return {
        (suite.attrib["name"], test.attrib["name"]): test
        for suite in root.iter("testsuite")
        for test in suite.iter("testcase")
    }


def _child(test: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = test.find(tag)
    assert found is not None, f"no {tag} in {ElementTree.tostring(test)!r}"
    return found


@pytest.mark.parametrize("case", list(Case))
def test_the_file_has_the_form_that_ci_servers_read(case: Case) -> None:
    check(junit_xml(sample(case)))


def test_an_expected_fail_is_a_passed_test() -> None:
    root = ElementTree.fromstring(junit_xml(sample(Case.EXPECTED)))
    assert root.attrib["tests"] == "12"
    assert root.attrib["failures"] == root.attrib["errors"] == "0"
    test = _cases(Case.EXPECTED)["ext2", "prefix: object"]
    assert test.attrib["classname"] == "directory.linux-control.ext2"
    assert "expected FAIL, found FAIL in 150 states (135 PASS, 15 FAIL)" in (
        _child(test, "system-out").text or ""
    )


def test_a_surprise_is_a_failure_with_the_first_states_and_their_evidence() -> None:
    cases = _cases(Case.UNEXPECTED)
    failed = [key for key, test in cases.items() if test.find("failure") is not None]
    assert failed == [("ext3", "prefix: object")]
    failure = _child(cases[failed[0]], "failure")
    assert "expected PASS, found FAIL" in failure.attrib["message"]
    assert failure.text is not None
    assert failure.text.startswith("prefix-0143: home/loshmi/test-dir3: is absent")
    assert "evidence: ext3/prefix-0143/object.txt" in failure.text
    assert failure.text.endswith("and 1 more state")


def test_infra_is_an_error_and_the_broken_run_a_suite_of_its_own() -> None:
    cases = _cases(Case.INFRA)
    assert "INFRA" in _child(cases["ext2", "kill: boot"], "error").attrib["message"]
    ends = _child(cases["run", "ends"], "error")
    assert ends.attrib == {"message": "QEMU failed with exit code 1", "type": "host failed"}
    assert "next: see out/logs/qemu-ext2.log" in (ends.text or "")


def test_a_run_that_stopped_is_an_error() -> None:
    cases = _cases(Case.INTERRUPTED)
    assert _child(cases["run", "ends"], "error").attrib["type"] == "did not end"
    assert _child(cases["ext2", "prefix: boot"], "error").attrib["type"] == "not-compared"


def test_a_variant_that_nobody_judged_is_an_error() -> None:
    # A test that was planned and did not report has not passed.
    assert _child(_cases(Case.EMPTY)["ext3", "judged"], "error").attrib["type"] == "not-judged"


def test_void_alone_is_skipped_with_its_reason() -> None:
    events = [
        event.model_copy(update={"ok": True, "found": Verdict.VOID, "expected": Expectation.VOID})
        if event.kind == "expectation"
        else event
        for event in sample(Case.VOID)
    ]
    root = ElementTree.fromstring(junit_xml(events))
    skipped = [each.attrib["message"] for each in root.iter("skipped")]
    assert "VOID: no write of the workload is in this state" in skipped


def test_versions_are_properties() -> None:
    root = ElementTree.fromstring(junit_xml(sample()))
    properties = {p.attrib["name"]: p.attrib["value"] for p in root.iter("property")}
    assert properties["e2fsprogs"] == "e2fsck 1.47.0 (5-Feb-2023)"
    assert properties["accel"] == "tcg"


def test_write_all_replaces_whole_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_all(sample(Case.EMPTY), tmp_path)
    write_all(sample(Case.EXPECTED), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["junit.xml", "report.html"]
    assert (tmp_path / "junit.xml").read_bytes() == junit_xml(sample(Case.EXPECTED))
