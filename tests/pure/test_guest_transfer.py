"""Files by the transfer disk: here the disk is a file that a shell of the host reads and writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.guest.command import CommandResult, no_progress
from harness.guest.transfer import TransferDisk

DISK = 128 << 10


def run(command: str, timeout: float) -> CommandResult:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=timeout)
    return CommandResult(done.returncode, done.stdout, done.stderr, 0.0)


@pytest.fixture
def disk(tmp_path: Path) -> TransferDisk:
    file = tmp_path / "disk"
    file.write_bytes(bytes(DISK))
    return TransferDisk(file, str(file), run)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, DISK, DISK + 1, 3 * DISK + 70000])
def test_files_of_any_size_go_both_ways(disk: TransferDisk, tmp_path: Path, size: int) -> None:
    data = bytes(at * 31 % 251 for at in range(size))
    local, there, back = (tmp_path / name for name in ("local", "it's there", "back"))
    local.write_bytes(data)
    seen: list[tuple[int, int]] = []
    disk.put(local, str(there), timeout=20, progress=lambda *step: seen.append(step))
    assert there.read_bytes() == data
    assert not size or seen[-1] == (size, size)
    disk.get(str(there), back, timeout=20, progress=no_progress)
    assert back.read_bytes() == data


def test_a_guest_that_sees_old_bytes_is_found_out(disk: TransferDisk, tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    stale.write_bytes(b"old" * DISK)
    (tmp_path / "local").write_bytes(b"new")
    wrong = TransferDisk(disk.file, str(stale), run)
    with pytest.raises(GuestError, match="differs"):
        wrong.put(tmp_path / "local", str(tmp_path / "there"), timeout=20, progress=no_progress)


def test_a_command_that_fails_in_the_guest_is_named(disk: TransferDisk, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="stat -c %s"):
        disk.get(str(tmp_path / "none"), tmp_path / "back", timeout=20, progress=no_progress)
