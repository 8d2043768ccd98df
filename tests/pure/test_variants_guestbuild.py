"""The commands by which a guest builds what the host built."""

from __future__ import annotations

import os
from pathlib import Path

from harness.images.source import hurd
from harness.images.source.sources import DirSource
from harness.process import run
from harness.variants.guestbuild import commands


def test_a_guest_configures_as_the_host_does() -> None:
    configure, make = commands("/mnt", static=False)
    stage = hurd.ext2fs("x", DirSource(Path("/t")))
    on_host = next(step.command for step in stage.steps if step.name == "configure")
    assert hurd.OPTIONS in configure and hurd.OPTIONS in on_host
    # What differs is the tree's place, which the code does not tell.
    flags = configure.partition("CFLAGS=")[2].partition(" >")[0]
    wanted = on_host.partition("CFLAGS=")[2].replace("{src}", "/mnt").strip("'")
    # Nor does it tell how gcc names the system's headers.
    assert flags.strip("'") == f"{wanted} -fno-canonical-system-headers"
    assert "-ffile-prefix-map=/mnt/=" in flags
    assert "{" not in configure + make
    assert "make ext2fs >" in make


def test_what_the_guest_makes_is_logged_beside_it() -> None:
    for static in (False, True):
        for command in commands("/mnt", static=static):
            assert "cd /mnt/build" in command
            assert command.endswith("log 2>&1")


MAKE = """#!/bin/sh
echo "$@" >> made
case $1 in -C) mkdir -p $2 ;; esac
test "$3" != "$FAIL"
"""


def test_the_static_program_alone_is_made_of_the_static_libraries(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    (build / "config.make").write_text("boot-store-types = device remap\nother = x\n")
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    _, make = commands(str(tmp_path), static=True)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run(["sh", "-c", f"{make}; echo rc $?"], env={"PATH": path, "FAIL": "no"})
    assert done.stdout == "rc 0\n", (build / "log").read_text()
    made = (build / "made").read_text().splitlines()
    assert made[0] == "version.h" and made[-1] == "-C ext2fs ext2fs.static"
    assert made[-2] == "-C libstore libstore_device.a libstore_remap.a"
    assert "-C libdiskfs libdiskfs.a" in made
    # A library that fails ends it, and not the shell that the guest is asked by.
    done = run(["sh", "-c", f"{make}; echo rc $?"], env={"PATH": path, "FAIL": "libpager.a"})
    assert done.stdout == "rc 1\n"
    assert (build / "made").read_text().splitlines()[-1] == "-C libpager libpager.a"
