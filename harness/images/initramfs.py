"""The files of an initramfs: programs with their libraries, kernel modules with theirs, cpio.

Nothing of the guest is ever run on the host: libraries are found in the ELF headers, a module's
dependencies in its `.modinfo`.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection
from elftools.elf.segments import InterpSegment

from harness.errors import UsageError

# Debian's merged /usr: packages of one suite may use either spelling.
_MERGED = ("bin", "sbin", "lib", "lib64")
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "lib", "lib64")


@dataclass(frozen=True)
class Entry:
    """A file of the archive.  `mode` has the type bits; a link's target is its `data`."""

    path: str  #: relative, without a leading slash
    mode: int
    data: bytes = b""
    rdev: tuple[int, int] = (0, 0)  #: major and minor number of a device node


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | mode)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, data)


def link(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def device(path: str, major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | 0o600, rdev=(major, minor))


def cpio(entries: Iterable[Entry]) -> bytes:
    """The archive in the "newc" format that the kernel unpacks.

    Everything belongs to root and has the time 0, so equal entries give equal bytes and no root
    rights are needed.  Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.
    """
    out = io.BytesIO()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.rdev)
        header = "070701" + "".join(f"{value:08X}" for value in (*fields, len(name), 0))
        out.write(header.encode() + name)
        _pad(out)
        out.write(entry.data)
        _pad(out)
    return out.getvalue()


def _pad(out: io.BytesIO) -> None:
    out.write(b"\0" * (-out.tell() % 4))


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """`entries` with every folder that one of them lies in, parents first, each path once."""
    result: dict[str, Entry] = {}
    for entry in entries:
        for parent in reversed(Path(entry.path).parents[:-1] if "/" in entry.path else []):
            result.setdefault(str(parent), folder(str(parent)))
        result[entry.path] = entry
    return list(result.values())


def overlay(source: Path) -> list[Entry]:
    """The files below a folder of the host; a file that its owner may run is a program."""
    return [
        file(
            str(path.relative_to(source)),
            path.read_bytes(),
            0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644,
        )
        for path in sorted(source.rglob("*"))
        if path.is_file()
    ]


def merged(path: str) -> str:
    """`path` as the merged /usr has it: lib/x is usr/lib/x."""
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED else path


def find_file(root: Path, path: str) -> Path | None:
    """A package's file below `root`, whichever spelling of /usr it has; links are followed there.

    A link to an absolute path is looked up below `root`, never on the host.
    """
    wanted = merged(path.lstrip("/"))
    for _ in range(8):  # bounds a circle of links
        for spelling in (wanted, wanted.removeprefix("usr/")):
            here = root / spelling
            if here.is_symlink():
                target = os.path.normpath(Path(spelling).parent / here.readlink())
                wanted = merged(target.lstrip("/"))
                break
            if here.is_file():
                return here
        else:
            return None
    return None


def programs(root: Path, paths: Iterable[str]) -> list[Entry]:
    """The named programs below `root` with the loader and all libraries that they need.

    Raises `UsageError` for a program or library that no unpacked package has.
    """
    found: dict[str, Entry] = {}
    queue = [
        (path, "the recipe's `programs`")
        for pattern in paths
        for path in _matching(root, pattern.lstrip("/"))
    ]
    while queue:
        path, wanted_by = queue.pop(0)
        if merged(path) in found:
            continue
        source = find_file(root, path)
        if source is None:
            raise UsageError(
                f"no package of the recipe has {path}, which {wanted_by} needs",
                hint="add its package to `packages`, or mend the path in `programs`",
            )
        data = source.read_bytes()
        found[merged(path)] = file(merged(path), data, 0o755)
        queue += [(_library(root, name), path) for name in needed(data)]
    return list(found.values())


def _matching(root: Path, pattern: str) -> list[str]:
    """A plain path as it is; a pattern as the files below `root` that it matches, maybe none."""
    if "*" not in pattern:
        return [pattern]
    usual, other = merged(pattern), merged(pattern).removeprefix("usr/")
    found = {path for spelling in (usual, other) for path in root.glob(spelling)}
    return sorted(str(path.relative_to(root)) for path in found)


