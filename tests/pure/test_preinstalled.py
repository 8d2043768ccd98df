"""Checksums, pins, rules and pruning, where nothing has to be started."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.errors import UsageError
from harness.images.cache import Cache
from harness.images.keys import KeyPair
from harness.images.manifest import Manifest
from harness.images.meter import bar
from harness.images.preinstalled.offline import changed, filled
from harness.images.preinstalled.pin import parse_list, replace_scalar, write_pin
from harness.images.preinstalled.spec import Change, Checksum
from harness.images.recipe import RECIPES, PreinstalledRecipe, load_recipe

HEX = "0123456789abcdef" * 4


def test_a_checksum_is_known_by_its_length() -> None:
    assert str(Checksum.parse(HEX.upper())) == f"sha256:{HEX}"
    assert Checksum.parse(f"sha512:{HEX}{HEX}").algorithm == "sha512"


@pytest.mark.parametrize(
    "text", ["sha512:" + HEX, "md5:" + HEX[:32], HEX[:-1], "sha256:", "x" * 64]
)
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no checksum"):
        Checksum.parse(text)


def test_a_file_is_hashed_by_the_algorithm_of_its_checksum(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    for name in ("sha256", "sha512"):
        digest = hashlib.new(name, b"content").hexdigest()
        assert Checksum.parse(digest).of(file) == Checksum(name, digest)


def test_a_list_of_checksums_is_read_as_coreutils_write_it() -> None:
    text = f"{HEX}  plain.img\n{HEX} *binary.img\n{HEX}  ./here.img\nnonsense\n{HEX[:60]}  short\n"
    assert set(parse_list(text)) == {"plain.img", "binary.img", "here.img"}
    assert parse_list("<html>404</html>") == {}


@given(st.text(max_size=300))
def test_no_list_of_checksums_breaks_the_reader(text: str) -> None:
    assert all(len(checksum.hex) in (64, 128) for checksum in parse_list(text).values())


KEY = ("download", "checksum")


@pytest.mark.parametrize(
    "value", ['""', "''", "", "~", "sha256:old", '"sha256:old"', "'old'  # comment"]
)
def test_a_pin_replaces_the_value_and_nothing_else(value: str) -> None:
    head, foot = "# top\ndownload:\n  path: a  # kept\n  checksum:", "\n  member: '*.img'\n# end\n"
    text = f"{head}{' ' if value.strip() else ''}{value}{foot}"
    _, changed_text = replace_scalar(text, KEY, f"sha256:{HEX}")
    assert changed_text.startswith(f"{head} sha256:{HEX}")
    assert changed_text.endswith(("  # comment" if "#" in value else "") + foot)
    assert yaml.safe_load(changed_text)["download"]["checksum"] == f"sha256:{HEX}"
    assert replace_scalar(changed_text, KEY, f"sha256:{HEX}") == (f"sha256:{HEX}", changed_text)


@pytest.mark.parametrize(
    "text", ["", "a: b\n", "download: {}\n", "download:\n  checksum: |\n    x\n"]
)
def test_a_recipe_without_that_line_is_told_where_to_add_it(text: str) -> None:
    with pytest.raises(UsageError, match=r"no line for download\.checksum") as caught:
        replace_scalar(text, KEY, "x")
    assert "checksum" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["debian-hurd-i386", "debian-hurd-amd64"])
def test_debian_s_recipes_can_be_pinned_and_pinned_anew(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_bytes((RECIPES / path.name).read_bytes())
    first, second = Checksum.parse(HEX), Checksum.parse(HEX[::-1])
    write_pin(path, first)
    assert write_pin(path, second) == str(first)
    recipe = load_recipe(str(path))
    assert isinstance(recipe, PreinstalledRecipe)
    assert recipe.download.pinned == second


def test_debian_s_two_recipes_differ_in_the_machine_and_its_disk_names_only() -> None:
    i386, amd64 = (load_recipe(f"debian-hurd-{arch}") for arch in ("i386", "amd64"))
    assert isinstance(i386, PreinstalledRecipe) and isinstance(amd64, PreinstalledRecipe)
    assert i386.offline == amd64.offline and i386.disk == amd64.disk
    assert amd64.machine.arch == "x86_64"
    assert amd64.download.path == i386.download.path.replace("i386", "amd64")


def test_a_command_line_for_a_kernel_that_is_not_ours_is_refused() -> None:
    with pytest.raises(UsageError, match="does not reach a kernel"):
        load_recipe("debian-hurd-i386", {"boot.cmdline": "console=com0"})
    for setting in ({"download.mirror": "ftp://x"}, {"download.checksum": "abc"}):
        with pytest.raises(UsageError, match=r"mirror is a URL|no checksum"):
            load_recipe("debian-hurd-i386", setting)


def test_a_rule_changes_every_match_and_says_what_it_looked_at() -> None:
    rule = Change(file="/f", pattern=r"^(k.*)$", replacement=r"\1 x")
    assert changed(rule, "k1\na\nk2\n") == "k1 x\na\nk2 x\n"
    end = Change(file="/f", pattern=r"\Z", replacement="last\n")
    assert changed(end, "first\n") == "first\nlast\n"
    with pytest.raises(UsageError, match=r"(?s)nothing in /f .*one.*and 40 lines more"):
        changed(rule, "one\n" * 100)
    with pytest.raises(ValueError, match="no regular expression"):
        Change(file="/f", pattern="(", replacement="")


def test_keys_are_filled_in_by_name() -> None:
    user = KeyPair.generate()
    keys = {"@authorized_key@": user.public.decode().strip()}
    assert filled("command=x @authorized_key@\n", keys).startswith("command=x ssh-ed25519 AAAA")
    assert filled("mail@host@other@\n", keys) == "mail@host@other@\n"
    assert user.private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")


def _publish(cache: Cache, name: str, key: str, built: str) -> None:
    with cache.building(name, lambda _: None) as draft:
        (draft / "kernel").write_text(key)
        cache.publish(
            draft, Manifest(name=name, key=key, made_from="r", built=built, kernel="kernel")
        )


def test_pruning_keeps_the_newest_good_builds_of_each_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for number in (1, 2, 3):
        _publish(cache, "one", f"one{number}", f"2026-01-0{number}")
    _publish(cache, "two", "two1", "2025-01-01")
    _publish(cache, "one", "broken", "2026-01-09")
    (tmp_path / "images/one/broken/kernel").unlink()
    assert {i.key for i in cache.prune(2, dry_run=True)} == {"one1", "broken"}
    assert len(cache.list()) == 5
    assert {i.key for i in cache.prune(1)} == {"one1", "one2", "broken"}
    assert [(i.name, i.key) for i in cache.list()] == [("one", "one3"), ("two", "two1")]
    assert cache.prune(1) == ()


def test_a_bar_is_for_terminals_only() -> None:
    for terminal in (True, False):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=100)
        with bar(console)("it.tar.xz", 100) as advance:
            advance(50)
        assert ("it.tar.xz" in screen.getvalue()) is terminal
