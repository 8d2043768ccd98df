"""What a recipe changes in the root before its first boot: files, rights, single lines."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.disk.debugfs import Files, Stat
from harness.errors import UsageError
from harness.images.keys import KeyPair
from harness.images.preinstalled.spec import Change, NewFile, OfflineRecipe

_SHOWN = 60  # lines of a file that a message quotes


def personalise(files: Files, recipe: OfflineRecipe, host: KeyPair, user: KeyPair) -> None:
    """Do all that the recipe wants; the file system is not mounted and no root is needed.

    Raises `UsageError` for a file that is not there and for a rule that matches nothing, with what
    the file says, so that the recipe can be mended.
    """
    keys = {
        "@authorized_key@": user.public.decode().strip(),
        "@host_key@": host.private.decode().strip(),
        "@host_public_key@": host.public.decode().strip(),
    }
    for path in recipe.remove:
        if files.stat(path) is not None:
            files.remove(path)
    for path, mode in recipe.folders.items():
        files.make_folder(path, Stat("directory", int(mode, 8), 0, 0))
    for path, new in recipe.put.items():
        _put(files, path, new, keys)
    for change in recipe.change:
        _change(files, change)


def _put(files: Files, path: str, new: NewFile, keys: Mapping[str, str]) -> None:
    _need_plain(files, path, may_be_missing=True)
    folder = path.rpartition("/")[0]
    if folder and files.stat(folder) is None:
        raise UsageError(
            f"the image has no folder {folder}, where {path} belongs",
            hint="add it to offline.folders, or mend the path in offline.put of the recipe",
        )
    files.write(path, filled(new.content, keys).encode(), _stat(new))


def filled(content: str, keys: Mapping[str, str]) -> str:
    """The content with each key's value in place of its name."""
    for name, value in keys.items():
        content = content.replace(name, value)
    return content


def _stat(new: NewFile) -> Stat:
    return Stat("regular", int(new.mode, 8), new.uid, new.gid)


def _change(files: Files, change: Change) -> None:
    stat = _need_plain(files, change.file)
    text = files.read(change.file).decode(errors="surrogateescape")
    data = changed(change, text).encode(errors="surrogateescape")
    files.write(change.file, data, stat)


def changed(change: Change, text: str) -> str:
    """The text after the change; `UsageError` with its lines when the rule matches nothing."""
    result, hits = re.subn(change.pattern, change.replacement, text, flags=re.MULTILINE)
    if not hits:
        lines = text.splitlines()
        more = f"\n... and {len(lines) - _SHOWN} lines more" if len(lines) > _SHOWN else ""
        raise UsageError(
            f"nothing in {change.file} of the image matches {change.pattern!r}; it says:\n"
            + "\n".join(lines[:_SHOWN])
            + more,
            hint="mend this rule in offline.change of the recipe",
        )
    return result


def _need_plain(files: Files, path: str, *, may_be_missing: bool = False) -> Stat:
    stat = files.stat(path)
    if stat is None and may_be_missing:
        return Stat("regular", 0o644, 0, 0)
    if stat is None:
        raise UsageError(
            f"the image has no file {path}", hint="mend its path in offline.change of the recipe"
        )
    if stat.type != "regular":
        raise UsageError(
            f"{path} in the image is no plain file but {stat.type}",
            hint="name the file itself in the recipe",
        )
    return stat
