"""A small tree of our own, and what is laid over it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UsageError
from harness.images.source.stage import tree_digest
from harness.variants.expand import Expansion, expand
from harness.variants.export import Author
from harness.variants.spec import HurdVariant, load_variants

AUTHOR = Author("A. Maintainer", "maintainer@example.org")

DIR = """/* Directories.  */
#include "priv.h"

/* Make a directory.  */
int
dir_mkdir (struct node *dir, const char *name)
{
  int err;

  err = node_create (dir, name);
  if (! err)
    node_update (dir, 1);
  return err;
}

int
dir_rmdir (struct node *dir, const char *name)
{
  node_update (dir, 0);
  return 0;
}
"""

FILE = """#include "priv.h"

int
file_chmod (struct node *np, int mode)
{
  np->mode = mode;
  node_update (np, 0);
  return 0;
}
"""

MAKEFILE = "dir := fs\nSRCS = dir.c file.c\n\ninclude ../Makeconf\n"

PRIV = "struct node { int mode; };\nvoid node_update (struct node *np, int wait);\n"

RULES = """@update@
expression NP, WAIT;
@@
- node_update (NP, WAIT)
+ journal_update (NP, WAIT, current_handle ())
"""

# What Coccinelle can't parse, and no compiler either.
BROKEN = """
int
odd (struct node *np)
{
  int @ x = (;
  CALL;
}
"""

REST = {"fs/file.c": "old"}

BOTH = ["fs/dir.c", "fs/file.c"]


class Work:
    """A tree, the files that are laid over it, and a variants.yaml that says how."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.dest = folder / "dest"
        self.patches: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        texts = {"dir.c": DIR, "file.c": FILE, "Makefile": MAKEFILE, "priv.h": PRIV}
        for name, text in texts.items():
            self.write(f"tree/fs/{name}", text)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def new(self) -> None:
        """The first patch: a file of ours, and its word in the Makefile."""
        self.write("glue/journal.c", "/* Ours.  */\nint journal;\n")
        self.write("glue/journal.h", "extern int journal;\n")
        self.patches.append(
            {
                "subject": "fs: Add a journal",
                "body": "Nothing calls it yet.\n\n* fs/journal.c: New file.",
                "new": [{"into": "fs", "copy": ["glue/journal.c", "glue/journal.h"]}],
                "make": [{"file": "fs/Makefile", "variable": "SRCS", "append": ["journal.c"]}],
            }
        )

    def hook(self, rules: str = RULES, **fields: Any) -> None:
        """A patch of a file of rules."""
        name = f"hooks/{len(self.patches)}.cocci"
        self.write(name, rules)
        hook = {
            "rules": name,
            "files": ["fs/dir.c"],
            "introduces": ["journal_update"],
        }
        subject = f"fs: Tell the journal of updates ({len(self.patches)})"
        self.patches.append({"subject": subject, "hook": {**hook, **fields}})

    @property
    def file(self) -> Path:
        """variants.yaml with the one variant `mine`."""
        mine = {
            "title": "mine",
            "source": f"dir:{self.tree}",
            "patches": self.patches,
            "calls": self.calls,
        }
        return self.write("variants.yaml", yaml.safe_dump({"variants": {"mine": mine}}))

    @property
    def variant(self) -> HurdVariant:
        return load_variants(self.file)["mine"]

    def expand(self) -> Expansion:
        return expand(self.tree, self.variant, self.dest)

    def fails(self, message: str) -> UsageError:
        """Expand, which has to fail with `message` and leave nothing."""
        before = tree_digest(self.tree)
        with pytest.raises(UsageError, match=message) as caught:
            self.expand()
        assert not self.dest.exists()
        assert tree_digest(self.tree) == before
        assert caught.value.hint
        return caught.value

    def git(self, *words: str, cwd: Path | None = None) -> str:
        argv = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *words]
        done = subprocess.run(
            argv, cwd=cwd or self.tree, check=True, capture_output=True, text=True
        )
        return done.stdout

    def commit_tree(self) -> None:
        self.git("init", "--quiet")
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "-m", "pristine")
