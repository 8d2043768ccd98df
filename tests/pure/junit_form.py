"""The form of JUnit XML that CI servers read (Jenkins' junit-10.xsd, which the others follow)."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
_ATTRIBUTES = {
    "testsuites": {"name", "time", *_COUNTS},
    "testsuite": {"name", "time", "timestamp", "hostname", *_COUNTS},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message", "type"},
    "system-out": set(),
}
#: what an element holds, in this order
_CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"(properties )?(testcase )*(system-out )?",
    "properties": r"(property )*",
    "testcase": r"((failure|error|skipped) )?(system-out )?",
}
_REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"name", "classname"},
    "property": {"name", "value"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
}
_NUMBER = re.compile(r"\d+(\.\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.+].*)?")


def check(xml: bytes) -> ElementTree.Element:
    """The root, after every element of it was found to be of the form."""
    root = ElementTree.fromstring(xml)
    assert root.tag == "testsuites" and len(root)
    for element in root.iter():
        keys = set(element.keys())
        assert keys <= _ATTRIBUTES[element.tag], element.attrib
        assert keys >= _REQUIRED.get(element.tag, set()), (element.tag, element.attrib)
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(_CHILDREN.get(element.tag, ""), children), (element.tag, children)
        for name in keys & set(_COUNTS):
            assert int(element.attrib[name]) == len(list(element.iter(_COUNTS[name])))
        if "time" in keys:
            assert _NUMBER.fullmatch(element.attrib["time"])
        if "timestamp" in keys:
            assert _TIME.fullmatch(element.attrib["timestamp"])
    for suite in root:
        names = [(each.get("classname"), each.get("name")) for each in suite.iter("testcase")]
        assert len(set(names)) == len(names) and names, "a test case is told apart by its names"
    return root
