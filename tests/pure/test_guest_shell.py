"""How a command travels over the console, and how a guest dies."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import GuestError, UsageError
from harness.guest.profile import Hurd, Linux, profile_for
from harness.guest.shell import encode, in_lines, shorten, take_output
from harness.guest.state import GuestState, Life
from harness.images.recipe import Variant, load_recipe
from harness.machine.conditions import Condition, ConditionError

COMMANDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(COMMANDS, min_size=1, max_size=20))
def test_a_shell_reads_back_what_was_encoded(commands: list[str]) -> None:
    script = "".join(f"printf %b '{encode(command)}'; printf '\\n.\\n'\n" for command in commands)
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{command}\n.\n" for command in commands)


@given(COMMANDS, st.integers(80, 300), st.integers(1, 9999))
def test_lines_are_short_printable_and_complete(command: str, limit: int, number: int) -> None:
    encoded = encode(command)
    lines = in_lines(encoded, number, limit)
    assert all(len(line) <= limit for line in lines)
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert all(line.endswith(";echo +") for line in lines[:-1])
    assert lines[-1].endswith(f";n={number};hc {len(encoded)}")
    assert "".join(line.split("'")[1] for line in lines) == encoded


def test_a_line_limit_that_leaves_no_room_is_a_bug() -> None:
    with pytest.raises(ValueError, match="too short"):
        in_lines("x", 1, 30)


@given(st.binary())
def test_output_between_the_markers_is_exact(output: bytes) -> None:
    assert take_output(b"\n" + output + b"\n", crlf=False) == output


@given(st.binary().filter(lambda data: b"\r" not in data))
def test_a_terminal_that_adds_carriage_returns_is_undone(output: bytes) -> None:
    typed = (b"\n" + output + b"\n").replace(b"\n", b"\r\n")
    assert take_output(typed, crlf=True) == output


def test_long_commands_are_short_in_messages() -> None:
    assert shorten("a\n  b") == "a b"
    assert len(shorten("x" * 500)) == 120


def test_the_first_failure_of_a_guest_is_the_cause_of_all_later_ones() -> None:
    life = Life()
    life.move(GuestState.BOOTING)
    first = ConditionError(Condition.PANIC, "the kernel panicked", hint="look", console="tail")
    with pytest.raises(ConditionError), life.latching():
        raise first
    life.fail(GuestError("a later one"))
    assert life.state is GuestState.DEAD and life.cause is first
    for again in (life.need, life.move):
        with pytest.raises(GuestError, match="the kernel panicked") as caught:
            again(GuestState.CONSOLE)
        assert caught.value.__cause__ is first
        assert (caught.value.hint, caught.value.console) == ("look", "tail")


def test_ctrl_c_in_a_wait_kills_the_guest_too() -> None:
    life = Life()
    with pytest.raises(KeyboardInterrupt), life.latching():
        raise KeyboardInterrupt
    assert life.state is GuestState.DEAD


def test_states_follow_each_other_and_staying_is_allowed() -> None:
    life = Life()
    for state in (GuestState.BOOTING, GuestState.BOOTING, GuestState.CONSOLE, GuestState.SSH):
        life.move(state)
    with pytest.raises(RuntimeError, match="can't become booting"):
        life.move(GuestState.BOOTING)
    with pytest.raises(RuntimeError, match="this needs off"):
        life.need(GuestState.OFF)


def test_linux_mounts_by_the_driver_of_the_variant() -> None:
    variant = Variant(fs="ext3", mount_options="data=journal")
    assert Linux().mount("/dev/sda", "/mnt", variant) == (
        "mkdir -p /mnt && mount -t ext3 -o rw,data=journal /dev/sda /mnt"
    )


def test_the_hurd_mounts_by_a_translator_and_says_which_is_missing() -> None:
    variant = Variant(fs="ext3", translator="/hurd/ext2fs-x")
    assert "settrans -ca /mnt /hurd/ext2fs-x --writable /dev/hd1" in (
        Hurd().mount("/dev/hd1", "/mnt", variant)
    )
    told = Variant(fs="ext3", translator="/hurd/ext2fs-x", mount_options="--sync --a=b,c")
    assert "settrans -ca /mnt /hurd/ext2fs-x --sync --a=b,c --writable /dev/hd1" in (
        Hurd().mount("/dev/hd1", "/mnt", told)
    )
    with pytest.raises(UsageError, match="names its translator"):
        Hurd().mount("/dev/hd1", "/mnt", Variant(fs="ext2"))


def test_the_profile_is_that_of_the_recipes_system() -> None:
    assert isinstance(profile_for(load_recipe("linux-control")), Linux)
    assert isinstance(profile_for(load_recipe("hurd-local")), Hurd)


@pytest.mark.parametrize("profile", [Linux(), Hurd()])
def test_a_users_command_is_quoted_as_one_word(profile: Linux | Hurd) -> None:
    command = profile.as_user(1001, 1001, "loshmi", "umask 0002; mkdir '/mnt/a b'")
    assert "sh -c 'umask 0002; mkdir '\"'\"'/mnt/a b'\"'\"''" in command
    assert "1001" in command