def _library(root: Path, name: str) -> str:
    """Where a library (by its SONAME) or the loader (by its path) lies below `root`."""
    if name.startswith("/"):
        return name.lstrip("/")
    for where in _LIBRARY_FOLDERS:
        if find_file(root, f"{where}/{name}") is not None:
            return f"{where}/{name}"
    return name


def needed(data: bytes) -> list[str]:
    """The loader's path and the SONAMEs that an ELF file asks for; nothing for a script."""
    try:
        elf = ELFFile(io.BytesIO(data))
    except ELFError:
        return []
    names = [
        segment.get_interp_name()
        for segment in elf.iter_segments()
        if isinstance(segment, InterpSegment)
    ]
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            names += [str(vars(tag)["needed"]) for tag in section.iter_tags("DT_NEEDED")]
    return names


@dataclass(frozen=True)
class Module:
    """A kernel module as `.modinfo` describes it; dashes in names are underscores."""

    name: str
    data: bytes  #: uncompressed, since the guest's insmod would take seconds to do it
    needs: tuple[str, ...]


def module_name(name: str) -> str:
    return name.replace("-", "_")


def read_module(path: Path) -> Module:
    """Read a .ko or .ko.xz file (Debian compresses modules from 13 on)."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    info = _modinfo(data)
    needs = info.get("depends", "").split(",")
    for soft in info.get("softdep", "").splitlines():
        # "pre: a b post: c": what comes before is loaded where it exists, and needed for speed.
        needs += soft.partition("pre:")[2].partition("post:")[0].split()
    return Module(
        module_name(path.name.split(".")[0]), data, tuple(module_name(n) for n in needs if n)
    )


def _modinfo(data: bytes) -> dict[str, str]:
    """The fields of a module's `.modinfo`; repeated fields are joined by newlines."""
    section = ELFFile(io.BytesIO(data)).get_section_by_name(".modinfo")
    fields: dict[str, str] = {}
    for item in section.data().split(b"\0") if section else []:
        key, equals, value = item.decode(errors="replace").partition("=")
        if equals:
            fields[key] = f"{fields[key]}\n{value}" if key in fields else value
    return fields


def module_files(tree: Path) -> dict[str, Path]:
    """All modules below lib/modules/VERSION, by name."""
    return {
        module_name(path.name.split(".")[0]): path
        for path in sorted(tree.rglob("*.ko*"))
        if path.is_file()
    }


def load_order(
    wanted: Iterable[str], files: Mapping[str, Path], builtin: Iterable[str]
) -> list[Module]:
    """The wanted modules and what they need, each after what it needs.

    A module that the kernel has built in is left out.  Raises `UsageError` for one that the kernel
    package doesn't have at all; a soft dependency that is missing is no error.
    """
    inside = set(builtin)
    done: dict[str, Module] = {}
    pending: set[str] = set()

    def visit(name: str) -> None:
        if name in done or name in inside or name in pending or name not in files:
            return
        pending.add(name)
        module = read_module(files[name])
        for other in module.needs:
            visit(other)
        done[name] = module

    for name in map(module_name, wanted):
        if name not in files and name not in inside:
            raise UsageError(
                f"the kernel package has no module {name!r}", hint="mend `modules` in the recipe"
            )
        visit(name)
    return list(done.values())


def find_tree(root: Path, path: str) -> Path:
    """A package's folder below `root`, whichever spelling of /usr it has."""
    usual, other = root / merged(path), root / merged(path).removeprefix("usr/")
    return usual if usual.is_dir() else other


def builtin_modules(tree: Path) -> list[str]:
    """The modules that the kernel of lib/modules/VERSION has built in."""
    text = (tree / "modules.builtin").read_text()
    return [module_name(Path(line).stem) for line in text.splitlines()]


_PVH_NOTE = 18  # XEN_ELFNOTE_PHYS32_ENTRY in the kernel's include/xen/interface/elfnote.h


def has_pvh_entry(kernel: bytes) -> bool:
    """Whether an uncompressed kernel can be started by QEMU's -kernel."""
    try:
        sections = list(ELFFile(io.BytesIO(kernel)).iter_sections())
    except ELFError:
        return False
    return any(
        note["n_name"] == "Xen" and note["n_type"] in (_PVH_NOTE, "XEN_ELFNOTE_PHYS32_ENTRY")
        for section in sections
        if isinstance(section, NoteSection)
        for note in section.iter_notes()
    )
