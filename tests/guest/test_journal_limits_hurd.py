"""What our journal in a real Hurd may run out of: room in the log, and sound sectors.

The disk of two of the guests has 400 small groups with nine free blocks in each, and the
smallest log: the next block is in another group, and whatever has to do with ten of them is more
than one operation.
"""

from __future__ import annotations

import re
from pathlib import Path
from time import monotonic

import pytest

from harness import process
from harness.machine.faults import DiskFault, heal, inject
from tests.guest.hurd_support import MOUNTED, Mounted, booted

pytestmark = [pytest.mark.guest, pytest.mark.hurd]

_FREE = 9
_LINKS = 31999  # a directory with one more can't be moved: EXT2_LINK_MAX


def debugfs(disk: Path, *commands: str) -> str:
    script = disk.with_suffix(".debugfs")
    script.write_text("\n".join(commands) + "\n")
    return process.run(["debugfs", "-w", "-f", str(script), str(disk)]).stdout


def stat(disk: Path, name: str) -> str:
    return process.run(["debugfs", "-R", f"stat {name}", str(disk)]).stdout


def scattered(disk: Path) -> list[str]:
    """Make the disk.  Returns debugfs's commands that give back what was taken of it."""
    with disk.open("wb") as file:
        file.truncate(400 << 20)
    mke2fs = "mke2fs -q -F -t ext3 -b 4096 -I 128 -o hurd -g 256 -O ^resize_inode -J size=4"
    process.run([*mke2fs.split(), "-E", "nodiscard,lazy_itable_init=0", str(disk)])
    free = re.findall(r"Free blocks: (\d+)-(\d+)", process.run(["dumpe2fs", str(disk)]).stdout)
    runs = [(int(first) + _FREE, int(last)) for first, last in free]
    taken = [f"{first} {last - first + 1}" for first, last in runs if last - first > 40]
    assert len(taken) > 350
    debugfs(disk, *(f"setb {run}" for run in taken))
    return [f"freeb {run}" for run in taken]


def assert_sound(disk: Path, *undo: str) -> None:
    debugfs(disk, *undo)
    checked = process.run(["e2fsck", "-f", "-n", str(disk)], ok=None)
    assert checked.returncode == 0, checked.stdout


def test_little_room(ours: str, tmp_path: Path, scratch: Path) -> None:
    disk = tmp_path / "disk.raw"
    undo = scattered(disk)
    debugfs(disk, "mkdir a", "mkdir b", "mkdir a/full", f"sif a/full links_count {_LINKS}")
    programs = ("mapped", "handles")
    with booted(ours, disk, tmp_path, scratch, programs=programs) as hurd:
        hurd.must(hurd.mount)
        assert_faults_wait(hurd)
        assert_large_operations(hurd)
        assert_handles_end(hurd)
        # A move that fails half-way is taken back: `..` and the links of both parents.
        assert (
            "Too many links" in hurd.guest.run(f"mv {MOUNTED}/a/full {MOUNTED}/b", timeout=60).err
        )
        hurd.must(f"test {MOUNTED}/a/full/.. -ef {MOUNTED}/a")
        assert hurd.must(f"fsysopts {MOUNTED}").split()[1] == "--writable"
        hurd.unmount()
    assert_sound(disk, *undo, "sif a/full links_count 2")


def assert_faults_wait(hurd: Mounted) -> None:
    """Threads that write to holes of mapped files: more than the log has room for at once."""
    for args in ("8 40 40", "1 300 900"):
        hurd.must(f"/bin/mapped {MOUNTED} {args}", timeout=180)
        hurd.must(f"rm {MOUNTED}/mapped* && syncfs -s {MOUNTED}")


def assert_large_operations(hurd: Mounted) -> None:
    """One write over 280 groups; a file that is as large and becomes a symlink."""
    hurd.must(f"dd if=/dev/zero of={MOUNTED}/large bs=10M count=1 && syncfs -s {MOUNTED}")
    assert hurd.must(f"stat -c %s {MOUNTED}/large").strip() == str(10 << 20)
    hurd.must(f"settrans -p {MOUNTED}/large /hurd/symlink there")
    assert hurd.must(f"readlink {MOUNTED}/large").strip() == "there"


