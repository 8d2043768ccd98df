"""ext2, ext3 and ext4 images: making them, their superblock, single objects.

Wrappers of e2fsprogs; the superblock is read and patched here, since that is a few bytes and saves
a process for every crash state.  Offsets are those of `struct ext2_super_block`
(e2fsprogs lib/ext2fs/ext2_fs.h).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.disk.copy import host_errors
from harness.errors import UsageError
from harness.images.recipe import GuestOs, Variant
from harness.process import Completed, run
from harness.workloads.scenario import Disk

BLOCK = 4096  #: bytes; the only block size that the Hurd's ext2fs takes
_JOURNAL_UNIT = (1 << 20) // BLOCK  # blocks; mke2fs takes a journal's size in MiB
_OFFSET, _SIZE = 1024, 1024
_MAGIC = 0xEF53
_VALID, _ERROR = 1, 2
_HAS_JOURNAL, _ORPHAN_FILE = 0x4, 0x1000
_RECOVER = 0x4
_METADATA_CSUM, _ORPHAN_PRESENT = 0x400, 0x10000
# One image, one run: the same arguments give the same bytes, but for the times.
_UUID = "6875726c-6475-4c65-8000-000000000001"
_HASH_SEED = "6875726c-6475-4c65-8000-000000000002"


def mkfs_argv(
    path: Path,
    *,
    fs: str,
    creator: str,
    inode_size: int = 128,
    journal_blocks: int | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """The mke2fs command line.  `creator` is linux or hurd; `journal_blocks` are of 4 KiB."""
    argv = ["mke2fs", "-q", "-F", "-t", fs, "-b", str(BLOCK), "-I", str(inode_size), "-o", creator]
    # Inode tables and journal are written now: no thread of the guest's kernel adds writes later.
    options = f"hash_seed={_HASH_SEED},root_owner=0:0,nodiscard,lazy_itable_init=0"
    argv += ["-m", "0", "-U", _UUID]
    if fs != "ext2":
        options += ",lazy_journal_init=0"
        if journal_blocks is not None:
            argv += ["-J", f"size={journal_blocks * BLOCK >> 20}"]
    return [*argv, "-E", options, *extra, str(path)]


def mkfs(path: Path, disk: Disk, variant: Variant, os: GuestOs) -> Completed:
    """Make `path` a file system as scenario and recipe want it; what was there is gone.

    Raises `UsageError` when mke2fs refuses the sizes or leaves out the journal for want of room
    (it only warns), `InfraError` when it can't run or the host's disk is full.
    """
    if disk.journal_blocks is not None and disk.journal_blocks % _JOURNAL_UNIT:
        raise UsageError(
            f"mke2fs can't make a journal of {disk.journal_blocks} blocks",
            hint=f"give disk.journal_blocks a multiple of {_JOURNAL_UNIT} (1 MiB)",
        )
    with host_errors(path), path.open("wb") as file:
        file.truncate(disk.size)
    done = run(
        mkfs_argv(
            path,
            fs=variant.fs,
            creator=str(os),
            inode_size=disk.inode_size,
            journal_blocks=disk.journal_blocks,
            extra=variant.mkfs,
        ),
        ok=None,
    )
    what = f"{variant.fs} on {disk.size >> 20} MiB"
    if done.returncode:
        raise UsageError(
            f"mke2fs refuses {what}: {done.output}",
            hint="change `disk` in the scenario, or `mkfs` of the variant in the recipe; "
            f"by hand: {done.command}",
        )
    if superblock(path).has_journal != variant.journaled:
        raise UsageError(
            f"mke2fs made no journal in {what}: {done.output}",
            hint="give the scenario a larger disk: 16M hold the smallest journal, of 4 MiB",
        )
    return done


@dataclass(frozen=True)
class Superblock:
    """What recovery depends on.  All is false or zero when `magic` is not ext2's."""

    magic: bool
    blocks: int = 0
    block_size: int = 0  #: bytes
    valid: bool = False  #: EXT2_VALID_FS: cleanly unmounted, or journaled
    error: bool = False  #: EXT2_ERROR_FS
    has_journal: bool = False
    needs_recovery: bool = False
    last_orphan: int = 0  #: inode; head of the list of inodes unlinked while open
    orphan_file: bool = False  #: ext4 keeps orphans in a file, and it is in use
    journal_inode: int = 0
    label: str = ""

    @property
    def flags(self) -> str:
        """For people: `clean, has_journal, needs_recovery`."""
        if not self.magic:
            return "no ext2 superblock"
        words = ["clean" if self.valid else "not clean"]
        words += ["with errors"] if self.error else []
        words += ["has_journal"] if self.has_journal else ["no journal"]
        words += ["needs_recovery"] if self.needs_recovery else []
        words += [f"orphans from inode {self.last_orphan}"] if self.last_orphan else []
        return ", ".join([*words, *(["orphans in a file"] if self.orphan_file else [])])


