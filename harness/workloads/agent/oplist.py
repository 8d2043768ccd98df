"""Op lists: what the agent runs, as text that a person reads in a reproducer.  Pure.

    hurdle-ops 1 run=00c0de
    thread
    mkdir A 0755
    creat A/foo 0644
    write A/foo 0 32768
    fsync A/foo

One operation a line, words with blanks between them; `thread` begins the next thread's list, and
all threads start together.  Empty lines and lines that begin with `#` mean nothing.  A path counts
from the root of the crashed file system (`.`); bytes that are not printable, and `%`, are written
as %XX.  A target is a path, or `@N` for the open file number N of the thread.
docs/workloads.md describes each operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from harness.errors import UsageError

#: a path, a word, a flag list; or a number (a mode, a size, an id, a slot)
Value = str | int

MAX_THREADS = 64
MAX_OPS = 0xFFFFF  #: of one thread; what a pattern's cell has room for
MAX_OFFSET = 1 << 44  #: bytes; beyond what ext2 can hold
MAX_SLOT = 15
MAX_LINE = 1000  #: bytes
_MAGIC = "hurdle-ops 1"

#: words of `open`, joined by `+`; one of the first three is needed
OPEN_FLAGS = ("rd", "wr", "rdwr", "creat", "excl", "trunc", "append", "sync", "dsync")


@dataclass(frozen=True)
class Op:
    """One operation; `args` are as `SIGNATURES` has them for `name`."""

    name: str
    args: tuple[Value, ...] = ()

    def __str__(self) -> str:
        words = (
            _FORMATS[kind](value)
            for kind, value in zip(SIGNATURES[self.name], self.args, strict=True)
        )
        return " ".join([self.name, *words])


@dataclass(frozen=True)
class OpRef:
    """Which operation of a list: the thread's number and the place in its list, from 0."""

    thread: int
    index: int


@dataclass(frozen=True)
class OpList:
    """The threads' operations.

    `run` (24 bits) is in every mark and every written byte, so that those of one list can be told
    from another's on the same disk.
    """

    run: int
    threads: tuple[tuple[Op, ...], ...]
    about: str = field(default="", compare=False)  #: comment lines for the reader

    def __post_init__(self) -> None:
        _check(self)

    def op(self, ref: OpRef) -> Op:
        return self.threads[ref.thread][ref.index]

    def refs(self) -> Iterable[OpRef]:
        """All operations, thread by thread."""
        for thread, ops in enumerate(self.threads):
            for index in range(len(ops)):
                yield OpRef(thread, index)

    def __str__(self) -> str:
        lines = [f"{_MAGIC} run={self.run:06x}"]
        lines += [f"# {line}".rstrip() for line in self.about.splitlines()]
        for ops in self.threads:
            lines += ["thread", *map(str, ops)]
        return "\n".join(lines) + "\n"


def single(run: int, ops: Iterable[Op], about: str = "") -> OpList:
    """A list of one thread."""
    return OpList(run, (tuple(ops),), about)


#: operation to the kinds of its arguments
SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "creat": ("path", "mode"),
    "open": ("slot", "path", "flags", "mode"),
    "close": ("slot",),
    "mkdir": ("path", "mode"),
    "rmdir": ("path",),
    "mkfifo": ("path", "mode"),
    "rename": ("path", "path"),
    "link": ("path", "path"),
    "symlink": ("text", "path"),  # what it points to, where it is
    "unlink": ("path",),
    "truncate": ("target", "offset"),
    "write": ("target", "offset", "length"),
    "swrite": ("target", "offset", "length"),
    "append": ("target", "length"),
    "mwrite": ("target", "offset", "length"),
    "msync": ("target", "offset", "length"),
    "chmod": ("target", "mode"),
    "chown": ("target", "id", "id"),
    "utimes": ("target", "time", "time"),  # access, modification
    "setxattr": ("target", "word", "word"),
    "removexattr": ("target", "word"),
    "settrans": ("path", "word"),  # program and arguments, joined by commas
    "rmtrans": ("path",),
    "fsync": ("target",),
    "fdatasync": ("target",),
    "syncfs": ("target",),
    "sync": (),
    "sleep": ("ms",),
    "barrier": ("word",),
}


def quote(path: str) -> str:
    """A path as one printable word."""
    raw = path.encode("utf-8", "surrogateescape")
    plain = "".join(chr(c) if 0x21 <= c <= 0x7E and c != 0x25 else f"%{c:02X}" for c in raw)
    return "%40" + plain[1:] if plain.startswith("@") else plain


def unquote(word: str) -> str:
    """The path that a word stands for; `ValueError` for what `quote` can't have made."""
    if not re.fullmatch(r"(?:[!-$&-~]|%[0-9A-F]{2})+", word):
        raise ValueError(f"{word!r} is no path: write bytes that are not printable as %XX")
    raw = re.sub(r"%(..)", lambda m: chr(int(m[1], 16)), word)
    if "\0" in raw:
        raise ValueError("a path has no byte 0")
    return raw.encode("latin-1").decode("utf-8", "surrogateescape")


def _path(word: str) -> Value:
    path = unquote(word)
    odd = word.startswith("@") or any(part in ("", ".", "..") for part in path.split("/"))
    if odd and path != ".":
        raise ValueError(f"{word!r} is no path below the root of the crashed file system")
    return path


