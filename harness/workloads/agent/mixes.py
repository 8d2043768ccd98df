"""Random lists: operations drawn by weight, several threads, one seed.  Pure.

Each thread works in a directory of its own (`t0`, `t1`, ...) and in one that all share (`s`), there
on names of its own.  So threads meet in the same directory, bitmap, inode table and transaction,
while what each of them does is valid in whatever order the others come.  The set-up, which makes
those directories, is the first thread's; the others wait for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.workloads.agent.oplist import Op, OpList, OpRef
from harness.workloads.agent.rules import HURD, OK, Semantics, apply
from harness.workloads.agent.tree import DIRECTORY, REGULAR, SYMLINK, Tree, fresh

_BLOCK = 4096
#: where the first indirect, the double indirect block begin, in bytes
_INDIRECT, _DOUBLE = 12 * _BLOCK, (12 + 1024) * _BLOCK
_FILES = 24  # of one thread; more are removed before others are made
_TRIES = 20


@dataclass(frozen=True)
class Mix:
    """How often each operation is drawn against the others, and by how many threads.

    Each thread begins with `folders` directories that it makes.
    """

    title: str
    threads: int
    weights: Mapping[str, int]
    folders: int = 0


MIXES: dict[str, Mix] = {
    "mixed": Mix(
        "everything that a file system does",
        4,
        {
            "creat": 12,
            "mkdir": 6,
            "rename": 8,
            "rename-over": 4,
            "rename-folder": 3,
            "link": 5,
            "symlink": 4,
            "unlink": 10,
            "rmdir": 3,
            "chmod": 4,
            "chown": 4,
            "write": 10,
            "append": 8,
            "overwrite": 8,
            "mwrite": 4,
            "truncate": 6,
            "large": 2,
            "swrite": 2,
            "orphan": 2,
            "fsync": 6,
            "fsync-folder": 3,
            "fdatasync": 2,
            "sync": 1,
        },
    ),
    "names": Mix(
        "names and attributes only",
        2,
        {
            "creat": 10,
            "mkdir": 8,
            "rename": 10,
            "rename-over": 6,
            "rename-folder": 6,
            "link": 8,
            "symlink": 6,
            "unlink": 10,
            "rmdir": 6,
            "chmod": 6,
            "chown": 6,
            "fsync": 2,
            "fsync-folder": 4,
            "sync": 1,
        },
    ),
    "data": Mix(
        "bytes: large files, holes, blocks that are freed and used again",
        2,
        {
            "creat": 6,
            "write": 12,
            "append": 10,
            "overwrite": 10,
            "mwrite": 8,
            "truncate": 8,
            "large": 5,
            "unlink": 6,
            "orphan": 3,
            "swrite": 4,
            "fsync": 6,
            "fdatasync": 3,
        },
    ),
    "churn": Mix(
        "small files and folders that come and go, nearly each synced: the log goes round",
        2,
        {
            "creat": 10,
            "mkdir": 6,
            "symlink": 3,
            "append": 8,
            "overwrite": 3,
            "truncate": 3,
            "rename": 3,
            "unlink": 9,
            "rmdir": 6,
            "fsync": 14,
            "fsync-folder": 20,
        },
    ),
    "bulk": Mix(
        "folders and large files in transactions that fill the log faster than it is emptied",
        2,
        {"mkdir": 40, "creat": 4, "large": 8, "symlink": 4, "rmdir": 8, "fsync-folder": 1},
    ),
    "moves": Mix(
        "many folders that are moved about, and nobody syncs: threads wait for room in the log",
        4,
        {"rename-folder": 30, "mkdir": 6, "rename": 6, "creat": 2},
        folders=175,
    ),
    "shells": Mix(
        "scripts that write from several shells, and nobody syncs",
        6,
        {
            "mkdir": 10,
            "creat": 14,
            "write": 20,
            "append": 6,
            "rename": 14,
            "unlink": 10,
            "rmdir": 4,
        },
    ),
}


def mix(name: str, seed: int, ops: int, *, semantics: Semantics = HURD, run: int = 0) -> OpList:
    """A list of `ops` operations of each thread.

    Raises `UsageError` for a mix that there is not.
    """
    if name not in MIXES:
        raise UsageError(f"there is no mix {name!r}", hint=f"known mixes: {', '.join(MIXES)}")
    chosen = MIXES[name]
    rng = random.Random(f"{name} {seed}")
    drawn = _Draw(rng, chosen, semantics)
    about = f"mix {name}, seed {seed}: {chosen.title}"
    return OpList(run or (seed & 0xFFFFFF) or 1, drawn.threads(ops), about)


class _Draw:
    """Draws operations that work, given what the threads did so far in turn."""

    def __init__(self, rng: random.Random, chosen: Mix, semantics: Semantics) -> None:
        self._rng = rng
        self._mix = chosen
        self._semantics = semantics
        self._tree: Tree = fresh()
        self._walked: tuple[Tree, list[tuple[str, int]]] = (self._tree, [])
        self._ops: list[list[Op]] = [[] for _ in range(chosen.threads)]
        self._names = 0

    def threads(self, count: int) -> tuple[tuple[Op, ...], ...]:
        """All threads' lists; a step of one thread, then one of the next."""
        for folder in ["s", *(f"t{n}" for n in range(self._mix.threads))]:
            self._do(0, Op("mkdir", (folder, 0o755)))
        if self._mix.threads > 1:
            for thread in range(self._mix.threads):
                self._do(thread, Op("barrier", ("start",)))
        self._folders()
        count += self._mix.folders
        kinds, weights = list(self._mix.weights), list(self._mix.weights.values())
        while any(len(ops) < count for ops in self._ops):
            for thread, ops in enumerate(self._ops):
                if len(ops) < count:
                    self._step(thread, kinds, weights)
        return tuple(map(tuple, self._ops))

    def _folders(self) -> None:
        """Each thread's first directories, below one another by chance."""
        made = [[f"t{thread}"] for thread in range(self._mix.threads)]
        for number in range(self._mix.folders):
            for thread, own in enumerate(made):
                own.append(f"{self._rng.choice(own)}/f{number}")
                self._do(thread, Op("mkdir", (own[-1], 0o755)))

    def _step(self, thread: int, kinds: list[str], weights: list[int]) -> None:
        """One drawn operation, or a new file where twenty draws found nothing to work on."""
        for _ in range(_TRIES):
            kind = self._rng.choices(kinds, weights)[0]
            made = _DRAWS[kind](self, thread)
            if made and all(self._do(thread, op) for op in made):
                return
        self._do(thread, Op("creat", (self._new(thread), 0o644)))

    def _do(self, thread: int, op: Op) -> bool:
        """Append an operation if it works."""
        done = apply(self._tree, OpRef(thread, len(self._ops[thread])), op, self._semantics)
        if done.errno == OK:
            self._tree = done.tree
            self._ops[thread].append(op)
        return done.errno == OK

    # What there is to work on

    def _mine(self, thread: int, kind: str) -> list[str]:
        """A thread's own objects, its directory left out."""
        if self._walked[0] is not self._tree:
            self._walked = self._tree, list(self._tree.walk())
        tree, paths = self._walked
        own, shared = f"t{thread}/", f"s/{thread}-"
        found = [
            path
            for path, number in paths
            if path.startswith((own, shared)) and tree.nodes[number].kind == kind
        ]
        return sorted(found)  # a tree has no order that another process would repeat

    def _pick(self, thread: int, kind: str) -> str | None:
        found = self._mine(thread, kind)
        return self._rng.choice(found) if found else None

    def _new(self, thread: int) -> str:
        """A new name in one of the thread's directories, or in the shared one."""
        self._names += 1
        folder = self._rng.choice([f"t{thread}", "s", *self._mine(thread, DIRECTORY)])
        prefix = f"{thread}-" if folder == "s" else ""
        return f"{folder}/{prefix}n{self._names}"

    def _size(self, path: str) -> int:
        return self._tree.nodes[self._tree.paths()[path]].size

    # The operations: each returns what to do, or nothing where it can't

    def creat(self, thread: int) -> list[Op]:
        if len(self._mine(thread, REGULAR)) >= _FILES:
            return []
        return [Op("creat", (self._new(thread), self._rng.choice([0o644, 0o600])))]

    def mkdir(self, thread: int) -> list[Op]:
        return [Op("mkdir", (self._new(thread), self._rng.choice([0o755, 0o700])))]

    def symlink(self, thread: int) -> list[Op]:
        target = self._rng.choice(["nowhere", "x" * 200])  # in the inode, in a block
        return [Op("symlink", (target, self._new(thread)))]

    def link(self, thread: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        return [Op("link", (path, self._new(thread)))] if path else []

    def unlink(self, thread: int) -> list[Op]:
        path = self._pick(thread, self._rng.choice([REGULAR, REGULAR, SYMLINK]))
        return [Op("unlink", (path,))] if path else []

    def rmdir(self, thread: int) -> list[Op]:
        tree = self._tree
        paths = tree.paths()
        empty = [p for p in self._mine(thread, DIRECTORY) if not tree.nodes[paths[p]].entries]
        return [Op("rmdir", (self._rng.choice(empty),))] if empty else []

    def rename(self, thread: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        return [Op("rename", (path, self._new(thread)))] if path else []

    def rename_over(self, thread: int) -> list[Op]:
        one, other = self._pick(thread, REGULAR), self._pick(thread, REGULAR)
        return [Op("rename", (one, other))] if one and other and one != other else []

    def rename_folder(self, thread: int) -> list[Op]:
        one = self._pick(thread, DIRECTORY)
        other = self._pick(thread, DIRECTORY) if self._rng.random() < 0.3 else self._new(thread)
        inside = one and other and f"{other}/".startswith(f"{one}/")
        return [Op("rename", (one, other))] if one and other and not inside else []

    def chmod(self, thread: int) -> list[Op]:
        path = self._pick(thread, self._rng.choice([REGULAR, DIRECTORY]))
        return [Op("chmod", (path, self._rng.choice([0o600, 0o640, 0o755])))] if path else []

    def chown(self, thread: int) -> list[Op]:
        path = self._pick(thread, self._rng.choice([REGULAR, DIRECTORY]))
        return [Op("chown", (path, self._rng.choice([0, 1001]), 1002))] if path else []

    def write(self, thread: int) -> list[Op]:
        return self._write(thread, "write", self._rng.choice([0, 100, _BLOCK, _INDIRECT - 500]))

    def swrite(self, thread: int) -> list[Op]:
        return self._write(thread, "swrite", 0)

    def large(self, thread: int) -> list[Op]:
        return self._write(thread, "write", self._rng.choice([_INDIRECT, _DOUBLE - _BLOCK]))

    def _write(self, thread: int, name: str, offset: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        length = self._rng.choice([300, _BLOCK, 9000, 4 * _BLOCK])
        return [Op(name, (path, offset, length))] if path else []

    def overwrite(self, thread: int) -> list[Op]:
        return self._inside(thread, "write")

    def mwrite(self, thread: int) -> list[Op]:
        return self._inside(thread, "mwrite")

    def _inside(self, thread: int, name: str) -> list[Op]:
        """A write to bytes that the file has already, so that its size stays."""
        path = self._pick(thread, REGULAR)
        size = self._size(path) if path else 0
        if not path or not size:
            return []
        offset = self._rng.randrange(size)
        length = self._rng.randint(1, min(size - offset, 3 * _BLOCK))
        return [Op(name, (path, offset, length))]

    def append(self, thread: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        return [Op("append", (path, self._rng.choice([100, 5000, 20000])))] if path else []

    def truncate(self, thread: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        sizes = [0, 100, _BLOCK, self._size(path) // 2 if path else 0, _INDIRECT + 10]
        return [Op("truncate", (path, self._rng.choice(sizes)))] if path else []

    def orphan(self, thread: int) -> list[Op]:
        """A file that is unlinked while it is open, written to, and closed."""
        path = self._pick(thread, REGULAR)
        if not path:
            return []
        rest = [Op("unlink", (path,)), Op("append", (1, 3 * _BLOCK)), Op("close", (1,))]
        return [Op("open", (1, path, "rdwr", 0)), *rest]

    def fsync(self, thread: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        return [Op("fsync", (path,))] if path else []

    def fdatasync(self, thread: int) -> list[Op]:
        path = self._pick(thread, REGULAR)
        return [Op("fdatasync", (path,))] if path else []

    def fsync_folder(self, thread: int) -> list[Op]:
        return [Op("fsync", (self._rng.choice(["s", f"t{thread}"]),))]

    def sync(self, thread: int) -> list[Op]:
        return [Op("syncfs", (".",))]


_DRAWS: dict[str, Callable[[_Draw, int], list[Op]]] = {
    name: getattr(_Draw, name.replace("-", "_"))
    for name in sorted({kind for each in MIXES.values() for kind in each.weights})
}
