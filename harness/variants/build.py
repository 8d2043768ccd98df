"""A variant's ext2fs, cross-built on the host with the toolchain of the guest from source.

CACHE/variants/trees/      expanded trees (trees.py)
CACHE/variants/stages/     build folders, in which `make` compiles what has changed
CACHE/variants/builds/NAME/HASH/ext2fs, build.json
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.config import Spec
from harness.errors import UsageError
from harness.images.cache import Cache
from harness.images.manifest import file_hash, now
from harness.images.source import host, hurd, root
from harness.images.source.sources import DirSource, GitSource
from harness.images.source.stage import Stage
from harness.images.source.workshop import Result, Workshop
from harness.locked import locked
from harness.process import run
from harness.variants.spec import HurdVariant
from harness.variants.tree import commit_of, tree_fetcher
from harness.variants.trees import expanded_tree, patches_hash
from harness.variants.warn import new_warnings

_KEEP = 8  # builds of one variant

Say = Callable[[str], None]


class BuildRecord(Spec):
    """What a build was made from and what came out."""

    variant: str
    where: str  #: host or guest
    source: str  #: as in variants.yaml
    tree: str  #: the tree's commit, or a hash of a folder that is none
    patches: str  #: hash of all that was laid over the tree; empty for nothing
    compiler: str
    sha256: str  #: of the stripped program
    seconds: float  #: that it took when it was built
    built: str  #: ISO 8601, UTC

    @property
    def version(self) -> str:
        """For a report: tree, patches and program."""
        laid = f" + patches {self.patches[:8]}" if self.patches else ""
        return f"{self.tree[:12]}{laid}, ext2fs {self.sha256[:12]}, built on the {self.where}"


@dataclass(frozen=True)
class Build:
    """A built ext2fs, stripped and statically linked."""

    file: Path
    record: BuildRecord


@dataclass(frozen=True)
class Compiled:
    """What the host's compiler made: the program, and the tree with its configure script."""

    program: Path
    tree: Path
    record: BuildRecord


def build_on_host(
    name: str,
    variant: HurdVariant,
    source: GitSource | DirSource,
    cache: Cache,
    say: Say,
    *,
    warnings: bool = False,
) -> Build:
    """The ext2fs of a variant whose tree is `source`; seconds when little has changed.

    Raises `UsageError` for a variant that does not fit its tree or, unless `warnings` are allowed,
    compiles with one that the tree itself compiles without, and `InfraError` with the log for one
    that does not compile.
    """
    with compiled(name, variant, source, cache, say, warnings=warnings) as made:
        return keep(made.program, made.record, cache)


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """The right to be the only one who builds variants in `folder`."""
    folder.mkdir(exist_ok=True)
    with locked(folder / "lock.variants", "another hurdle builds variants", say):
        yield


@contextmanager
def compiled(
    name: str,
    variant: HurdVariant,
    source: GitSource | DirSource,
    cache: Cache,
    say: Say,
    *,
    warnings: bool = False,
) -> Iterator[Compiled]:
    """As `build_on_host`; nobody else changes program and tree before the block ends."""
    host.check()
    began = time.monotonic()
    folder = cache.folder / "variants"
    with cache.writing(), _alone(folder, say):
        tools = toolchain(cache)
        stages = [hurd.ext2fs(name, source)]
        if variant.patches:
            tree = expanded_tree(variant, source, folder / "trees" / name, say)
            stages = [hurd.ext2fs(name, DirSource(tree))]
            if not warnings:
                stages.append(hurd.ext2fs("pristine", source))
        shop = Workshop(folder, tree_fetcher(), jobs=len(os.sched_getaffinity(0)), say=say)
        made = [_make(shop, stage, tools) for stage in stages]
        if variant.patches and not warnings:
            _no_new_warning(name, *(result.out / "said" for result in made))
        record = BuildRecord(
            variant=name,
            where="host",
            source=str(source),
            tree=_tree_id(source),
            patches=patches_hash(variant) if variant.patches else "",
            compiler=compiler(tools),
            sha256="",
            seconds=round(time.monotonic() - began, 1),
            built=now(),
        )
        program = made[0].out / f"root/hurd/ext2fs-{name}"
        yield Compiled(program, made[0].work / "src", record)


def toolchain(cache: Cache) -> dict[str, Result]:
    """The toolchain that the guest from source was built with, made or used last."""
    shop = Workshop(cache.folder / "source", tree_fetcher(), jobs=1, say=lambda text: None)
    found = shop.latest(hurd.TOOLCHAIN)
    missing = [name for name in hurd.TOOLCHAIN if name not in found]
    if missing:
        raise UsageError(
            f"the cross toolchain is not built: {', '.join(missing)} missing",
            hint="it is the first half of the guest: hurdle image build hurd-i386-source",
        )
    return found


def compiler(tools: Mapping[str, Result]) -> str:
    """The cross compiler's version, without the names of target and packager."""
    gcc = tools["gcc"].out / "tools/bin/i686-gnu-gcc"
    return f"gcc {run([str(gcc), '-dumpfullversion']).stdout.strip()}"


def keep(program: Path, record: BuildRecord, cache: Cache) -> Build:
    """Strip a copy of `program` and keep it in the cache with its record."""
    home = cache.folder / "variants" / "builds" / record.variant
    part = home / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    shutil.copyfile(program, part / "ext2fs")
    root.strip(part)
    (part / "ext2fs").chmod(0o755)
    sha256 = file_hash(part / "ext2fs")
    record = record.model_copy(update={"sha256": sha256})
    (part / "build.json").write_text(record.model_dump_json(indent=1) + "\n")
    place = home / f"{sha256[:16]}-{record.where}"
    shutil.rmtree(place, ignore_errors=True)
    part.rename(place)
    place.touch()
    for old in sorted(home.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)[_KEEP:]:
        shutil.rmtree(old)
    return Build(place / "ext2fs", record)


def builds(name: str, cache: Cache) -> tuple[Build, ...]:
    """The builds of a variant that the cache has, newest first."""
    found = []
    for path in (cache.folder / "variants" / "builds" / name).glob("*/build.json"):
        try:
            record = BuildRecord.model_validate_json(path.read_text())
        except (OSError, ValidationError) as exc:
            raise UsageError(f"{path} can't be read: {exc}", hint=f"remove {path.parent}") from exc
        found.append(Build(path.with_name("ext2fs"), record))
    return tuple(sorted(found, key=lambda build: build.record.built, reverse=True))


def _make(shop: Workshop, stage: Stage, tools: Mapping[str, Result]) -> Result:
    return shop.build([stage], tools)[stage.name]


def _tree_id(source: GitSource | DirSource) -> str:
    """A commit for what is one, else what tells the folder's content."""
    identity = tree_fetcher().identify(source)
    if isinstance(source, GitSource):
        return identity.digest
    commit = commit_of(source.path)
    edited = commit and run(["git", "-C", str(source.path), "status", "--porcelain"]).stdout
    return commit if commit and not edited else identity.version


def _no_new_warning(name: str, said: Path, before: Path) -> None:
    new = new_warnings(said.read_text(), before.read_text())
    if new:
        raise UsageError(
            f"{name} compiles with {len(new)} warnings that its tree compiles without:\n"
            + "\n".join(str(each) for each in new[:20]),
            hint="mend the code; what was built is not kept",
        )
