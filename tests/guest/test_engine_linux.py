"""Linux replays the engine's logs, and the engine replays Linux's.

One boot serves many small images: each is a partition of the guest's disk.  `make engine-linux`
asks for more of them and more boots, each from another seed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from harness.deadline import Deadline
from harness.guest.guest import Guest
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.machine.accel import TCG
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
STATES = int(os.environ.get("ENGINE_LINUX_STATES", "46"))  # images in a boot
BOOTS = int(os.environ.get("ENGINE_LINUX_BOOTS", "1"))


@dataclass(frozen=True)
class Written:
    """A file system that Linux writes: how it is made and mounted, and its log's features."""

    name: str
    mkfs: str
    mount: str
    wide: bool  # 64-bit numbers in the log
    rounds: int  # of the work; four make a log of data wrap
    compat: int  # features that the log's superblock names, but for revokes: Linux writes these
    incompat: int  # into the log before it says so


WRITTEN = (
    Written("plain", "^metadata_csum", "data=ordered", False, 1, 0x0, 0x0),
    Written("v1", "^metadata_csum", "journal_checksum", False, 1, 0x1, 0x0),
    Written("async", "^metadata_csum", "data=writeback,journal_async_commit", False, 1, 0x1, 0x4),
    Written("v3", "metadata_csum", "data=ordered", False, 1, 0x0, 0x10),
    Written("64bit", "^metadata_csum", "data=ordered", True, 1, 0x0, 0x2),
    Written("64bit-v3", "metadata_csum", "data=ordered", True, 1, 0x0, 0x12),
    Written("data", "^metadata_csum", "data=journal", False, 4, 0x0, 0x0),
    Written("data-v3", "metadata_csum", "data=journal", True, 4, 0x0, 0x12),
)

# Creates, renames, removes (which revoke), truncates, a file that begins as a block of a log does,
# an orphan; and every now and then a commit.  Nothing is unmounted.
WORK = r"""
cd {place} || exit 1
for d in 1 2 3 4; do
    mkdir d$d
    for f in 1 2 3 4 5 6; do echo $d$f > d$d/f$f; done
    printf '\300;9\230\0\0\0\2\0\0\0\3' > d$d/magic
    dd if=/dev/zero of=d$d/big bs=1024 count=60 2>/dev/null
    sync -d d$d/big; sync -d d$d/magic
done
mv d1/f1 d2/moved; ln d2/f2 d1/link; mv d3 d4/d3; sync -d d2/moved
rm -r d2 d4/d3; : > d1/big; mkdir new; echo new > new/file; sync -d new/file
exec 9> orphan; rm orphan; echo last > last; sync -d last
"""


@pytest.fixture(scope="session")
def exchange() -> Path:
    """The program that writes and compares logs."""
    out = ROOT / "out" / "engine"
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / "build.lock"):
        run(["make", "-C", str(ROOT / "guest-patches"), "all"], timeout=300)
    return out / "exchange"


