"""Contents: the bytes of files against those that the workload wrote.  Pure.

*stale*: a file holds only bytes that were written to it, at their place, or zeros.  With
data=ordered a file's blocks are on the disk before the transaction that makes them its own, so what
they held before never shows; with data=writeback it may.

*durability* of bytes: what sync or fsync acknowledged is there, or something newer.

Blocks of one state may be from different moments: no file system under test promises more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.crash.blocks import BLOCK, ZERO_ID, block_id
from harness.oracles.acknowledged import Acknowledged
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.model import History, Version

_SHOWN = 8  # findings that are kept of one state
_PASSED = 100_000  # blocks that are remembered as right
_QUOTE = 40  # bytes of a wrong block that are shown


class ContentsJudge:
    """Compares the bytes of files with the versions that one workload made."""

    def __init__(self, history: History, steps: Sequence[str]) -> None:
        self._history = history
        self._steps = steps
        self._bytes: dict[int, bytes] = {ZERO_ID: bytes(BLOCK)}
        for versions in history.versions.values():
            for version in versions:
                for begin in range(0, len(version.data), BLOCK):
                    data = version.data[begin : begin + BLOCK].ljust(BLOCK, b"\0")
                    self._bytes[block_id(data)] = data
        self._passed: set[tuple[object, ...]] = set()

    @property
    def known(self) -> frozenset[int]:
        """The names of all contents that blocks of the workload's files can have."""
        return frozenset(self._bytes)

    def stale(self, seen: Observed, begun: int) -> Judgement:
        """Whether every file holds only its own bytes; `begun` is the last operation."""
        if seen.unreadable:
            return Judgement(Oracle.STALE, Verdict.VOID, f"no tree: {seen.unreadable}")
        found: list[Finding] = []
        for path, file in seen.files.items():
            versions = tuple(self._versions_at(path, begun))
            for index, data in self._wrong(file, versions, seen, zeros=True):
                whose = self._owner(data)
                text = f"block {index} of /{path} holds {_quote(data)}{whose}"
                found.append(Finding("stale-data", FindingClass.DAMAGE, text))
        if found:
            reason = f"{found[0].text}, which was never written to it"
            return Judgement(Oracle.STALE, Verdict.FAIL, reason, tuple(found[:_SHOWN]))
        return Judgement(
            Oracle.STALE, Verdict.PASS, "every file holds only bytes that were written to it"
        )

    def lost(self, seen: Observed, position: int, begun: int, acks: Acknowledged) -> list[Finding]:
        """What is missing of the bytes that were acknowledged at a position of the log."""
        found: list[Finding] = []
        due = acks.names(position)
        for path, number in self._steady(due, begun).items():
            file = seen.files.get(path)
            if file is None:
                continue  # durability of names says so
            op = acks.data(position, number)
            versions = self._since(number, op, begun)
            sizes = [len(version.data) for version in versions]
            if not min(sizes) <= file.size <= max(sizes):
                allowed = " to ".join(str(size) for size in sorted({min(sizes), max(sizes)}))
                text = f"/{path} has {file.size} bytes and should have {allowed}"
                found.append(Finding("size-lost", FindingClass.DAMAGE, text))
                continue
            for index, data in self._wrong(file, versions, seen, zeros=False):
                text = f"block {index} of /{path} holds {_quote(data)}, older than operation {op}"
                found.append(Finding("data-lost", FindingClass.DAMAGE, text))
        return found[:_SHOWN]

    def _versions_at(self, path: str, begun: int) -> Iterator[Version]:
        """All versions up to operation `begun` of the files that were ever at a path."""
        numbers = {
            moment.files[path]
            for moment in self._history.moments
            if moment.op <= begun and path in moment.files
        }
        for number in sorted(numbers):
            yield from (v for v in self._history.versions[number] if v.since <= begun)

    def _steady(self, due: int, begun: int) -> dict[str, int]:
        """The files that keep their path from operation `due` to `begun`."""
        moments = self._history.moments
        start = max(index for index, moment in enumerate(moments) if moment.op <= max(due, -1))
        later = [moment for moment in moments[start:] if moment.op <= begun] or [moments[start]]
        return {
            path: number
            for path, number in later[0].files.items()
            if all(moment.files.get(path) == number for moment in later)
        }

    def _since(self, number: int, op: int, begun: int) -> tuple[Version, ...]:
        """The version that operation `op` left, and the later ones."""
        versions = self._history.versions[number]
        first = max((i for i, v in enumerate(versions) if v.since <= max(op, -1)), default=0)
        return tuple(v for v in versions[first:] if v.since <= begun) or versions[first : first + 1]

    def _wrong(
        self, file: FileSeen, versions: tuple[Version, ...], seen: Observed, *, zeros: bool
    ) -> Iterator[tuple[int, bytes]]:
        """The blocks with a byte that is at this place in none of the versions."""
        key_versions = tuple((id(v), len(v.data)) for v in versions)
        for index, content in enumerate(file.blocks):
            if zeros and content == ZERO_ID:
                continue
            length = min(BLOCK, file.size - index * BLOCK)
            key = (content, index, length, zeros, key_versions)
            if key in self._passed:
                continue
            data = seen.strange.get(content) or self._bytes.get(content)
            if data is None:
                raise RuntimeError("an unknown content came without its bytes")
            begin = index * BLOCK
            allowed = [v.data[begin : begin + length].ljust(length, b"\0") for v in versions]
            if zeros:
                allowed.append(bytes(length))
            if _made_of(data[:length], allowed):
                if len(self._passed) >= _PASSED:
                    self._passed.clear()
                self._passed.add(key)
            else:
                yield index, data[:length]

    def _owner(self, data: bytes) -> str:
        """Whose bytes they are, if the workload wrote them."""
        for number, versions in self._history.versions.items():
            if any(data in v.data for v in versions):
                paths = {
                    path
                    for moment in self._history.moments
                    for path, n in moment.files.items()
                    if n == number
                }
                return f", bytes of /{min(paths)}" if paths else ""
        return ""


def _made_of(data: bytes, allowed: Sequence[bytes]) -> bool:
    """Whether each byte is that of one of `allowed` at its place."""
    if data in allowed:
        return True
    return all(byte in choice for byte, *choice in zip(data, *allowed, strict=True))


def _quote(data: bytes) -> str:
    start = len(data) - len(data.lstrip(b"\0"))
    text = data[start : start + _QUOTE].split(b"\n")[0]
    return repr(text.decode("latin-1")) if text else "zeros"
