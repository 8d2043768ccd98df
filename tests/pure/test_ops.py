"""Steps become commands that a real shell carries out as the step says."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.guest.profile import Hurd, Linux
from harness.workloads.ops import Commands, describe
from harness.workloads.scenario import Step, User

Do = Callable[[dict[str, Any]], subprocess.CompletedProcess[str]]


@pytest.fixture
def do(tmp_path: Path) -> Do:
    """Carry a step out in the host's own shell, below a folder with an awkward name."""
    root = tmp_path / "it's a root"
    root.mkdir()
    commands = Commands(Linux(), str(root), ())

    def run(step: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        command = commands.of(Step.model_validate(step))
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "it's a root"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_operations_do_what_they_say(do: Do, root: Path) -> None:
    os.umask(0o022)
    for step in (
        {"mkdir": {"path": "d", "mode": "0775"}},
        {"create": {"path": "d/f", "size": 5000, "mode": "0640"}},
        {"link": {"from": "d/f", "to": "d/g"}},
        {"symlink": {"from": "some/target", "to": "s"}},
        {"create_many": {"path": "d", "count": 3, "prefix": "many", "size": 10}},
        {"rename": {"from": "d/many-0001", "to": "d/many-0002"}},
        {"chmod": {"path": "d/many-0003", "mode": "0600"}},
        {"truncate": {"path": "d/f", "size": 100}},
    ):
        done = do(step)
        assert done.returncode == 0, done.stderr
    assert mode(root / "d") == 0o775
    assert (mode(root / "d/f"), (root / "d/f").stat().st_size) == (0o640, 100)
    assert (root / "d/f").stat().st_nlink == 2
    assert (root / "s").readlink() == Path("some/target")
    assert not (root / "d/many-0001").exists()
    assert mode(root / "d/many-0003") == 0o600


def test_overwriting_keeps_size_and_surroundings(do: Do, root: Path) -> None:
    do({"create": {"path": "f", "size": 3000}})
    before = (root / "f").read_bytes()
    assert do({"overwrite": {"path": "f", "offset": 1024, "size": 1000}}).returncode == 0
    after = (root / "f").read_bytes()
    assert len(after) == 3000
    assert (after[:1024], after[2024:]) == (before[:1024], before[2024:])
    assert after[1024:2024] != before[1024:2024]


def test_removing(do: Do, root: Path) -> None:
    for step in ({"mkdir": "d"}, {"create": "f"}, {"rmdir": "d"}, {"unlink": "f"}):
        assert do(step).returncode == 0
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "step",
    [
        {"mkdir": "no/such"},
        {"rename": {"from": "none", "to": "x"}},
        {"unlink": "none"},
        {"create": "no/such"},
        {"create_many": {"path": "none", "count": 2}},
        {"shell": "false"},
    ],
)
def test_a_failure_is_seen_in_the_exit_code(do: Do, step: dict[str, Any]) -> None:
    assert do(step).returncode != 0


def test_a_rename_never_moves_into_a_directory(do: Do, root: Path) -> None:
    do({"create": "f"})
    do({"mkdir": "d"})
    assert do({"rename": {"from": "f", "to": "d"}}).returncode != 0
    assert list((root / "d").iterdir()) == []


def test_a_command_of_the_user_runs_in_the_root(do: Do, root: Path) -> None:
    assert do({"shell": "echo hi > here  # a comment"}).returncode == 0
    assert (root / "here").read_text() == "hi\n"


@given(
    size=st.integers(0, 20_000),
    path=st.from_regex(r"[A-Za-z0-9._+@=-]{1,20}", fullmatch=True).filter(
        lambda name: name not in (".", "..")
    ),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_file_of_any_name_and_size(do: Do, root: Path, path: str, size: int) -> None:
    assert do({"create": {"path": path, "size": size}}).returncode == 0
    assert (root / path).stat().st_size == size
    (root / path).unlink()


def test_an_operation_as_a_user_goes_through_the_profile() -> None:
    step = Step.model_validate({"mkdir": {"path": "a", "as": "ann"}})
    users = (User(name="ann", uid=1001, gid=1002),)
    assert "--reuid 1001 --regid 1002" in Commands(Linux(), "/mnt", users).of(step)
    assert "--userspec=+1001:+1002" in Commands(Hurd(), "/mnt", users).of(step)


def test_every_step_has_a_description() -> None:
    assert describe(Step.model_validate({"rename": {"from": "a", "to": "b"}})) == "rename a -> b"
    chown = {"chown": {"path": "a", "uid": 1, "gid": 2}}
    assert describe(Step.model_validate(chown)) == "chown a to 1:2"
    assert describe(Step.model_validate({"after": "commit"})) == "wait for a commit"
    assert describe(Step.model_validate({"after": "500ms"})) == "wait 0.5 s"
    assert describe(Step.model_validate({"at": "write 7"})) == "cut the log after write 7"
    assert describe(Step.model_validate({"sync": None})) == "sync"


@pytest.mark.parametrize("step", [{"create": {"path": "f", "size": 90}}, {"append": "f"}])
def test_an_error_of_the_last_write_is_told_where_head_says_nothing(
    do: Do, root: Path, monkeypatch: pytest.MonkeyPatch, step: dict[str, Any]
) -> None:
    """As the head of busybox does."""
    quiet = root / "bin" / "head"
    quiet.parent.mkdir()
    quiet.write_text(f'#!/bin/sh\n{shutil.which("head")} "$@" 2>/dev/null\nexit 0\n')
    quiet.chmod(0o755)
    monkeypatch.setenv("PATH", f"{quiet.parent}:{os.environ['PATH']}")
    (root / "f").symlink_to("/dev/full")
    assert do(step).returncode != 0