def _target(word: str) -> Value:
    return _slot(word) if word.startswith("@") else _path(word)


def _slot(word: str) -> Value:
    if not re.fullmatch(r"@\d{1,2}", word) or int(word[1:]) > MAX_SLOT:
        raise ValueError(f"{word!r} is no open file: write @0 to @{MAX_SLOT}")
    return int(word[1:])


def _number(limit: int, least: int = 0) -> Callable[[str], Value]:
    def parse(word: str) -> Value:
        if not re.fullmatch(r"\d{1,15}", word) or not least <= int(word) <= limit:
            raise ValueError(f"{word!r} is no number from {least} to {limit}")
        return int(word)

    return parse


def _mode(word: str) -> Value:
    if not re.fullmatch(r"0[0-7]{1,4}", word):
        raise ValueError(f"{word!r} is no octal mode such as 0644")
    return int(word, 8)


def _word(word: str) -> Value:
    if not re.fullmatch(r"[A-Za-z0-9_.,/=+-]{1,200}", word):
        raise ValueError(f"{word!r} is no word of letters, digits and _.,/=+-")
    return word


def _flags(word: str) -> Value:
    flags = word.split("+")
    if (
        any(f not in OPEN_FLAGS for f in flags)
        or sum(f in ("rd", "wr", "rdwr") for f in flags) != 1
    ):
        raise ValueError(
            f"{word!r} are no flags: one of rd, wr, rdwr, then + and any of {OPEN_FLAGS[3:]}"
        )
    return word


_PARSERS: Mapping[str, Callable[[str], Value]] = {
    "path": _path,
    "text": unquote,
    "target": _target,
    "slot": _slot,
    "offset": _number(MAX_OFFSET),
    "length": _number(1 << 30, 1),
    "id": _number(65535),
    "time": _number(0x7FFFFFFF),
    "ms": _number(600_000),
    "mode": _mode,
    "word": _word,
    "flags": _flags,
}

_FORMATS: Mapping[str, Callable[[Value], str]] = {
    **dict.fromkeys(_PARSERS, str),
    "path": lambda value: quote(str(value)),
    "text": lambda value: quote(str(value)),
    "target": lambda value: f"@{value}" if isinstance(value, int) else quote(value),
    "slot": lambda value: f"@{value}",
    "mode": lambda value: f"{value:04o}",
}


def parse_op(line: str) -> Op:
    """One line of a list; `ValueError` says what is wrong with it."""
    name, *words = line.split()
    kinds = SIGNATURES.get(name)
    if kinds is None:
        raise ValueError(f"there is no operation `{name}`; known: {', '.join(SIGNATURES)}")
    if len(words) != len(kinds):
        raise ValueError(f"`{name}` has {len(kinds)} arguments ({', '.join(kinds) or 'none'})")
    return Op(name, tuple(_PARSERS[kind](word) for kind, word in zip(kinds, words, strict=True)))


def parse(text: str, where: str = "op list") -> OpList:
    """A list from its text; `UsageError` names the line."""
    lines = text.splitlines()
    head = re.fullmatch(rf"{_MAGIC} run=([0-9a-f]{{6}})", lines[0] if lines else "")
    if head is None:
        raise UsageError(
            f"{where}:1: an op list begins with `{_MAGIC} run=` and six hexadecimal digits"
        )
    threads: list[list[Op]] = []
    about = []
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("#") or not line.strip():
            about += [line[1:].strip()] if line.startswith("#") else []
            continue
        try:
            if line.strip() == "thread":
                threads.append([])
            elif not threads:
                raise ValueError("`thread` comes before the first operation")
            elif len(line.encode()) > MAX_LINE:
                raise ValueError(f"a line has {MAX_LINE} bytes at most")
            else:
                threads[-1].append(parse_op(line))
        except ValueError as exc:
            raise UsageError(f"{where}:{number}: {exc}") from exc
    try:
        return OpList(int(head[1], 16), tuple(map(tuple, threads)), "\n".join(about))
    except UsageError as exc:
        raise UsageError(f"{where}: {exc}", hint=exc.hint) from exc


def _check(ops: OpList) -> None:
    """What no single line can tell: raises `UsageError`."""
    if not 0 <= ops.run <= 0xFFFFFF:
        raise UsageError(f"the run number {ops.run:#x} has more than 24 bits")
    if not 1 <= len(ops.threads) <= MAX_THREADS:
        raise UsageError(f"an op list has 1 to {MAX_THREADS} threads, not {len(ops.threads)}")
    if any(len(thread) > MAX_OPS for thread in ops.threads):
        raise UsageError(f"a thread has {MAX_OPS} operations at most")
    barriers: dict[Value, set[int]] = {}
    for ref in ops.refs():
        op = ops.op(ref)
        if op.name == "barrier":
            met = barriers.setdefault(op.args[0], set())
            if ref.thread in met:
                raise UsageError(f"thread {ref.thread} meets the barrier {op.args[0]} twice")
            met.add(ref.thread)
    for name, met in barriers.items():
        if len(met) < 2:
            raise UsageError(f"only one thread meets the barrier {name}")
