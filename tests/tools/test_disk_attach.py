"""Attaching through qemu-nbd: the image stays as it is, and nothing stays mounted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.disk import attach, ext2
from harness.disk.attach import attached, chosen_method, probe_methods
from harness.disk.fsck import Mode, e2fsck
from harness.disk.partitions import find_file_system, find_partitions
from harness.errors import HurdleError, InfraError, UsageError
from harness.process import run
from harness.rundir import RunDir, reap
from tests.tools.images import SIZE, folder_in_memory, make

pytestmark = pytest.mark.tools


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def works(name: str) -> bool:
    return {probe.name: probe.works for probe in probe_methods()}[name]


@pytest.fixture(params=list(attach.METHODS))
def method(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if not works(name):
        pytest.skip(f"{name} does not work on this host")
    return name


@pytest.fixture
def rundir(tmp_path: Path) -> Iterator[RunDir]:
    # A unix socket's path has to be short, and pytest's folders aren't.
    # A test before this one may have left a helper of Python's multiprocessing.
    before = children()
    with RunDir(tmp_path / "out") as run_dir:
        yield run_dir
        assert mounts(run_dir) == []
        assert children() <= before


def mounts(rundir: RunDir) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if str(rundir.scratch) in line]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def partitioned(path: Path, file_systems: tuple[Path, ...]) -> Path:
    """A disk with one partition for each file system, 4 MiB apart."""
    starts = [(4 << 20) + n * (SIZE + (4 << 20)) for n in range(len(file_systems))]
    with path.open("wb") as disk:
        disk.truncate((4 << 20) + len(starts) * (SIZE + (4 << 20)))
    table = "label: dos\n" + "".join(
        f"start={s // 512}, size={SIZE // 512}, type=83\n" for s in starts
    )
    run(["sfdisk", "-q", str(path)], stdin=table)
    with path.open("r+b") as disk:
        for start, image in zip(starts, file_systems, strict=True):
            disk.seek(start)
            disk.write(image.read_bytes())
    return path


def test_one_method_works_and_the_others_say_why_not() -> None:
    probes = probe_methods()
    assert chosen_method() in {probe.name for probe in probes if probe.works}
    assert all(probe.works or (probe.reason and probe.cure) for probe in probes)


def test_a_file_system_is_read_and_the_image_stays(
    tmp_path: Path, rundir: RunDir, method: str
) -> None:
    image = make(tmp_path / "disk.raw")
    before = digest(image)
    with attached(image, "raw", rundir, method=method) as disk:
        assert ext2.stat_object(disk.path, "home/dir").fields["type"] == "directory"
        assert disk.size == SIZE
        with pytest.raises(OSError), disk.path.open("r+b", buffering=0) as file:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
    assert digest(image) == before


def test_recovery_on_a_writable_attachment_leaves_the_image(
    tmp_path: Path, rundir: RunDir, method: str
) -> None:
    image = make(tmp_path / "disk.raw", "ext3", "clri home/dir", "ssv state 0")
    before = digest(image)
    with attached(image, "raw", rundir, writable=True, method=method) as disk:
        assert run(["e2fsck", "-fy", str(disk.path)], ok=(0, 1)).returncode == 1
        assert not ext2.stat_object(disk.path, "home/dir").present
    assert digest(image) == before
    assert e2fsck(image, Mode.CHECK).has("dangling-entry")


def test_a_partition_of_a_qcow2_overlay(tmp_path: Path, rundir: RunDir, method: str) -> None:
    disk = partitioned(tmp_path / "disk.raw", (make(tmp_path / "one.raw"),))
    overlay = tmp_path / "top,1.qcow2"  # the comma is QEMU's separator
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk), str(overlay)])
    with attached(overlay, "qcow2", rundir, method=method) as part:
        assert (part.offset, part.size) == (4 << 20, SIZE)
        assert ext2.stat_object(part.path, "home").present


def test_a_copy_of_an_attached_image_is_the_image(
    tmp_path: Path, rundir: RunDir, method: str
) -> None:
    from harness.disk.copy import sparse_copy

    image, copy = make(tmp_path / "disk.raw"), tmp_path / "copy.raw"
    with attached(image, "raw", rundir, method=method) as disk:
        sparse_copy(disk.path, copy)
    assert digest(copy) == digest(image)
    assert copy.stat().st_blocks * 512 < SIZE // 2


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_everything_is_undone_when_the_block_fails(
    tmp_path: Path, rundir: RunDir, method: str, failure: type[BaseException]
) -> None:
    image = make(tmp_path / "disk.raw")
    with (
        pytest.raises(failure),
        attached(image, "raw", rundir, method=method) as disk,
        disk.path.open("rb"),  # still open when it is taken away
    ):
        raise failure
    assert mounts(rundir) == []


def test_a_missing_image_is_a_plain_error(tmp_path: Path, rundir: RunDir) -> None:
    with (
        pytest.raises(InfraError, match="No such file"),
        attached(tmp_path / "none.raw", "raw", rundir),
    ):
        pass
    with pytest.raises(HurdleError), attached(tmp_path / "none.qcow2", "qcow2", rundir):
        pass


def test_an_image_of_the_wrong_format_says_what_qemu_said(
    tmp_path: Path, rundir: RunDir, method: str
) -> None:
    image = make(tmp_path / "disk.raw")
    with (
        pytest.raises(InfraError, match="not in qcow2 format") as caught,
        attached(image, "qcow2", rundir, method=method),
    ):
        pass
    assert "by hand" in (caught.value.hint or "")


def test_partitions_are_found(tmp_path: Path) -> None:
    one, two = make(tmp_path / "1.raw"), tmp_path / "2.raw"
    two.write_bytes(bytes(SIZE))
    disk = partitioned(tmp_path / "disk1", (two, one))
    assert [(p.number, p.start, p.ext) for p in find_partitions(disk)] == [
        (1, 4 << 20, False),
        (2, (8 << 20) + SIZE, True),
    ]
    assert find_file_system(disk).number == 2
    assert find_file_system(disk, 1).number == 1
    assert find_file_system(disk, 0).size == disk.stat().st_size


def test_a_whole_disk_file_system_needs_no_table(tmp_path: Path) -> None:
    image = make(tmp_path / "disk.raw")
    assert find_partitions(image) == ()
    found = find_file_system(image)
    assert (found.number, found.start, found.size) == (0, 0, SIZE)


def test_ambiguity_names_the_partitions(tmp_path: Path) -> None:
    one = make(tmp_path / "1.raw")
    disk = partitioned(tmp_path / "disk.raw", (one, one))
    with pytest.raises(UsageError, match=r"2 ext file systems.*1 \(ext, 16 MiB\), 2 \(ext"):
        find_file_system(disk)
    with pytest.raises(UsageError, match="no partition 5"):
        find_file_system(disk, 5)
    (tmp_path / "empty").write_bytes(bytes(1 << 20))
    with pytest.raises(UsageError, match="no ext file system"):
        find_file_system(tmp_path / "empty")


_VICTIM = """
import sys, time
from pathlib import Path
from harness.disk.attach import attached
from harness.rundir import RunDir
with RunDir(Path(sys.argv[1])) as rundir, attached(Path(sys.argv[2]), "raw", rundir) as disk:
    print(rundir.scratch, flush=True)
    time.sleep(60)
"""


def test_the_next_start_unmounts_what_a_killed_run_left(tmp_path: Path) -> None:
    image = make(tmp_path / "disk.raw")
    argv = [sys.executable, "-c", _VICTIM, str(tmp_path / "out"), str(image)]
    base = tmp_path / "base"
    environment = {**os.environ, "HURDLE_SCRATCH": str(base)}
    victim = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
    assert victim.stdout is not None
    scratch = victim.stdout.readline().strip()
    victim.kill()
    victim.wait()
    victim.stdout.close()
    deadline = time.monotonic() + 10
    reap(base)
    while Path(scratch).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        reap(base)
    assert scratch not in Path("/proc/self/mounts").read_text()
    assert not Path(scratch).exists()