def superblock(path: Path) -> Superblock:
    """The primary superblock of the image; never fails on its content."""
    return parse_superblock(_raw_superblock(path))


def parse_superblock(raw: bytes) -> Superblock:
    """The superblock from its 1024 bytes."""
    if len(raw) < _SIZE or _u16(raw, 0x38) != _MAGIC:
        return Superblock(magic=False)
    compat, incompat, ro_compat = struct.unpack_from("<III", raw, 0x5C)
    state = _u16(raw, 0x3A)
    return Superblock(
        magic=True,
        blocks=_u32(raw, 0x4),
        block_size=1024 << min(_u32(raw, 0x18), 6),
        valid=bool(state & _VALID),
        error=bool(state & _ERROR),
        has_journal=bool(compat & _HAS_JOURNAL),
        needs_recovery=bool(incompat & _RECOVER),
        last_orphan=_u32(raw, 0xE8),
        orphan_file=bool(compat & _ORPHAN_FILE and ro_compat & _ORPHAN_PRESENT),
        journal_inode=_u32(raw, 0xE0),
        label=raw[0x78:0x88].rstrip(b"\0").decode(errors="replace"),
    )


def set_needs_recovery(path: Path) -> None:
    """Set the flag that lets e2fsck replay the journal by itself.  For copies only."""
    raw = bytearray(_raw_superblock(path))
    struct.pack_into("<I", raw, 0x60, _u32(raw, 0x60) | _RECOVER)
    _write_superblock(path, raw)


def skip_full_check(path: Path) -> None:
    """Make the superblock say that no check is due: valid, no error, no mount limit, no interval.

    `e2fsck -p` then releases the orphans and calls the rest clean.  For copies only.
    """
    raw = bytearray(_raw_superblock(path))
    struct.pack_into("<H", raw, 0x3A, (_u16(raw, 0x3A) | _VALID) & ~_ERROR)
    struct.pack_into("<h", raw, 0x36, -1)
    struct.pack_into("<I", raw, 0x44, 0)
    _write_superblock(path, raw)


def _raw_superblock(path: Path) -> bytes:
    with host_errors(path), path.open("rb") as file:
        file.seek(_OFFSET)
        return file.read(_SIZE)


def _write_superblock(path: Path, raw: bytearray) -> None:
    if _u32(raw, 0x64) & _METADATA_CSUM:
        struct.pack_into("<I", raw, 0x3FC, crc32c(raw[:0x3FC]))
    with host_errors(path), path.open("r+b") as file:
        file.seek(_OFFSET)
        file.write(raw)


def crc32c(data: bytes | bytearray) -> int:
    """CRC-32C as ext4 and JBD2 use it: start at all ones, no final inversion."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE = tuple(_crc_entry(value) for value in range(256))


def _u16(raw: bytes | bytearray, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 2], "little")


def _u32(raw: bytes | bytearray, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 4], "little")


@dataclass(frozen=True)
class ObjectStat:
    """An object as `debugfs stat` shows it.

    `present` says that the name is in its directory; a dangling entry is present with the type
    `bad type` and mode 0000.  `fields` are type, mode, uid, gid, links, size, blockcount, inode,
    generation, flags, target, times and blocks, as debugfs prints them.
    """

    path: str
    present: bool
    fields: dict[str, str]
    text: str

    @property
    def unreadable(self) -> bool:
        """Whether a folder on the way is damaged, so that nobody knows if the name is there."""
        known = ("File not found by", "not a directory")
        return not self.present and not any(each in self.text for each in known)

    @property
    def dangling(self) -> bool:
        """Whether the name leads to an inode that is empty or can't be one."""
        return self.present and self.fields.get("type") == "bad type"


def stat_objects(image: Path, paths: Sequence[str]) -> tuple[ObjectStat, ...]:
    """What debugfs says of each path (from the file system's root); one process for all."""
    if not paths:
        return ()
    script = "".join(f'stat "/{path}"\n' for path in paths)
    argv = ["debugfs", "-f", "-", image.name]
    done = run(argv, cwd=image.parent, ok=None, stdin=script)
    blocks = re.split(r"^debugfs: stat .*\n", done.stdout, flags=re.MULTILINE)[1:]
    blocks += [""] * (len(paths) - len(blocks))
    found = (_object(path, block, done.stderr) for path, block in zip(paths, blocks, strict=False))
    return tuple(_with_target(image, each) for each in found)


