"""A variant's patches, one after the other, on a copy of a tree.

Whatever doesn't go as variants.yaml says is an error here, since a hook that silently went missing
is a write that no transaction covers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from harness.errors import UsageError
from harness.variants.csource import calls, names
from harness.variants.hoist import Hoisted, foreign_braces, hoist, lower, respaced, wide_lines
from harness.variants.makefile import append_words
from harness.variants.smpl import Rule, parse_rules
from harness.variants.spatch import apply_rules, unseen
from harness.variants.spec import CallCheck, Hook, HurdVariant, NewFiles, Patch
from harness.variants.tree import (
    check_dest,
    check_tree,
    copy_pristine,
    read_source,
    write_source,
)


@dataclass(frozen=True)
class Expansion:
    """An expanded tree.

    `notes` are parts that Coccinelle doesn't see and no rule is meant for, and lines that are wide.
    """

    tree: Path
    notes: tuple[str, ...]


def expand(
    tree: Path,
    variant: HurdVariant,
    dest: Path,
    after: Callable[[Patch | None], None] = lambda patch: None,
    *,
    edited: bool = False,
) -> Expansion:
    """Lay a variant's patches over a copy of `tree` in the new folder `dest`.

    `after` is called when the pristine copy is there (with None), and after each patch.  `edited`
    takes a git work tree with changes that no commit has.  If anything fails, `dest` is removed, so
    that no half-patched tree is ever built.
    """
    check_tree(tree, edited=edited)
    check_dest(tree, dest)
    notes: list[str] = []
    try:
        copy_pristine(tree, dest)
        check_pristine(dest, variant)
        after(None)
        for patch in variant.patches:
            for new in patch.new:
                _copy_new(dest, new)
            if patch.hook:
                notes += _apply_hook(dest, patch.hook)
            for edit in patch.make:
                file = _existing(dest, edit.file)
                text = append_words(read_source(file), edit.variable, edit.append, edit.file)
                write_source(file, text)
            after(patch)
        for check in variant.calls:
            check_calls(dest, check)
    except BaseException:
        shutil.rmtree(dest, ignore_errors=True)
        raise
    return Expansion(dest, tuple(dict.fromkeys(notes)))


def check_pristine(tree: Path, variant: HurdVariant) -> None:
    """Refuse a tree that has in it what the variant's rules bring in, or lacks what it checks."""
    for patch in variant.patches:
        for file in patch.hook.files if patch.hook else ():
            text = read_source(_existing(tree, file))
            present = sorted(names(text) & set(patch.hook.introduces if patch.hook else ()))
            if present:
                raise UsageError(
                    f"{file} already has {', '.join(present)}, "
                    f"which {_rules_name(patch)} brings in",
                    hint="the variant was applied to this tree before: give a pristine tree",
                )
    for check in variant.calls:
        if not _sites(tree, check):
            raise UsageError(
                f"the tree never calls {check.of} in {', '.join(check.within)}, "
                "so the check of its calls proves nothing",
                hint="it may have another name in this tree: mend `calls` in variants.yaml",
            )


def check_calls(tree: Path, check: CallCheck) -> None:
    """Raise `UsageError` for calls that are not covered, and for exemptions that nothing needs."""
    exempt = dict.fromkeys(check.exempt, False)
    bare = []
    for file, name, line, covered in _sites(tree, check):
        if covered:
            continue
        key = next((k for k in (f"{file}:{name}", file) if k in exempt), None)
        if key is None:
            bare.append(f"{file}:{line} (in {name or 'no function'})")
        else:
            exempt[key] = True
    if bare:
        cure = f"a call of {' or '.join(check.guard)}" if check.guard else "a rule that replaces it"
        raise UsageError(
            f"{len(bare)} calls of {check.of} are not covered by a rule: {', '.join(bare)}",
            hint=f"each needs {cure}, or an entry in `exempt` that says why not",
        )
    stale = [key for key, used in exempt.items() if not used]
    if stale:
        raise UsageError(
            f"calls of {check.of}: nothing needs the exemption of {', '.join(stale)}",
            hint="remove it from variants.yaml, or mend its name",
        )


def _sites(tree: Path, check: CallCheck) -> list[tuple[str, str, int, bool]]:
    """Each call of the checked function: file, function around it, line, and whether covered."""
    found = []
    for path in sorted(tree.rglob("*.[ch]")):
        file = path.relative_to(tree).as_posix()
        if not any(fnmatch(file, pattern) for pattern in check.within):
            continue
        text = read_source(path)
        guards: dict[str, int] = {}
        sites = calls(text, {check.of, *check.guard})
        if check.mode == "each":
            for call in sites:
                guards[call.function] = guards.get(call.function, 0) + (call.name != check.of)
        for call in sites:
            if call.name == check.of:
                covered = guards.get(call.function, 0) > 0
                found.append((file, call.function, call.line, covered))
                if check.mode == "each":
                    guards[call.function] -= 1
            elif check.mode == "before":
                guards[call.function] = 1
    return found


def _copy_new(tree: Path, new: NewFiles) -> None:
    folder = tree / new.into
    for source in new.copy_from:
        target = folder / source.name
        if not source.is_file():
            raise UsageError(f"{source} is missing", hint="mend `copy` in variants.yaml")
        if target.exists():
            raise UsageError(
                f"the tree already has {new.into}/{source.name}",
                hint="give a pristine tree; or the tree now has a file of that name: rename ours",
            )
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)


