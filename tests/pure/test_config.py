"""A wrong file is refused with its name, the line and a cure."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from harness.config import Spec, load, parse_overrides
from harness.errors import UsageError


class Inner(Spec):
    size: int = Field(ge=1)


class Outer(Spec):
    name: str
    inner: Inner
    items: tuple[Inner, ...] = ()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return path


def test_reads_a_good_file(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\ninner: {size: 3}\n")
    assert load(path, Outer) == Outer(name="a", inner=Inner(size=3))


def test_an_unknown_key_is_refused_with_line_and_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\ninner:\n  size: 3\n  sise: 4\n")
    with pytest.raises(UsageError) as caught:
        load(path, Outer)
    assert f"{path}:4: inner.sise" in str(caught.value)
    assert caught.value.hint == "did you mean 'size' instead of 'sise'?"


def test_an_error_inside_a_list_names_the_element_s_line(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\ninner: {size: 1}\nitems:\n- size: 1\n- size: 0\n")
    with pytest.raises(UsageError, match=rf"{path}:5: items\.1\.size"):
        load(path, Outer)


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\ninner: {size: 3}\n")
    assert load(path, Outer, {"inner.size": "7"}).inner.size == 7


def test_a_file_changes_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: a\ninner: {size: 3}\nitems: [{size: 1}]\n")
    path = write(tmp_path, "extends: base.yaml\nname: b\nitems: [{size: 2}, {size: 3}]\n")
    assert load(path, Outer) == Outer(
        name="b", inner=Inner(size=3), items=(Inner(size=2), Inner(size=3))
    )
    assert load(path, Outer, {"inner.size": "7"}).inner.size == 7
    write(tmp_path, "extends: base.yaml\ninner: {sise: 3}\n")
    with pytest.raises(UsageError, match=rf"{path}:2: inner.sise"):
        load(path, Outer)


@pytest.mark.parametrize("base", ["file.yaml", "nowhere.yaml", "[1]"])
def test_what_can_t_be_extended_is_refused(tmp_path: Path, base: str) -> None:
    path = write(tmp_path, f"extends: {base}\nname: a\ninner: {{size: 3}}\n")
    with pytest.raises(UsageError):
        load(path, Outer)


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "just text\n", "a: [1\n", "a: !!python/object:x y\n"]
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load(write(tmp_path, text), Outer)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "none.yaml", Outer)


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused_with_a_usage_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(text)
        with pytest.raises(UsageError):
            load(path, Outer)


def test_overrides_need_key_and_value() -> None:
    assert parse_overrides(["a.b=c=d", "e="]) == {"a.b": "c=d", "e": ""}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_overrides(["nothing"])
