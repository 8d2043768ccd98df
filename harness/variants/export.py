"""A variant as an ordinary patch series, proved by applying it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import InfraError, UsageError
from harness.process import Completed, run
from harness.variants.expand import expand
from harness.variants.spec import HurdVariant, Patch
from harness.variants.tree import PLAIN_GIT

_AUTHOR = re.compile(r"(?P<name>[^<>]*[^<>\s])\s*<(?P<email>[^<>\s]+@[^<>\s]+)>")


@dataclass(frozen=True)
class Author:
    """Who the patches are from."""

    name: str
    email: str

    @classmethod
    def parse(cls, text: str) -> Author:
        """`Name <mail>` as an author."""
        match = _AUTHOR.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"{text!r} is no author", hint="write 'Name <name@example.org>'")
        return cls(match["name"].strip(), match["email"])

    @classmethod
    def of_git(cls) -> Author:
        """The one whom git's configuration names."""
        values = [run(["git", "config", "--get", f"user.{key}"], ok=(0, 1)) for key in _KEYS]
        name, email = (value.stdout.strip() for value in values)
        if not name or not email:
            raise UsageError(
                "git's configuration names no author", hint="give --author 'Name <mail>'"
            )
        return cls(name, email)


_KEYS = ("name", "email")


class _Repository:
    """A repository in a folder of ours, deaf to the caller's settings."""

    def __init__(self, folder: Path, author: Author) -> None:
        self.folder = folder
        self._env = {
            **PLAIN_GIT,
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_COMMITTER_NAME": author.name,
            "GIT_COMMITTER_EMAIL": author.email,
        }

    def git(self, *words: str, ok: tuple[int, ...] | None = (0,)) -> Completed:
        argv = ["git", "-C", str(self.folder), "-c", "core.autocrlf=false", "-c", "gc.auto=0"]
        return run([*argv, *words], ok=ok, timeout=300, env=self._env)

    def commit(self, message: str) -> None:
        # --force: the tree's .gitignore may name a file that it has.
        self.git("add", "--all", "--force")
        done = self.git("diff", "--cached", "--quiet", ok=(0, 1))
        if not done.returncode:
            raise UsageError(
                f"the patch {message.splitlines()[0]!r} changes nothing",
                hint="remove it from variants.yaml",
            )
        self.git("commit", "--quiet", "--no-verify", "--cleanup=whitespace", "-m", message)


def export(tree: Path, variant: HurdVariant, dest: Path, author: Author) -> tuple[Path, ...]:
    """Write the variant as a `git am` series for `tree` into the new folder `dest`.

    Before it returns, the series was applied to the pristine tree and gave what `expand` gives.
    """
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise UsageError(f"{dest} exists and is not empty", hint="give a new folder")
    if not variant.patches:
        raise UsageError(
            "the variant lays nothing over its tree, so there is no series",
            hint="see `variants list`",
        )
    with TemporaryDirectory(prefix="hurdle-export-") as scratch:
        work = Path(scratch) / "tree"
        repository = _Repository(work, author)

        def record(patch: Patch | None) -> None:
            if patch is None:
                repository.git("init", "--quiet", "--initial-branch=pristine")
                repository.commit("The tree as it came")
                repository.git("checkout", "--quiet", "-b", "variant")
            else:
                repository.commit(f"{patch.subject}\n\n{patch.body}".strip() + "\n")

        expand(tree, variant, work, after=record)
        dest.mkdir(parents=True, exist_ok=True)
        repository.git(
            "format-patch", "--quiet", "--zero-commit", "--no-signature", "--no-renames",
            "-o", str(dest.absolute()), "pristine..variant",
        )  # fmt: skip
        series = tuple(sorted(dest.glob("*.patch")))
        _prove(repository, series)
    return series


def _prove(repository: _Repository, series: tuple[Path, ...]) -> None:
    repository.git("checkout", "--quiet", "-b", "proof", "pristine")
    repository.git("am", "--quiet", *(str(each.absolute()) for each in series))
    differing = repository.git("diff", "--stat", "variant", "proof").stdout
    if differing:
        raise InfraError(
            f"the exported series gives another tree than the variant:\n{differing}",
            hint=f"look at the patches in {os.path.commonpath(series)}",
        )
