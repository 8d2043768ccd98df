"""The guest's root file system: a tree from the stages, and nodes with translators, as ext2.

Nothing here needs root or a mount.  mke2fs copies the tree; debugfs then makes the device nodes and
writes their passive translators as Hurd does, as the extended attribute `gnu.translator`, so the
guest boots into its final state at once, without a first boot that sets them up.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError, UsageError
from harness.process import run, tail

_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "d": stat.S_IFDIR}
_ELF = b"\x7fELF"
_STRIP = "i686-gnu-strip"


@dataclass(frozen=True)
class Node:
    """A file with a passive translator, such as a device."""

    type: str  #: c, b or d, as in mknod
    mode: int
    path: str
    translator: tuple[str, ...]

    @property
    def record(self) -> bytes:
        """The translator as Hurd stores it: each argument ends in a NUL."""
        return b"".join(word.encode() + b"\0" for word in self.translator)


def parse_node(line: str) -> Node:
    """A node written as `TYPE MODE PATH PROGRAM ARGS...`; `ValueError` if it is none."""
    words = line.split()
    if len(words) < 4 or words[0] not in _TYPES or not words[2].startswith("/"):
        raise ValueError(f"{line!r} is no node: write c|b|d MODE /PATH PROGRAM [ARGS]")
    return Node(words[0], int(words[1], 8), words[2], tuple(words[3:]))


def node_commands(node: Node, record: Path) -> list[str]:
    """debugfs commands that make the node; `record` is a file that holds `node.record`."""
    if node.type == "d":
        make = [f"mkdir {node.path}"]
    else:
        folder, _, name = node.path.rpartition("/")
        make = [f"cd {folder or '/'}", f"mknod {name} {node.type} 0 0", "cd /"]
    mode = _TYPES[node.type] | node.mode
    return [
        *make,
        f"set_inode_field {node.path} mode 0{mode:o}",
        f"ea_set -f {record} {node.path} gnu.translator",
    ]


def owner_commands(tree: Path) -> list[str]:
    """debugfs commands that give every file of the image to root, whoever built it."""
    names = ["/"] + [f"/{p.relative_to(tree)}" for p in sorted(tree.rglob("*"))]
    return [f'set_inode_field "{n}" {field} 0' for n in names for field in ("uid", "gid")]


def assemble(inputs: Iterable[Path], files: Mapping[str, Path], tree: Path) -> None:
    """Make `tree` from the stages' root folders and then from single files, which win.

    Headers, static libraries and manuals stay out.
    """
    for source in inputs:
        shutil.copytree(source, tree, symlinks=True, dirs_exist_ok=True, ignore=_unwanted)
    for name, file in files.items():
        target = tree / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if not file.exists():
            raise UsageError(f"{file}: no such file", hint=f"the recipe puts it at {name}")
        shutil.copy(file, target)


def link(tree: Path, name: str, target: str) -> None:
    """Make `name` a symbolic link to `target`, in place of what was there."""
    path = tree / name.lstrip("/")
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _unwanted(folder: str, names: list[str]) -> set[str]:
    return {
        n for n in names if n in ("include", "share", "info", "man") or n.endswith((".a", ".o"))
    }


def strip(tree: Path) -> None:
    """Strip all ELF files below `tree`: 20 MB are left of 90."""
    found = [p for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink()]
    elf = [str(p) for p in found if is_elf(p)]
    if elf:
        run([_STRIP, "--strip-unneeded", *elf], timeout=300)


def is_elf(path: Path) -> bool:
    """Whether the file is a program or a shared object."""
    with path.open("rb") as file:
        return file.read(4) == _ELF


def make_image(tree: Path, nodes: Sequence[Node], image: Path, size_mib: int) -> None:
    """Write `tree` and `nodes` as an ext2 file system of Hurd's kind into the new file `image`.

    Raises `InfraError` if the result is not clean.
    """
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    # ext2fs wants blocks of a page, and mke2fs takes smaller ones for a small image.
    kind = ("-t", "ext2", "-o", "hurd", "-b", "4096", "-I", "128")
    run(["mke2fs", "-q", "-F", *kind, "-d", str(tree), str(image)], timeout=300)
    scratch = image.with_name(f"{image.name}.nodes")
    scratch.mkdir()
    commands = owner_commands(tree)
    for number, node in enumerate(nodes):
        record = scratch / str(number)
        record.write_bytes(node.record)
        commands += node_commands(node, record)
    script = scratch / "script"
    script.write_text("\n".join(commands) + "\n")
    said = run(["debugfs", "-w", "-f", str(script), str(image)], timeout=300)
    wrong = [line for line in said.stderr.splitlines()[1:] if line.strip()]
    if wrong:
        raise InfraError("debugfs could not make the root image:\n" + tail("\n".join(wrong)))
    shutil.rmtree(scratch)
    run(["e2fsck", "-fn", str(image)], timeout=300)
