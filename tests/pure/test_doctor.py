"""What `hurdle doctor` makes of what it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import doctor
from harness.doctor import (
    REQUIREMENTS,
    Requirement,
    check_fuse,
    check_kvm,
    check_source_build,
    check_space,
    check_tool,
)
from harness.errors import InfraError
from harness.images.source import host
from harness.machine.proofs import Proof
from harness.tools import PACKAGES


def _program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH for programs of the test's own."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", (7, 2, 22)),
        ("QEMU emulator version 10.0.2", (10, 0, 2)),
        ("e2fsck 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0", (1, 47, 0)),
        ("fusermount3 version: 3.14.0", (3, 14, 0)),
        ("setpriv from util-linux 2.38.1", (2, 38, 1)),
        ("apt 2.6.1 (amd64)", (2, 6, 1)),
        ("no number here, 5 neither", None),
    ],
)
def test_versions_are_read_as_the_programs_print_them(
    said: str, version: tuple[int, ...] | None
) -> None:
    assert doctor.parse_version(said) == version


@pytest.mark.parametrize(
    ("script", "ok", "found"),
    [
        ("echo tool 7.2.0", True, "7.2.0"),
        ("echo tool 10.1", True, "10.1"),
        ("echo tool 7.1.99", False, "7.1.99 is too old"),
        ("echo tool 1.4 >&2; exit 3", False, "1.4 is too old"),
        ("echo hello", None, "says no version but 'hello'"),
        ("true", None, "says no version but 'nothing'"),
        ("kill -SEGV $$", False, "failed with signal SIGSEGV"),
    ],
)
def test_a_tool_is_judged_by_its_version(
    bin_folder: Path, script: str, ok: bool | None, found: str
) -> None:
    _program(bin_folder, "qemu-img", script)
    check = check_tool(Requirement("qemu-img", (7, 2), "reasons"))
    assert check.ok is ok
    assert found in check.found
    assert (ok is False) == bool(check.cure)
    assert ok is not False or "qemu-utils" in check.cure


def test_a_run_refuses_a_tool_that_is_too_old(bin_folder: Path) -> None:
    _program(bin_folder, "qemu-img", "echo tool 7.1.99")
    _program(bin_folder, "sfdisk", "echo sfdisk from util-linux 2.38.1")
    doctor.require("sfdisk")
    with pytest.raises(InfraError, match=r"qemu-img: 7\.1\.99 is too old") as caught:
        doctor.require("sfdisk", "qemu-img")
    assert "7.2 or newer" in (caught.value.hint or "")


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_tool", lambda _: None)
    check = check_tool(Requirement("nbdfuse", (1, 6), "reasons"))
    assert (check.ok, check.found, check.cure) == (False, "missing", "apt-get install libnbd-bin")


def test_every_tool_that_hurdle_runs_is_checked() -> None:
    checked = {requirement.program for requirement in REQUIREMENTS}
    # apt-cache comes with apt-get, and the initramfs is written without cpio.
    assert set(PACKAGES) - {"apt-cache", "cpio"} <= checked


def test_absent_devices_are_told_from_forbidden_ones(tmp_path: Path) -> None:
    assert "does not exist" in check_kvm({}, tmp_path / "kvm").found
    assert check_kvm({}, tmp_path / "kvm").ok is None  # TCG does as well
    missing = check_fuse(tmp_path / "fuse")
    assert missing.ok is False and "modprobe fuse" in missing.cure
    (tmp_path / "kvm").write_text("")
    assert "only a run proves" in check_kvm({}, tmp_path / "kvm").found


def test_what_runs_found_of_kvm_is_told_with_the_way_to_look_again(tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("")
    good, bad = Proof("boot", None, "now"), Proof("boot", "it stalls", "now")
    check = check_kvm({"a": good, "b": bad}, tmp_path / "kvm")
    assert check.ok is None and "1 of 2" in check.found and "machine.accel=kvm" in check.cure
    assert check_kvm({"a": good}, tmp_path / "kvm").ok is True
    gone = check_kvm({"a": good}, tmp_path / "no-kvm")
    assert gone.ok is None and "does not exist" in gone.found


def test_a_hurd_from_source_may_lack_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_source_build(()).ok is True
    monkeypatch.setattr(host, "PROGRAMS", {"no-such-b": "pkg-b", "no-such-a": "pkg-a"})
    lacking = check_source_build(host.missing())
    assert lacking.ok is None  # everything else works without
    assert "apt-get install" in lacking.cure and "pkg-a pkg-b" in lacking.cure


def test_space_is_measured_where_the_folder_will_be(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert check_space("s", folder, 0.0, "set X").ok is True
    full = check_space("s", folder, 1e9, "set X")
    assert full.ok is False
    assert "set X to another folder" in full.cure
    assert str(tmp_path) in full.found
