"""The agent, compiled for the host, against the model: random lists must give exactly its tree."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from harness.disk.ext2 import mkfs_argv
from harness.disk.jbd2 import journal_map, journal_superblock
from harness.disk.lay import pieces, sequence_at
from harness.workloads.agent import pattern
from harness.workloads.agent.build import build, version
from harness.workloads.agent.marks import AREA, LAID, MARK, SLOT, Mark, decode
from harness.workloads.agent.mixes import MIXES, mix
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
    """The tree and the results of a list, its threads one after the other."""
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
    named = [f"{ops.op(ref)} -> {each}" for ref, each in zip(ops.refs(), results, strict=True)]
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


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
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


@pytest.mark.parametrize("name", MIXES)
def test_threads_leave_the_tree_that_the_model_has_in_any_order(
    agent: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "fs"
    folder.mkdir()
    check(agent, mix(name, 11, 80, semantics=LINUX), folder, tmp_path)


def test_marks_say_when_each_operation_began_and_returned(agent: Path, tmp_path: Path) -> None:
    listing = mix("names", 3, 20, semantics=LINUX)
    (tmp_path / "fs").mkdir()
    (tmp_path / "ops").write_text(str(listing))
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SLOT + AREA))
    argv = [*map(str, (agent, "run", tmp_path / "ops", tmp_path / "fs", disk, SLOT))]
    subprocess.run(argv, check=True, capture_output=True)
    data = disk.read_bytes()[SLOT:]
    for thread, ops in enumerate(listing.threads):
        mark = decode(data[thread * SLOT :][:MARK], 5)
        assert mark == Mark(5, listing.run, thread, len(ops), "OK")
    assert not any(data[SLOT * len(listing.threads) :])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hurdle-ops 2 run=000001\n", ":1: no op list"),
        ("hurdle-ops 1 run=000001\nthread\nfoo\n", ":3: there is no operation `foo'"),
        ("hurdle-ops 1 run=000001\nthread\n\ncreat a\n", ":4: `creat' has 2 arguments"),
        ("hurdle-ops 1 run=000001\nthread\ncreat ../a 0644\n", ":3: `../a' is no path below"),
        ("hurdle-ops 1 run=000001\nthread\nbarrier x\n", "only one thread meets the barrier x"),
        ("hurdle-ops 1 run=000001\ncreat a 0644\n", ":2: `thread' comes before"),
    ],
)
def test_the_agent_names_the_line_that_is_wrong(
    agent: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "ops").write_text(text)
    argv = [*map(str, (agent, "run", tmp_path / "ops", tmp_path))]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("pause", "code", "message"),
    [
        ("10", 2, "no page of a directory could be taken: No such device"),
        ("soon", 1, "soon: a pause is a number of milliseconds"),
    ],
)
def test_a_system_that_takes_no_pages_of_directories_is_told_of(
    agent: Path, tmp_path: Path, pause: str, code: int, message: str
) -> None:
    (tmp_path / "ops").write_text("hurdle-ops 1 run=000001\nthread\nmkdir A 0755\n")
    argv = [*map(str, (agent, "run", "-r", pause, tmp_path / "ops", tmp_path))]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, f"hurdle-agent: {message}\n")


@pytest.mark.parametrize("fs", ["ext2", "ext3"])
def test_pieces_make_a_used_disk_a_fresh_file_system(agent: Path, tmp_path: Path, fs: str) -> None:
    base, used = tmp_path / "base", tmp_path / "used"
    size = 16 << 20
    with base.open("wb") as file:
        file.truncate(size)
    argv = mkfs_argv(base, fs=fs, creator="linux", extra=("-g", "2048"))
    subprocess.run(argv, check=True)
    journal = journal_map(base) if fs == "ext3" else None
    (tmp_path / "pieces").write_bytes(pieces(base, journal))
    used.write_bytes(b"\xa5" * (size + AREA))
    extra = [f"{sequence_at(journal)}:70000"] if journal else []
    argv = [str(agent), "lay", str(tmp_path / "pieces"), str(used), str(size), "00beef", *extra]
    subprocess.run(argv, check=True)
    assert decode(used.read_bytes()[size:][:MARK], 1) == Mark(1, 0xBEEF, 0, 0, LAID)
    os.truncate(used, size)
    subprocess.run(["e2fsck", "-fn", used], check=True, capture_output=True)
    if journal:
        assert journal_superblock(used, journal).sequence == 70000
