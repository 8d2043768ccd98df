"""What guest-patches/variants.yaml may say: variants, and what each lays over a Hurd tree."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from harness.config import Spec, load
from harness.errors import UsageError
from harness.images.source.sources import DirSource, GitSource, parse_source

#: the variants that come with hurdle; the files that they name lie beside it
VARIANTS = Path(__file__).resolve().parents[2] / "guest-patches" / "variants.yaml"

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] == ".git":
        raise ValueError(f"{text!r} leads out of the tree: write a path below it, as libdiskfs/x.c")
    return str(path)


def _name(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(f"{text!r} is no name of C")
    return text


TreePath = Annotated[str, AfterValidator(_inside)]
CName = Annotated[str, AfterValidator(_name)]


class NewFiles(Spec):
    """Whole files of ours that the tree gets, under their own names."""

    into: TreePath
    copy_from: tuple[Path, ...] = Field(alias="copy", min_length=1)


class MakeEdit(Spec):
    """Words that a variable of a Makefile gets at its end."""

    file: TreePath
    variable: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    append: tuple[Annotated[str, Field(pattern=r"^[^\s#\\]+$")], ...] = Field(min_length=1)


class Hook(Spec):
    """One file of semantic patches and the files of the tree that it changes.

    `files` is a list where every changing rule has to match in every file, or a mapping from a file
    to the rules that have to match in it, all others not.
    """

    rules: Path
    files: tuple[TreePath, ...] | dict[TreePath, tuple[str, ...]] = Field(min_length=1)
    #: names that the rules bring in and that the pristine files lack; empty: a rule applied to its
    #: own result has to match nothing
    introduces: tuple[CName, ...]
    #: names whose presence in an unparsed part is an error; empty: what the rules match on
    touches: tuple[CName, ...] = ()


class Patch(Spec):
    """One step of a variant, which becomes one patch of the exported series."""

    subject: str = Field(min_length=1, max_length=72)
    body: str = ""
    new: tuple[NewFiles, ...] = ()
    hook: Hook | None = None
    make: tuple[MakeEdit, ...] = ()

    @field_validator("subject")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if "\n" in text or text != text.strip() or text.startswith("["):
            # `git am` drops a leading [..] as it drops [PATCH].
            raise ValueError("a subject is one line that doesn't begin with [ or end in spaces")
        return text

    @field_validator("body")
    @classmethod
    def _is_message(cls, text: str) -> str:
        for line in text.splitlines():
            if re.match(r"---(\s|$)|diff -|Index: |From |>From ", line):
                raise ValueError(f"`git am` ends a message at a line like {line!r}: reword it")
        return text

    @model_validator(mode="after")
    def _one_idea(self) -> Self:
        if bool(self.new) == bool(self.hook) and (self.new or not self.make):
            raise ValueError("a patch has new files or a hook, not both, or only Makefile edits")
        return self


class CallCheck(Spec):
    """Every call of a function has to be covered in the expanded tree.

    A call is covered if the function around it calls one of `guard` before it; with `each`, calls
    of guards in the function have to be as many as the calls that they cover.  Without a guard
    no call may be left: the rules replace them all.
    """

    of: CName
    within: tuple[TreePath, ...] = Field(alias="in", min_length=1)  #: shell patterns
    guard: tuple[CName, ...] = ()
    mode: Literal["before", "each"] = "before"
    #: FILE or FILE:FUNCTION, and why the calls there need no cover
    exempt: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)


class HurdVariant(Spec):
    """A Hurd tree and what is laid over it."""

    title: str
    source: str  #: git:URL@COMMIT or dir:PATH
    patches: tuple[Patch, ...] = ()
    calls: tuple[CallCheck, ...] = ()

    @field_validator("source")
    @classmethod
    def _is_tree(cls, text: str) -> str:
        if not isinstance(parse_source(text), GitSource | DirSource):
            raise ValueError(f"{text!r} is no tree: write git:URL@COMMIT or dir:PATH")
        return text

    @model_validator(mode="after")
    def _no_rule_twice(self) -> Self:
        pairs = Counter(
            (str(p.hook.rules), f) for p in self.patches if p.hook for f in p.hook.files
        )
        for (rules, file), times in pairs.items():
            if times > 1:
                raise ValueError(f"{rules} is applied {times} times to {file}")
        return self

    @property
    def where(self) -> GitSource | DirSource:
        """The tree's source."""
        where = parse_source(self.source)
        assert isinstance(where, GitSource | DirSource)
        return where


class Variants(Spec):
    """The file as a whole."""

    variants: dict[str, HurdVariant] = Field(min_length=1)


def load_variants(
    path: Path = VARIANTS, overrides: dict[str, str] | None = None
) -> dict[str, HurdVariant]:
    """The variants of a file, with the paths of our own files made absolute.

    `overrides` sets values by NAME.key, as `--set vanilla.source=dir:PATH` does.
    """
    below = {f"variants.{key}": value for key, value in (overrides or {}).items()}
    loaded = load(path, Variants, below).variants
    base = path.absolute().parent
    return {name: _rooted(variant, base) for name, variant in loaded.items()}


def pick(variants: dict[str, HurdVariant], name: str) -> HurdVariant:
    """One variant by its name."""
    if name not in variants:
        raise UsageError(
            f"there is no variant {name!r}", hint=f"known variants: {', '.join(variants)}"
        )
    return variants[name]


def _rooted(variant: HurdVariant, base: Path) -> HurdVariant:
    patches = []
    for patch in variant.patches:
        new = tuple(
            each.model_copy(update={"copy_from": tuple(base / p for p in each.copy_from)})
            for each in patch.new
        )
        hook = patch.hook
        if hook:
            hook = hook.model_copy(update={"rules": base / hook.rules})
        patches.append(patch.model_copy(update={"new": new, "hook": hook}))
    return variant.model_copy(update={"patches": tuple(patches)})
