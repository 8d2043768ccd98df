"""Random op lists for tests: small trees in which names are met again and again."""

from __future__ import annotations

from hypothesis import strategies as st

from harness.workloads.agent.oplist import Op, OpList

_NAMES = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "l", "x y%", "none/a"]
_PATHS = st.sampled_from(_NAMES)
_TARGETS = st.one_of(_PATHS, st.sampled_from([0, 1]), st.just("."))
_OFFSETS = st.sampled_from([0, 1, 31, 32, 500, 4095, 4096, 5000, 12288])
_LENGTHS = st.sampled_from([1, 7, 64, 4096, 5000, 9000])
_MODES = st.sampled_from([0o600, 0o644, 0o755, 0o700])
_FLAGS = st.sampled_from(
    ["rd", "wr", "rdwr", "rdwr+creat", "rdwr+creat+excl", "wr+trunc", "wr+creat+trunc", "rdwr+sync"]
)


def _op(name: str, *args: st.SearchStrategy[str | int]) -> st.SearchStrategy[Op]:
    return st.tuples(*args).map(lambda values: Op(name, values))


_SLOT = st.sampled_from([0, 1])
OPS = st.one_of(
    _op("creat", _PATHS, _MODES),
    _op("mkdir", _PATHS, _MODES),
    _op("open", _SLOT, _PATHS, _FLAGS, _MODES),
    _op("close", _SLOT),
    _op("rmdir", _PATHS),
    _op("rename", _PATHS, _PATHS),
    _op("link", _PATHS, _PATHS),
    _op("symlink", st.sampled_from(["a", "d", "d/../a", "none", "l"]), _PATHS),
    _op("unlink", _PATHS),
    _op("truncate", _TARGETS, _OFFSETS),
    _op("write", _TARGETS, _OFFSETS, _LENGTHS),
    _op("swrite", _TARGETS, _OFFSETS, _LENGTHS),
    _op("append", _TARGETS, _LENGTHS),
    _op("mwrite", _TARGETS, _OFFSETS, _LENGTHS),
    _op("msync", _TARGETS, _OFFSETS, _LENGTHS),
    _op("chmod", _TARGETS, _MODES),
    _op("chown", _TARGETS, st.sampled_from([0, 1001]), st.sampled_from([0, 1002])),
    _op("utimes", _TARGETS, st.just(5), st.just(6)),
    _op("fsync", _TARGETS),
    _op("fdatasync", _TARGETS),
    _op("syncfs", _TARGETS),
)

LISTS = st.builds(
    lambda run, ops: OpList(run, (tuple(ops),)),
    st.integers(0, 0xFFFFFF),
    st.lists(OPS, min_size=1, max_size=40),
)