def assert_handles_end(hurd: Mounted) -> None:
    """Files that are being freed are not found by their handles; in use without a name they are."""
    assert hurd.must(f"/bin/handles {MOUNTED} 60 131072").strip() == "found 0"


def test_a_disk_that_fails_in_a_cut(ours: str, tmp_path: Path, scratch: Path) -> None:
    disk = tmp_path / "disk.raw"
    undo = scattered(disk)
    large, small = f"{MOUNTED}/large", f"{MOUNTED}/small"
    with booted(ours, disk, tmp_path, scratch, fallible=True) as hurd:
        hurd.must(hurd.mount)
        hurd.must(
            f"dd if=/dev/zero of={large} bs=10M count=1; syncfs -s {MOUNTED};"
            f" dd if=/dev/zero of={small} bs=4k count=60; syncfs -s {MOUNTED}"
        )

        def fails(request: DiskFault, command: str) -> None:
            inject(hurd.machine.qmp, "crash", request)
            assert hurd.rc(command) != 0
            heal(hurd.machine.qmp, "crash")

        def is_writable() -> bool:
            return hurd.must(f"fsysopts {MOUNTED}").split()[1] == "--writable"

        # The second step of a cut can't start.  No step reached the disk, and none comes later.
        fails(DiskFault("write"), f"truncate -s 0 {large}")
        hurd.must(f"fsysopts {MOUNTED} --readonly && fsysopts {MOUNTED} --writable")
        hurd.must(f"chmod 600 {large}; syncfs -s {MOUNTED}")
        hurd.unmount()
        assert "Size: 10485760" in stat(disk, "large")

        # Before the first change: nothing has happened, and it can be done later.
        hurd.must(f"{hurd.mount} && stat {large} {small}")
        fails(DiskFault("read"), f"truncate -s 0 {large}")
        assert is_writable()
        hurd.must(f"truncate -s 0 {large} && sync {large}")
        # In the middle: nothing more goes to the disk.
        fails(DiskFault("read"), f"truncate -s 0 {small}")
        assert not is_writable()
        assert "the file system is read-only now" in hurd.guest.console_tail(400)
        hurd.must(f"ls {MOUNTED}")
        hurd.unmount()
        hurd.must(hurd.mount)
        assert hurd.must(f"stat -c %s {large} {small}").split() == ["0", "245760"]
        hurd.unmount()
    assert_sound(disk, *undo)


def test_an_orphan_that_cannot_be_read(ours: str, tmp_path: Path, scratch: Path) -> None:
    """Nothing is written then: the next change of the list would forget it."""
    disk = tmp_path / "disk.raw"
    small_disk(disk)
    (tmp_path / "content").write_bytes(b"x" * 5000)
    names = [f"write {tmp_path / 'content'} f{n}" for n in range(40)]
    # Inode 47 is in another block than the root's.
    debugfs(disk, *names, "sif f35 links_count 0", "sif f35 dtime 0", "unlink f35")
    debugfs(disk, "ssv last_orphan 47")
    found = re.search(r"located at block (\d+)", debugfs(disk, "imap <47>"))
    assert found and int(found[1]) > 0
    sectors = tuple(range(int(found[1]) * 8, int(found[1]) * 8 + 8))
    with booted(ours, disk, tmp_path, scratch, fallible=True) as hurd:
        inject(hurd.machine.qmp, "crash", DiskFault("read", sectors=sectors))
        hurd.must(hurd.mount)
        assert hurd.must(f"fsysopts {MOUNTED}").split()[1] == "--readonly"
        assert "what a crash left unfinished" in hurd.guest.console_tail(400)
        assert hurd.rc(f"mkdir {MOUNTED}/a") != 0
        hurd.must(f"ls {MOUNTED}")
        heal(hurd.machine.qmp, "crash")
        hurd.unmount()
    # e2fsck frees it and gives the file system free.
    assert process.run(["e2fsck", "-f", "-y", str(disk)], ok=None).returncode in (0, 1)
    assert_sound(disk)