def _apply_hook(tree: Path, hook: Hook) -> list[str]:
    """Apply a hook to its files; what is worth a look, but no error, comes back as notes."""
    try:
        text = hook.rules.read_text()
    except OSError as exc:
        raise UsageError(f"{hook.rules}: {exc.strerror}", hint="check the path") from exc
    rules = parse_rules(text, str(hook.rules))
    expected = _expected(hook, rules)
    notes = []
    for file, wanted in expected.items():
        path = _existing(tree, file)
        original = read_source(path)
        hoisted = hoist(original)
        write_source(path, hoisted.text)
        notes += _check_seen(tree, file, hook, rules, hoisted)
        done = apply_rules(tree, file, hook.rules, rules)
        _compare(hook, file, wanted, done.matched)
        if not done.changed:
            raise UsageError(
                f"{hook.rules}: {', '.join(sorted(done.matched))} left {file} as it was",
                hint="a rule that changes nothing hides what it is for: remove it",
            )
        _check_result(tree, file, hook, rules)
        text = lower(read_source(path), hoisted, f"{hook.rules}: {file}")
        _check_braces(hook, file, text, original)
        text = respaced(text, original)
        write_source(path, text)
        wide = ", ".join(map(str, wide_lines(text, original)))
        if wide:
            notes.append(f"{file}: {hook.rules.name} makes lines wider than 79 columns: {wide}")
    return notes


def _expected(hook: Hook, rules: tuple[Rule, ...]) -> dict[str, frozenset[str]]:
    """Which changing rules have to match in which file."""
    changing = frozenset(rule.name for rule in rules if rule.changes)
    added = frozenset().union(*(rule.added for rule in rules))
    missing = sorted(set(hook.introduces) - added)
    if missing:
        raise UsageError(
            f"{hook.rules}: no plus line has {', '.join(missing)}",
            hint="`introduces` in variants.yaml lists names that the rules bring in",
        )
    if not isinstance(hook.files, dict):
        return dict.fromkeys(hook.files, changing)
    named = frozenset(name for each in hook.files.values() for name in each)
    if named != changing:
        odd = ", ".join(sorted(named ^ changing))
        raise UsageError(
            f"{hook.rules}: {odd} is either no changing rule, or named for no file",
            hint="`files` in variants.yaml names for each file the rules that match in it",
        )
    return {file: frozenset(each) for file, each in hook.files.items()}


def _compare(hook: Hook, file: str, wanted: frozenset[str], matched: frozenset[str]) -> None:
    silent = sorted(wanted - matched)
    if silent:
        raise UsageError(
            f"{hook.rules}: {', '.join(silent)} matches nothing in {file}",
            hint="this version of the file differs: mend the rule, or `files` in variants.yaml",
        )
    surplus = sorted(matched - wanted)
    if surplus:
        raise UsageError(
            f"{hook.rules}: {', '.join(surplus)} matches in {file}, for which it is not named",
            hint="look at what it changes there; then name it, or make the rule narrower",
        )


def _check_seen(
    tree: Path, file: str, hook: Hook, rules: tuple[Rule, ...], hoisted: Hoisted
) -> list[str]:
    """Notes for parts that spatch doesn't see; an error for one with a name that rules match on."""
    anchors = set(hook.touches) or set().union(*(rule.anchors for rule in rules))
    patterns = () if hook.touches else tuple(p for rule in rules for p in rule.patterns)
    notes = []
    for found in unseen(tree, file):
        first, last = hoisted.line(found.first), hoisted.line(found.last)
        part = replace(found, first=first, last=last)
        hits = part.wanted(anchors, patterns)
        if hits:
            raise UsageError(
                f"{hook.rules}: in {file} Coccinelle {part}, which has {', '.join(hits)}",
                hint="see why with spatch --parse-c or --debug; if the rules have no business "
                "there, list in `touches` the names that they are about",
            )
        notes.append(f"{file}: Coccinelle {part}; no rule is about what is there")
    return notes


def _check_result(tree: Path, file: str, hook: Hook, rules: tuple[Rule, ...]) -> None:
    if hook.introduces:
        if not names(read_source(tree / file)) & set(hook.introduces):
            raise UsageError(
                f"{hook.rules}: {file} was changed, but has none of {', '.join(hook.introduces)}",
                hint="mend `introduces` in variants.yaml",
            )
        return
    # Nothing in the result tells that the rules were here, unless they have nothing left to do.
    before = (tree / file).read_bytes()
    again = apply_rules(tree, file, hook.rules, rules)
    if again.changed:
        (tree / file).write_bytes(before)
        raise UsageError(
            f"{hook.rules}: applied twice, it changes {file} twice, and nothing would tell",
            hint="list in `introduces` a name that its plus lines bring in",
        )


def _check_braces(hook: Hook, file: str, text: str, original: str) -> None:
    lines = foreign_braces(text, original)
    if lines:
        raise UsageError(
            f"{hook.rules}: in {file} braces come out in no GNU style, "
            f"lines {', '.join(map(str, lines))}",
            hint="Coccinelle adds them where one statement becomes two: replace the call by one "
            "that does both, or match the whole statement and write the braces",
        )


def _existing(tree: Path, file: str) -> Path:
    path = tree / file
    if not path.is_file():
        raise UsageError(f"the tree has no {file}", hint="this version differs: mend variants.yaml")
    return path


def _rules_name(patch: Patch) -> str:
    return patch.hook.rules.name if patch.hook else ""
