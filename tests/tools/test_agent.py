"""The agent, compiled for the host, against the model: random lists must give exactly its tree."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from harness.workloads.agent import pattern
from harness.workloads.agent.build import build, version
from harness.workloads.agent.oplist import OpList
from harness.workloads.agent.rules import LINUX, Applied, apply
from harness.workloads.agent.tree import DIRECTORY, FIFO, REGULAR, ROOT, SYMLINK, Tree, fresh
from tests.pure.op_lists import LISTS

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners can be given away by root only"),
]
_KINDS = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("agent") / "hurdle-agent")


def model(ops: OpList) -> tuple[Tree, list[str]]:
    """The tree and the results of a list of one thread."""
    tree, results = fresh(lost_and_found=False), []
    for ref in ops.refs():
        done: Applied = apply(tree, ref, ops.op(ref), LINUX)
        tree = done.tree
        results.append(done.errno)
    return tree, results


def content(run: int, tree: Tree, number: int) -> bytes:
    node = tree.nodes[number]
    data = bytearray(node.size)
    for start, end, ref in node.extents:
        data[start:end] = pattern.fill(run, ref, start, end - start)
    return bytes(data)


def look(path: Path, tree: Tree, number: int) -> tuple[object, ...]:
    status = path.lstat()
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    links = status.st_nlink if kind != DIRECTORY else 0
    target = str(path.readlink()) if kind == SYMLINK else ""
    mode = stat.S_IMODE(status.st_mode)
    return kind, mode, status.st_uid, status.st_gid, links, target


def check(agent: Path, ops: OpList, folder: Path, scratch: Path) -> None:
    """Run a list and compare results, names, looks, links and bytes."""
    listing = scratch / "ops"
    listing.write_text(str(ops))
    done = subprocess.run(
        [agent, "run", listing, folder], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    tree, results = model(ops)
    failed = {
        (int(words[1]), int(words[2])): words[3]
        for words in map(str.split, done.stdout.splitlines())
        if words[0] == "failed"
    }
    seen = [failed.get((ref.thread, ref.index), "OK") for ref in ops.refs()]
    named = [f"{op} -> {result}" for op, result in zip(ops.threads[0], results, strict=True)]
    assert seen == results, "\n".join(named)
    paths = tree.paths()
    there = {""} | {str(p.relative_to(folder)) for p in folder.rglob("*")}
    assert there == set(paths)
    inodes: dict[int, int] = {}
    for path, number in paths.items():
        node, real = tree.nodes[number], folder / path
        if number != ROOT:
            links = node.links if node.kind != DIRECTORY else 0
            expected = (node.kind, node.mode, node.uid, node.gid, links, node.target)
            assert look(real, tree, number) == expected, path
        assert inodes.setdefault(number, real.lstat().st_ino) == real.lstat().st_ino
        if node.kind == REGULAR:
            assert real.read_bytes() == content(ops.run, tree, number), path


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(ops=LISTS)
def test_the_agent_and_the_model_agree_on_random_lists(
    agent: Path, tmp_path_factory: pytest.TempPathFactory, ops: OpList
) -> None:
    scratch = tmp_path_factory.mktemp("run")
    folder = scratch / "fs"
    folder.mkdir()
    try:
        check(agent, ops, folder, scratch)
    finally:
        shutil.rmtree(scratch)


def test_the_agent_says_of_which_sources_it_is(agent: Path) -> None:
    said = subprocess.run([agent, "version"], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["hurdle-agent", "1", version()]
