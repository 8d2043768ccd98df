"""Expanded trees that are kept, so that an edit of a C file of ours costs no Coccinelle.

    CACHE/variants/trees/NAME/KEY/

The key is the hash of everything that a rule can see: the Hurd tree, the variant's description, its
rules and headers, and the code that applies them.  C files of ours are no part of it, since no file
includes them; the kept tree gets their newest content each time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.images.manifest import file_hash
from harness.images.source.sources import DirSource, GitSource
from harness.images.source.stage import digest_text
from harness.images.source.workshop import discard
from harness.process import run
from harness.variants.expand import check_calls, expand
from harness.variants.spec import HurdVariant
from harness.variants.tree import open_tree, tree_fetcher

_KEEP = 4  # trees of one variant
#: the modules of this room on which an expanded tree depends
_EXPANDERS = ("csource", "expand", "hoist", "makefile", "smpl", "spatch")


def expanded_tree(
    variant: HurdVariant,
    source: GitSource | DirSource,
    folder: Path,
    say: Callable[[str], None],
) -> Path:
    """The variant's tree below `folder`, expanded now or before; it must not be written to.

    The caller holds a lock on `folder`.  Raises as `expand` does.
    """
    place = folder / _key(variant, source)
    if place.exists():
        _refresh(place, variant)
        place.touch()
        return place
    say(f"laying {len(variant.patches)} patches over {source}")
    part = folder / "part"
    shutil.rmtree(part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with open_tree(source) as tree:
        for note in expand(tree, variant, part, edited=True).notes:
            say(note)
    part.rename(place)
    place.touch()
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in kept[_KEEP:]:
        discard(old)
    return place


def patches_hash(variant: HurdVariant) -> str:
    """A hash of all that the variant lays over its tree."""
    return digest_text(*_description(variant, lambda path: True))


def _key(variant: HurdVariant, source: GitSource | DirSource) -> str:
    code = [file_hash(Path(__file__).with_name(f"{name}.py")) for name in _EXPANDERS]
    hooks = any(patch.hook for patch in variant.patches)
    spatch = run(["spatch", "--version"]).stdout if hooks else ""
    tree = tree_fetcher().identify(source).digest
    return digest_text(tree, spatch, *code, *_description(variant, lambda p: not _is_code(p)))[:16]


def _description(variant: HurdVariant, counts: Callable[[Path], bool]) -> Iterator[str]:
    """The variant in words, and a hash of each of its files that `counts`.

    Where those files lie on the host is no part of it.
    """
    yield "\n".join(check.model_dump_json() for check in variant.calls)
    for patch in variant.patches:
        yield patch.model_dump_json(exclude={"new": True, "hook": {"rules"}})
        if patch.hook:
            yield file_hash(patch.hook.rules)
        for new in patch.new:
            yield f"{new.into}: {', '.join(path.name for path in new.copy_from)}"
            yield from (file_hash(path) for path in new.copy_from if counts(path))


def _is_code(path: Path) -> bool:
    return path.suffix == ".c"


def _refresh(tree: Path, variant: HurdVariant) -> None:
    """Bring the C files of ours up to date, and check again what they may have changed."""
    for patch in variant.patches:
        for new in patch.new:
            for path in filter(_is_code, new.copy_from):
                target = tree / new.into / path.name
                if target.read_bytes() != path.read_bytes():
                    shutil.copyfile(path, target)
    for check in variant.calls:
        check_calls(tree, check)
