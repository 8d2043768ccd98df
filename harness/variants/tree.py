"""Hurd trees: where one comes from, and a copy to work on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import UsageError
from harness.images.cache import Cache
from harness.images.source.apt import AptArchive, PrivateApt
from harness.images.source.fetch import Fetcher, copy_tree
from harness.images.source.sources import DirSource, GitSource
from harness.process import run
from harness.variants.spec import HurdVariant

#: the caller's settings of git must not change what is committed or applied
PLAIN_GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@contextmanager
def open_tree(source: GitSource | DirSource) -> Iterator[Path]:
    """The source's tree as a folder, which must not be written to."""
    if isinstance(source, DirSource):
        yield source.path
        return
    with TemporaryDirectory(prefix="hurdle-tree-") as scratch:
        tree = Path(scratch) / "tree"
        with Cache.default().writing():
            tree_fetcher().unpack(source, tree)
        yield tree


def tree_fetcher() -> Fetcher:
    """Brings and identifies Hurd trees; fetched repositories are kept in the cache."""
    folder = Cache.default().folder / "source"
    folder.mkdir(parents=True, exist_ok=True)
    # A git source never asks apt, which the fetcher of all sources wants to have at hand.
    return Fetcher(folder, PrivateApt(folder / "apt", AptArchive("", (), Path())))


def chosen_source(
    variant: HurdVariant, tree: Path | None, say: Callable[[str], None]
) -> GitSource | DirSource:
    """The tree to take; a word about one that is not at the variant's own commit."""
    if tree is None:
        return variant.where
    tree = tree.expanduser().absolute()
    at, meant = commit_of(tree), variant.where
    if at and isinstance(meant, GitSource) and not at.startswith(meant.commit):
        say(f"{tree} is at {at[:12]}; the variant's own tree is {meant.commit[:12]}")
    return DirSource(tree)


def is_work_tree(tree: Path) -> bool:
    """Whether the folder is the top of a git work tree."""
    return (tree / ".git").exists()


def check_tree(tree: Path, *, edited: bool = False) -> None:
    """Refuse a tree that is none, or is a git work tree with changes that no commit has.

    `edited` lets such changes through.
    """
    if not (tree / "Makefile").is_file() and not any(tree.glob("*/Makefile")):
        raise UsageError(f"{tree} is no source tree: it has no Makefile", hint="check the path")
    if edited or not is_work_tree(tree):
        return
    said = run(["git", "-C", str(tree), "status", "--porcelain"], timeout=120).stdout
    changes = [line[3:] for line in said.splitlines()]
    if changes:
        shown = ", ".join(changes[:5]) + (", ..." if len(changes) > 5 else "")
        raise UsageError(
            f"{tree} is not clean: {shown}",
            hint="commit or stash the changes; or give a copy without .git: it is taken as it is",
        )


def commit_of(tree: Path) -> str | None:
    """The commit that a git work tree is at; None for a plain folder."""
    if not is_work_tree(tree):
        return None
    return run(["git", "-C", str(tree), "rev-parse", "HEAD"]).stdout.strip()


def check_dest(tree: Path, dest: Path) -> None:
    """Refuse a destination that would mix with what is there."""
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise UsageError(f"{dest} exists and is not empty", hint="give a new folder")
    if dest.resolve().is_relative_to(tree.resolve()):
        raise UsageError(f"{dest} is inside of {tree}", hint="give a folder outside of the tree")


def copy_pristine(tree: Path, dest: Path) -> None:
    """Copy a tree into the new folder `dest`: what git tracks, else all but hidden files."""
    dest.mkdir(parents=True, exist_ok=True)
    if not is_work_tree(tree):
        copy_tree(tree, dest)
        return
    for name in run(["git", "-C", str(tree), "ls-files", "-z"], timeout=120).stdout.split("\0"):
        source, target = tree / name, dest / name
        if name and (source.is_symlink() or not source.is_dir()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def read_source(path: Path) -> str:
    """A source file's text: any encoding and any line ends come back as they were."""
    return path.read_bytes().decode(errors="surrogateescape")


def write_source(path: Path, text: str) -> None:
    """Write what `read_source` gave."""
    path.write_bytes(text.encode(errors="surrogateescape"))
