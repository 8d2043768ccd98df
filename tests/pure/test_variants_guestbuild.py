"""The commands by which a guest builds what the host built."""

from __future__ import annotations

from pathlib import Path

from harness.images.source import hurd
from harness.images.source.sources import DirSource
from harness.variants.guestbuild import commands


def test_a_guest_configures_as_the_host_does() -> None:
    configure, make = commands("/mnt")
    stage = hurd.ext2fs("x", DirSource(Path("/t")))
    on_host = next(step.command for step in stage.steps if step.name == "configure")
    assert hurd.OPTIONS in configure and hurd.OPTIONS in on_host
    # What differs is the tree's place, which the code does not tell.
    flags = configure.partition("CFLAGS=")[2].partition(" >")[0]
    assert flags == on_host.partition("CFLAGS=")[2].replace("{src}", "/mnt")
    assert "-ffile-prefix-map=/mnt/=" in flags
    assert "{" not in configure + make


def test_what_the_guest_makes_is_logged_beside_it() -> None:
    for command in commands("/mnt"):
        assert "cd /mnt/build" in command
        assert "log 2>&1" in command
