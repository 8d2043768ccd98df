"""The command line's endings, where nothing has to be started."""

from __future__ import annotations

import sys

import pytest

from harness import cli
from harness.errors import Exit, GuestError, InfraError


def ending(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hurdle", *args])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_the_shipped_scenarios_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, "scenarios") == Exit.OK
    assert "rename-over" in capsys.readouterr().out


def test_scenarios_are_listed_for_a_guest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending(monkeypatch, "scenarios", "--names", "--guest", "linux-control")
    linux = capsys.readouterr().out.split()
    ending(monkeypatch, "scenarios", "--names", "--guest", "hurd-i386-source")
    hurd = capsys.readouterr().out.split()
    assert "directory" in linux and "root-directory" not in linux
    assert {"directory", "root-directory"} <= set(hurd)


@pytest.mark.parametrize(
    ("args", "cure"),
    [
        (("run", "no-such", "--guest", "linux-control"), "rename-over"),
        (("run", "directory", "--guest", "no-such"), "linux-control"),
        (("run", "directory", "--guest", "linux-control", "--set", "x"), "KEY=VALUE"),
        (("run", "directory", "--guest", "linux-control", "--variant", "zfs"), "ext3"),
        (("run", "chmod", "--guest", "linux-control", "--disk", "third"), "'second' or 'root'"),
        (("report", "/nonexistent"), "--out"),
        (("shell", "--guest", "linux-control", "--via", "smoke"), "--via ssh"),
        (("image", "rm", "no-such"), "hurdle image list"),
        (("image", "build", "no-such"), "linux-control"),
    ],
)
def test_a_wrong_command_line_gets_a_cure_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    cure: str,
) -> None:
    assert ending(monkeypatch, *args) == Exit.USAGE
    said = capsys.readouterr().err
    assert cure in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InfraError("disk full", hint="free some"), Exit.INFRA),
        (GuestError("panic", hint="look", console="Kernel panic"), Exit.GUEST),
        (ZeroDivisionError("oops"), Exit.BUG),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: Exit,
) -> None:
    def fail() -> list[object]:
        raise error

    monkeypatch.setattr(cli, "shipped_scenarios", fail)
    assert ending(monkeypatch, "scenarios") == code
    said = capsys.readouterr().err
    assert str(error) in said
    assert ("report it" in said) == (code is Exit.BUG)