def stat_object(image: Path, path: str) -> ObjectStat:
    """What debugfs says of one path."""
    return stat_objects(image, [path])[0]


def _object(path: str, block: str, complaints: str) -> ObjectStat:
    if block.startswith("Inode:"):
        return ObjectStat(path, True, parse_stat(block), block.strip())
    said = [line for line in complaints.splitlines() if not line.startswith("debugfs 1.")]
    own = [line for line in said if line.startswith(f"/{path}: ")]
    text = "\n".join(own or said)
    if "resolves to an illegal inode number" in text:
        return ObjectStat(path, True, {"type": "bad type", "mode": "0000"}, text)
    return ObjectStat(path, False, {}, text)


def _with_target(image: Path, found: ObjectStat) -> ObjectStat:
    """A symlink of 60 bytes or more keeps its target in a block, which `stat` doesn't show."""
    if found.fields.get("type") != "symlink" or "target" in found.fields:
        return found
    argv = ["debugfs", "-R", f"cat <{found.fields['inode']}>", image.name]
    target = run(argv, cwd=image.parent, ok=None).stdout.rstrip("\0")
    return replace(found, fields={**found.fields, "target": target})


_FIELDS = (
    ("inode", re.compile(r"^Inode: (\d+)", re.M)),
    ("type", re.compile(r"Type: (.+?)\s{2,}")),
    ("mode", re.compile(r"Mode:\s+(\d+)")),
    ("flags", re.compile(r"Flags: (0x[0-9a-f]+)")),
    ("generation", re.compile(r"^Generation: (\d+)", re.M)),
    ("version", re.compile(r"Version: (\S+)")),
    ("uid", re.compile(r"^User:\s+(\d+)", re.M)),
    ("gid", re.compile(r"Group:\s+(\d+)")),
    ("size", re.compile(r"\bSize: (\d+)")),
    ("acl", re.compile(r"^File ACL: (\d+)", re.M)),
    ("translator", re.compile(r"Translator: (\d+)")),
    ("links", re.compile(r"^Links: (\d+)", re.M)),
    ("blockcount", re.compile(r"Blockcount: (\d+)")),
    ("target", re.compile(r'^Fast link dest: "(.*)"', re.M)),
    *(
        (name, re.compile(rf"^ ?{name}: (\S+(?: -- .*)?)", re.M))
        for name in ("ctime", "atime", "mtime", "crtime", "dtime")
    ),
    ("blocks", re.compile(r"^(?:BLOCKS|EXTENTS):\n(.*)", re.M)),
)


def parse_stat(text: str) -> dict[str, str]:
    """The fields of one `debugfs stat` (e2fsprogs debugfs/debugfs.c, dump_inode)."""
    found = ((name, pattern.search(text)) for name, pattern in _FIELDS)
    return {name: match[1].strip() for name, match in found if match}


def logdump(image: Path, blocks: int) -> str:
    """The journal in words, old transactions included (`debugfs logdump -aOS`).

    `blocks` is the journal's size.  debugfs 1.47.0 goes round for ever in a log that is full of
    transactions, so it is told how many there can be: each takes two blocks or more.
    """
    request = f"logdump -aOS -n {blocks // 2}"
    done = run(["debugfs", "-R", request, image.name], cwd=image.parent, ok=None)
    return done.stdout


def block_map(image: Path, inode: int) -> Iterator[tuple[int, int, int]]:
    """The runs of an inode's data: first block in the file, first on the disk, blocks.

    Holes and indirect blocks are left out.
    """
    done = run(["debugfs", "-R", f"stat <{inode}>", image.name], cwd=image.parent, ok=None)
    yield from parse_blocks(done.stdout)


def parse_blocks(text: str) -> Iterator[tuple[int, int, int]]:
    """The runs in the BLOCKS or EXTENTS part of `debugfs stat`."""
    tail = re.split(r"^(?:BLOCKS|EXTENTS):\n", text, flags=re.MULTILINE)[1:]
    for match in re.finditer(r"\((\d+)(?:-\d+)?\):(\d+)(?:-(\d+))?", tail[0] if tail else ""):
        logical, first = int(match[1]), int(match[2])
        yield logical, first, int(match[3] or first) - first + 1
