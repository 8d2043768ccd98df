"""Bounded-exhaustive lists: every short sequence of operations on a few files.  Pure.

The bounds are those of ACE (the generator beside CrashMonkey, OSDI'18), whose authors found that
reported crash bugs need at most three operations on a fresh file system, and show right after a
call that persists.  A list is made in three steps:

1. one to three core operations, each with all its parameters;
2. before each of them what it needs (a directory, a file, bytes in it), if it is not there;
3. behind each of them nothing or one persisting call: syncfs, or fsync of a file or directory that
   is used, or (with up to two core operations) stands beside it or above it.  The last is never
   nothing.

Beside ACE there are rmdir, symlinks, chmod, writes with O_SYNC instead of O_DIRECT, and a rename of
a directory over another; fallocate is left out, since ext3 and the Hurd lack it.  syncfs stands
for sync, which does not wait on the Hurd.  A sequence in
which a core operation would fail is left out: it is a shorter one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

from harness.workloads.agent.oplist import Op, OpList, OpRef, single
from harness.workloads.agent.rules import OK, apply
from harness.workloads.agent.tree import DIRECTORY, REGULAR, Tree, fresh

_FILES = ("foo", "A/foo", "bar", "A/bar")
_FIRST = _FILES[:2]
_APPEND, _BEGIN, _EXTEND = "append", "begin", "extend"  # where a write goes
_LENGTH = 32768  # bytes that a file has before it is overwritten, and that an append adds
#: the metadata operations of the sampled sequences of three
METADATA = ("link", "unlink", "rename", "write")


def _core() -> dict[str, tuple[Op, ...]]:
    """Each core operation with all its parameters."""
    pairs = [("foo", "bar"), ("foo", "A/bar"), ("A/foo", "bar"), ("A/foo", "A/bar")]
    across = [("foo", "A/foo"), ("A/foo", "foo")]
    return {
        "creat": tuple(Op("creat", (f, 0o644)) for f in _FIRST),
        "mkdir": (Op("mkdir", ("A", 0o755)),),
        "write": tuple(Op("write", (f, where)) for f in _FIRST for where in _WHERE),
        "swrite": tuple(Op("swrite", (f, where)) for f in _FIRST for where in _WHERE[:2]),
        "mwrite": tuple(Op("mwrite", (f, where)) for f in _FIRST for where in _WHERE[:2]),
        "link": tuple(Op("link", pair) for pair in pairs + across),
        "symlink": tuple(Op("symlink", (f, t)) for f, t in (("foo", "bar"), ("foo", "A/bar"))),
        "unlink": tuple(Op("unlink", (f,)) for f in _FILES),
        "rmdir": tuple(Op("rmdir", (d,)) for d in ("A", "B")),
        "rename": tuple(Op("rename", pair) for pair in [*pairs, *across, ("A", "B")]),
        "rename-over": (Op("rename", ("B", "A")),),
        "truncate": tuple(Op("truncate", (f, size)) for f in _FIRST for size in (0, 2500)),
        "chmod": tuple(Op("chmod", (f, 0o600)) for f in ("foo", "A")),
        "setxattr": tuple(Op("setxattr", (f, "a", "1")) for f in _FIRST),
        "removexattr": tuple(Op("removexattr", (f, "a")) for f in _FIRST),
    }


_WHERE = (_APPEND, _BEGIN, _EXTEND)
_XATTR = frozenset({"setxattr", "removexattr"})


def parameters(kinds: Sequence[str] = (), *, xattrs: bool = False) -> tuple[tuple[str, Op], ...]:
    """The core operations with parameters; of `kinds` only, or of all.

    Where a write goes stands for its offset, which depends on the file's size then.
    """
    return tuple(
        (kind, op)
        for kind, found in _core().items()
        if (not kinds or kind in kinds) and (xattrs or kind not in _XATTR)
        for op in found
    )


def sequences(
    length: int, kinds: Sequence[str] = (), *, xattrs: bool = False
) -> Iterator[tuple[Op, ...]]:
    """All lists of `length` core operations, each as the operations of one thread."""
    for chosen in product(parameters(kinds, xattrs=xattrs), repeat=length):
        yield from _persisted(chosen, length)


def sample(
    length: int, count: int, seed: int, kinds: Sequence[str] = (), *, xattrs: bool = False
) -> tuple[tuple[Op, ...], ...]:
    """`count` different lists, drawn by seed: first the core operations, then what persists."""
    rng = random.Random(seed)
    options = parameters(kinds, xattrs=xattrs)
    found: dict[tuple[Op, ...], None] = {}
    while len(found) < count:
        chosen = tuple(rng.choice(options) for _ in range(length))
        made = list(_persisted(chosen, length))
        if made:
            found[rng.choice(made)] = None
    return tuple(found)


def numbered(threads: Sequence[tuple[Op, ...]], first: int = 1) -> tuple[OpList, ...]:
    """Lists of one thread each, with run numbers from `first` on."""
    return tuple(single(first + n, ops) for n, ops in enumerate(threads))


def _persisted(chosen: Sequence[tuple[str, Op]], length: int) -> Iterator[tuple[Op, ...]]:
    """All lists of some core operations; none when one of them would fail."""

    def grow(done: tuple[Op, ...], tree: Tree, left: int) -> Iterator[tuple[Op, ...]]:
        if left == length:
            yield done
            return
        kind, core = chosen[left]
        ops, tree = _with_needs(done, tree, kind, core)
        if not ops:
            return
        used = {str(arg) for _, op in chosen[: left + 1] for arg in op.args if _is_path(op, arg)}
        persisting: list[tuple[Op, ...]] = [] if left + 1 == length else [()]
        persisting += [(Op("syncfs", (".",)),)]
        persisting += [(Op("fsync", (path,)),) for path in _persistable(tree, used, length)]
        for call in persisting:
            yield from grow(ops + call, tree, left + 1)

    yield from grow((), fresh(), 0)


def _is_path(op: Op, arg: object) -> bool:
    return arg == op.args[0] if op.name in _XATTR else isinstance(arg, str) and arg not in _WHERE


@cache
def _near(path: str) -> tuple[str, ...]:
    """A path, what stands beside it, and what is above it."""
    folder, _, name = path.rpartition("/")
    other = {"foo": "bar", "bar": "foo", "A": "B", "B": "A"}.get(name, name)
    beside = f"{folder}/{other}" if folder else other
    return path, beside, folder or "."


def _persistable(tree: Tree, used: set[str], length: int) -> list[str]:
    """What an fsync may be of, of what is there."""
    near = {each for path in used for each in (_near(path) if length < 3 else (path,))}
    kinds = {path: tree.nodes[number].kind for path, number in tree.paths().items()}
    return sorted(p for p in near if p == "." or kinds.get(p) in (DIRECTORY, REGULAR))


def _with_needs(
    done: tuple[Op, ...], tree: Tree, kind: str, core: Op
) -> tuple[tuple[Op, ...], Tree]:
    """The operations with the next core operation and what it needs; none if it would fail."""
    ops = list(done)

    def do(op: Op) -> bool:
        nonlocal tree
        result = apply(tree, OpRef(0, len(ops)), op)
        ops.append(op)
        tree = result.tree
        return result.errno == OK

    for need in _needs(kind, core):
        if need.args[0] not in tree.paths() and not do(need):
            return (), tree
    path = str(core.args[0])
    if kind in ("write", "swrite", "mwrite"):
        exact = _writes(core, tree.nodes[tree.paths()[path]].size)
        return (tuple(ops), tree) if all(do(op) for op in exact) else ((), tree)
    if kind == "truncate" and not tree.nodes[tree.paths()[path]].size:
        do(Op("write", (path, 0, _LENGTH)))
    if kind == "removexattr" and not tree.nodes[tree.paths()[path]].records:
        do(Op("setxattr", (path, "a", "1")))
    return (tuple(ops), tree) if do(core) else ((), tree)


def _needs(kind: str, core: Op) -> Iterator[Op]:
    """What has to be there: folders of all paths, and the object that is worked on."""
    paths = [str(arg) for arg in core.args if isinstance(arg, str) and arg not in _WHERE]
    paths = paths[:1] if kind in _XATTR else paths
    if any(path.startswith("A/") for path in paths):
        yield Op("mkdir", ("A", 0o755))
    if kind in ("creat", "mkdir", "symlink"):
        return
    folders = paths if kind == "rename-over" else paths[:1]
    for path in folders:
        is_folder = path in ("A", "B")
        yield Op("mkdir", (path, 0o755)) if is_folder else Op("creat", (path, 0o644))


def _writes(core: Op, size: int) -> Iterator[Op]:
    """A write with its offset and length in place of where it goes."""
    path, where = (str(arg) for arg in core.args)
    if size == 0 and where != _APPEND:
        yield Op("write", (path, 0, _LENGTH))
        size = _LENGTH
    if where == _APPEND:
        offset, length = size, _LENGTH
    elif where == _BEGIN:
        offset, length = 0, 8192 if core.name in ("swrite", "mwrite") else 5000
    else:
        offset, length = size - 2000, 5000
    if core.name == "mwrite" and offset + length > size:
        yield Op("truncate", (path, offset + length))
    yield Op(core.name, (path, offset, length))
