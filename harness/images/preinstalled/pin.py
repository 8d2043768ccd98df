"""A recipe's checksum, taken from the list that the server keeps beside the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from harness.disk.copy import host_errors
from harness.errors import InfraError, UsageError
from harness.images.preinstalled.download import client, refused
from harness.images.preinstalled.spec import Checksum, DownloadRecipe
from harness.report.atomic import write_atomically

_LIST_BYTES = 8 << 20  # a list of checksums is some KiB; a web page in its place could be anything
_KEY = ("download", "checksum")


@dataclass(frozen=True)
class Pinned:
    """What a server says of a file."""

    checksum: Checksum
    file: str  #: the name in the list; the dated one where the recipe's URL leads to it
    source: str  #: URL of the list


def ask(download: DownloadRecipe) -> Pinned:
    """The file's checksum from the server.

    Redirects are followed, and the list is looked for where the file really is, then where the
    recipe says.  Raises `InfraError` for a network that fails, `UsageError` when the server lacks
    the file or a list that names it.
    """
    try:
        with client() as http:
            return _ask(http, download)
    except httpx.TransportError as exc:
        raise InfraError(
            f"can't ask {download.url} for its checksum: {exc or type(exc).__name__}",
            hint="check the network, or try another mirror: --mirror URL",
        ) from exc


def _ask(http: httpx.Client, download: DownloadRecipe) -> Pinned:
    with http.stream("GET", download.url) as answer:  # its head is enough
        if answer.status_code != 200:
            raise refused(answer)
        real = str(answer.url)
    names = dict.fromkeys(url.rpartition("/")[2] for url in (real, download.url))
    folders = dict.fromkeys(url.rpartition("/")[0] for url in (real, download.url))
    tried = []
    for folder in folders:
        for each in download.checksums:
            url = f"{folder}/{each}"
            known = parse_list(_read(http, url))
            for name in names:
                if name in known:
                    return Pinned(known[name], name, url)
            tried.append(f"{url}: {'does not name the file' if known else 'no such list'}")
    raise UsageError(
        f"the server has no checksum of {' or '.join(names)}:\n" + "\n".join(tried),
        hint="try another mirror (--mirror URL), or write the checksum from a source that you "
        "trust into download.checksum of the recipe",
    )


def _read(http: httpx.Client, url: str) -> str:
    """A small text file; empty if the server does not have it."""
    with http.stream("GET", url) as answer:
        if answer.status_code != 200:
            return ""
        body = b""
        for piece in answer.iter_raw():
            body += piece
            if len(body) > _LIST_BYTES:
                return ""
    return body.decode(errors="replace")


def parse_list(text: str) -> dict[str, Checksum]:
    """File name to checksum, from the output of sha256sum(1) or sha512sum(1)."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{128}) [ *](?:\./)?(\S+)\s*", line)
        if match:
            found[match[2]] = Checksum.parse(match[1])
    return found


def write_pin(recipe: Path, checksum: Checksum) -> str:
    """Put the checksum into the recipe, in place; the one that stood there.

    Nothing else of the file changes, so `git diff` shows one line.
    """
    text = recipe.read_text()
    old, changed = replace_scalar(text, _KEY, str(checksum))
    if changed != text:
        with host_errors(recipe):
            write_atomically(recipe, changed.encode())
    return old


def replace_scalar(text: str, key: tuple[str, ...], value: str) -> tuple[str, str]:
    """The value at `key` in a YAML text, and the text with `value` in its place.

    `UsageError` if the text has no such key with a plain or quoted value of one line.
    """
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in key:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((inner for name, inner in pairs if name.value == part), None)
    name = ".".join(key)
    one_line = isinstance(node, yaml.ScalarNode) and node.start_mark.line == node.end_mark.line
    if not isinstance(node, yaml.ScalarNode) or not one_line or node.style in ("|", ">"):
        raise UsageError(
            f"the recipe has no line for {name}", hint=f'add `{key[-1]}: ""` below {key[0]}'
        )
    start, end = node.start_mark.index, node.end_mark.index
    # An empty value stands right behind its colon.
    space = " " if text[start - 1] == ":" else ""
    return node.value, f"{text[:start]}{space}{value}{text[end:]}"
