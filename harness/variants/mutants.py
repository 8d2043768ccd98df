"""Deliberate defects of the journal's engine, built into an ext2fs of the guest.

guest-patches/sim/mutants.txt holds them; mutants.py beside it reads it, and runs them on the host.
"""

from __future__ import annotations

import random
import runpy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.images.cache import Cache
from harness.variants.build import Build, build_on_host
from harness.variants.spec import VARIANTS, load_variants, pick
from harness.variants.tree import chosen_source

_BUILT_AS = "mutant"  # in the cache: the builds of `ours` itself stay as they are


@dataclass(frozen=True)
class Mutant:
    """A defect; `files` are the engine's changed sources by name."""

    name: str
    files: dict[str, str]


@cache
def _tool() -> dict[str, Any]:
    return runpy.run_path(str(VARIANTS.parent / "sim" / "mutants.py"))


def disk_mutants() -> tuple[Mutant, ...]:
    """The defects that a crash of a healthy disk can show, in the order of their file."""
    tool = _tool()
    found = tool["read_mutants"](VARIANTS.parent / "sim" / "mutants.txt")
    return tuple(Mutant(each.name, tool["mutate"](each)) for each in found if each.disk)


def draw(mutants: Sequence[Mutant], count: int, seed: int) -> tuple[Mutant, ...]:
    """`count` of them by seed, in their order; all where there are no more."""
    if count >= len(mutants):
        return tuple(mutants)
    places = random.Random(f"{seed}/mutants").sample(range(len(mutants)), count)
    return tuple(mutants[place] for place in sorted(places))


def named(mutants: Sequence[Mutant], names: Sequence[str]) -> tuple[Mutant, ...]:
    """Those of that name.  Raises `UsageError` for one that there is not."""
    by_name = {each.name: each for each in mutants}
    for name in names:
        if name not in by_name:
            raise UsageError(f"no defect is called {name!r}", hint=f"known: {', '.join(by_name)}")
    return tuple(by_name[name] for name in names)


def build_mutant(
    mutant: Mutant | None,
    variant: str,
    scratch: Path,
    cache: Cache,
    say: Callable[[str], None],
    *,
    tree: Path | None = None,
) -> Build:
    """The ext2fs of `variant` with a defect, or without one; seconds, but for the first.

    Raises as `build_on_host`, but for warnings: what a defect leaves unused is no matter here.
    """
    patches = scratch / "guest-patches"
    shutil.rmtree(patches, ignore_errors=True)
    shutil.copytree(VARIANTS.parent, patches, ignore=shutil.ignore_patterns("build", "sim"))
    for name, text in mutant.files.items() if mutant else ():
        (patches / "journal" / name).write_text(text)
    described = pick(load_variants(patches / VARIANTS.name), variant)
    source = chosen_source(described, tree, say)
    return build_on_host(_BUILT_AS, described, source, cache, say, warnings=True)