def asked(program: Path, folder: Path, *args: str) -> str:
    done = subprocess.run(
        [program, *args],
        env={**os.environ, "ENGINE_SCRATCH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def work(place: str, rounds: int) -> str:
    again = f"cd /; rm -r {place}/*"
    return f"\n{again}\n".join([WORK.format(place=place)] * rounds)


def fresh(made: Written, path: Path) -> Path:
    """A small file system whose log is in plain blocks, as the engine's client expects it."""
    options = ["-O", f"has_journal,^resize_inode,{made.mkfs}", "-I", "128", "-b", "1024"]
    run(["mke2fs", "-q", "-F", "-t", "ext3", *options, str(path), "8M"])
    if made.wide:
        # Linux keeps the feature if a log has it; mke2fs wants extents before it sets it.
        log = int(run(["debugfs", "-R", "bmap <8> 0", str(path)]).stdout)
        with path.open("r+b") as image:
            image.seek(log * 1024 + 0x28)
            image.write((2).to_bytes(4, "big"))
    return path


def joined(images: list[Path], disk: Path) -> list[int]:
    """Make the images partitions of one disk; their places in bytes."""
    places, lines, at = [], ["label: gpt"], MIB
    with disk.open("wb") as out:
        for image in images:
            size = image.stat().st_size
            out.seek(at)
            out.write(image.read_bytes())
            places.append(at)
            lines.append(f"start={at // 512}, size={size // 512}")
            at += (size + MIB - 1) // MIB * MIB
        out.truncate(at + MIB)
    lines.insert(1, f"table-length: {max(128, len(images))}")
    subprocess.run(
        ["sfdisk", "--quiet", disk], input="\n".join(lines), text=True, check=True, timeout=60
    )
    return places


@contextmanager
def linux(disk: Path, folder: Path) -> Iterator[tuple[Machine, Guest]]:
    recipe = load_recipe("linux-control", {"access": "{}", "machine.nic": "null"})
    image = find_image(recipe, Cache.default())
    spec = spec_for(recipe, image, [DiskSpec("crash", disk, "raw", recipe.machine.disk_bus)])
    with ExitStack() as stack:
        rundir = stack.enter_context(RunDir(folder / "out", base=folder / "s"))
        machine = stack.enter_context(Machine(spec, rundir, TCG))
        guest = Guest(machine, recipe, image)
        stack.callback(guest.close)
        guest.boot(Deadline.after(120))
        yield machine, guest


def mount_each(guest: Guest, first: int, count: int) -> set[int]:
    """Have Linux replay `count` partitions; those that it mounted, from 0."""
    script = (
        # What the kernel says of an image would mix with the answer.
        f"dmesg -n 1; i={first}; while [ $i -lt {first + count} ]; do "
        "mount -t ext4 -o ro /dev/sda$i /mnt 2>/dev/null && umount /mnt && echo $i; "
        "i=$((i + 1)); done"
    )
    return {int(line) - first for line in guest.run(script, timeout=240).out.split()}


def cut_out(disk: Path, at: int, size: int, to: Path) -> Path:
    with disk.open("rb") as source:
        source.seek(at)
        to.write_bytes(source.read(size))
    return to


@pytest.mark.parametrize("seed", range(1, BOOTS + 1))
def test_linux_and_the_engine_replay_each_others_logs(
    control: str, exchange: Path, tmp_path: Path, seed: int
) -> None:
    asked(exchange, tmp_path, "write", str(seed), str(STATES))
    images = [tmp_path / f"{n}.img" for n in range(STATES)]
    images += [fresh(made, tmp_path / f"{made.name}.img") for made in WRITTEN]
    sizes = [image.stat().st_size for image in images]
    disk = tmp_path / "disk.raw"
    places = joined(images, disk)

    with linux(disk, tmp_path) as (machine, guest):
        mounted = mount_each(guest, 1, STATES)
        print(guest.run("dmesg | grep -e JBD2 -e rror | tail -n 40").out)
        for number, made in enumerate(WRITTEN, STATES + 1):
            place = f"/tmp/{made.name}"
            mount = f"mkdir -p {place} && mount -t ext4 -o {made.mount} /dev/sda{number} {place}"
            assert guest.run(mount).rc == 0, made
            done = guest.run(f"({work(place, made.rounds)}) 2>&1", timeout=120)
            assert done.rc == 0, done
        machine.kill()

    for n in sorted(mounted):
        cut_out(disk, places[n], sizes[n], tmp_path / f"{n}.theirs")
    print(asked(exchange, tmp_path, "compare", str(STATES)))
    revoked = 0
    for n, made in enumerate(WRITTEN, STATES):
        path = cut_out(disk, places[n], sizes[n], tmp_path / f"{made.name}.killed")
        said = asked(exchange, tmp_path, "replay", str(path))
        print(made.name, said)
        found = re.match(r"features (\w+) (\w+): \d+ transactions, \d+ blocks, (\d+) revoked", said)
        assert found, said
        compat, incompat = int(found[1], 16), int(found[2], 16) & ~1
        assert (compat, incompat) == (made.compat, made.incompat), made
        revoked += int(found[3])
    assert revoked