def small_disk(disk: Path, mib: int = 64) -> None:
    with disk.open("wb") as file:
        file.truncate(mib << 20)
    mke2fs = "mke2fs -q -F -t ext3 -b 4096 -I 128 -o hurd -J size=4 -E nodiscard"
    process.run([*mke2fs.split(), str(disk)])


def test_a_new_block_is_not_read(ours: str, tmp_path: Path, scratch: Path) -> None:
    """What it had does not matter, and the bitmap would say that it is a file's if it failed."""
    disk = tmp_path / "disk.raw"
    small_disk(disk)
    grown = f"{MOUNTED}/grown"
    with booted(ours, disk, tmp_path, scratch, fallible=True) as hurd:
        hurd.must(f"{hurd.mount} && dd if=/dev/zero of={grown} bs=4k count=12 && sync {grown}")
        inject(hurd.machine.qmp, "crash", DiskFault("read"))
        # The thirteenth block, and the file's first indirect one.
        hurd.must(f"dd if=/dev/zero of={grown} bs=4k count=1 seek=12 conv=notrunc && sync {grown}")
        heal(hurd.machine.qmp, "crash")
        assert hurd.must(f"stat -c %b {grown}").strip() == str(14 * 8)
        hurd.unmount()
    assert_sound(disk)


def test_an_unwritten_block_has_no_old_data(ours: str, tmp_path: Path, scratch: Path) -> None:
    """Of a fault within the range of another's write, which ends before that page."""
    disk = tmp_path / "disk.raw"
    small_disk(disk, 16)
    hole = f"{MOUNTED}/hole"
    with booted(ours, disk, tmp_path, scratch, programs=("within",)) as hurd:
        hurd.must(f"{hurd.mount} && truncate -s 28K {hole}")
        hurd.must(f"tr '\\0' x < /dev/zero | head -c 4096 > {MOUNTED}/one; syncfs -s {MOUNTED}")
        hurd.rc(f"tr '\\0' x < /dev/zero > {MOUNTED}/rest", timeout=300)
        hurd.must(f"syncfs -s {MOUNTED}; rm {MOUNTED}/one; syncfs -s {MOUNTED}")
        said = hurd.must(f"/bin/within {MOUNTED}")
        assert "write: No space left" in said, said
        hurd.unmount()
        hurd.must(hurd.mount)
        assert hurd.must(f"stat -c %b {hole}").strip() == "8"
        assert hurd.must(f"tr -d '\\0' < {hole} | wc -c").strip() == "0"
        hurd.unmount()
    assert_sound(disk)


def test_a_write_that_fails_leaves_no_old_data(ours: str, tmp_path: Path, scratch: Path) -> None:
    """The only free block has what another file had, and fails until its data is given up."""
    disk = tmp_path / "disk.raw"
    small_disk(disk, 16)
    page, new = "head -c 4096", f"{MOUNTED}/new"
    with booted(ours, disk, tmp_path, scratch, fallible=True) as hurd:
        hurd.must(f"{hurd.mount} && tr '\\0' x < /dev/zero | {page} > {MOUNTED}/one")
        for name, size in zip("abcd", ("64k", "4k", "4k", "4k"), strict=True):
            hurd.rc(f"dd if=/dev/zero of={MOUNTED}/{name} bs={size}", timeout=300)
        hurd.unmount()
        found = re.search(r"\(0\):(\d+)", stat(disk, "one"))
        assert found and block(disk, int(found[1])) == b"x" * 4096
        hurd.must(f"{hurd.mount} && rm {MOUNTED}/one && syncfs -s {MOUNTED}")
        # The driver tries nine times, and ext2fs twice: in a run of pages, and alone.
        fault = DiskFault("write", count=18, sectors=(int(found[1]) * 8,))
        inject(hurd.machine.qmp, "crash", fault)
        assert hurd.rc(f"tr '\\0' y < /dev/zero | {page} > {new} && sync {new}") != 0
        heal(hurd.machine.qmp, "crash")
        hurd.unmount()
        assert f"(0):{found[1]}" in stat(disk, "new")
        assert b"x" not in block(disk, int(found[1]))
    assert_sound(disk)


def test_files_closed_on_a_full_disk(ours: str, tmp_path: Path, scratch: Path) -> None:
    """The room of 200 files without a name, for a write right behind their end."""
    disk = tmp_path / "disk.raw"
    small_disk(disk, 24)
    with booted(ours, disk, tmp_path, scratch, programs=("closed",)) as hurd:
        hurd.must(hurd.mount)
        hurd.must(f"/bin/closed {MOUNTED} 200 65536 2", timeout=300)
        assert_no_room_is_told_soon(hurd)
        hurd.unmount()
    assert_sound(disk)


def assert_no_room_is_told_soon(hurd: Mounted) -> None:
    """A file that stays in use without a name gives no room, and others that come and go none."""
    fails = f"! dd if=/dev/zero of={MOUNTED}/no bs=4k count=4 conv=notrunc 2>/dev/null"
    hurd.rc(f"touch {MOUNTED}/no; dd if=/dev/zero of={MOUNTED}/fill bs=64k; {fails}", timeout=300)
    hold = f"exec 3>{MOUNTED}/open; rm {MOUNTED}/open; exec sleep 600"
    hurd.must(f"({hold}) >/dev/null 2>&1 & echo $! > /tmp/pids; sleep 1")
    start = monotonic()
    hurd.must(" && ".join([fails] * 8))
    assert monotonic() - start < 6
    come_and_go = f"touch {MOUNTED}/t; rm {MOUNTED}/t; sleep 0.3"
    loop = f"for i in $(seq 60); do {come_and_go}; done"
    hurd.must(f"({loop}) >/dev/null 2>&1 & echo $! >> /tmp/pids; sleep 1")
    start = monotonic()
    hurd.must(fails)
    assert monotonic() - start < 10
    hurd.must("kill $(cat /tmp/pids); sleep 1")


def test_a_damaged_log_is_not_written_over(ours: str, tmp_path: Path, scratch: Path) -> None:
    """A transaction that says to write the block by which the log is found."""
    disk = tmp_path / "disk.raw"
    small_disk(disk)
    found = re.search(r"\(D?IND\):(\d+)", stat(disk, "<8>"))
    assert found
    leads = int(found[1])
    before = block(disk, leads)
    (tmp_path / "other").write_bytes(b"\x5a" * 4096)
    debugfs(disk, "jo", f"jw -b {leads} {tmp_path / 'other'}", "jc")
    with booted(ours, disk, tmp_path, scratch) as hurd:
        for _ in range(2):  # a mount does not make it forgotten
            hurd.must(hurd.mount)
            assert hurd.rc(f"fsysopts {MOUNTED} --writable") != 0
            assert hurd.rc(f"mkdir {MOUNTED}/a") != 0
            assert hurd.must(f"fsysopts {MOUNTED}").split()[1] == "--readonly"
            assert "the log is damaged; mounted read-only" in hurd.guest.console_tail(20)
            hurd.unmount()
        assert block(disk, leads) == before
        # e2fsck, as at a boot, looks at everything and gives it free.
        checked = hurd.guest.run("e2fsck -p /dev/hd1", timeout=120)
        assert checked.rc in (0, 1) and "check forced" in checked.out, checked.out
        hurd.must(f"{hurd.mount} && mkdir {MOUNTED}/a && syncfs -s {MOUNTED}")
        hurd.unmount()
    assert_sound(disk)


def block(disk: Path, number: int) -> bytes:
    with disk.open("rb") as file:
        file.seek(number * 4096)
        return file.read(4096)
