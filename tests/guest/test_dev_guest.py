"""A guest with a compiler of its own: what it builds over SSH is what the host builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import UsageError
from harness.guest.guest import Guest
from harness.guest.state import GuestState
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.images.source.workshop import union
from harness.machine.accel import TCG
from harness.machine.qemu import Machine
from harness.machine.spec import spec_for
from harness.process import run
from harness.rundir import RunDir
from harness.variants.build import toolchain

pytestmark = [pytest.mark.guest, pytest.mark.hurd]
PROGRAM = r"""#include <stdio.h>
#include <hurd.h>
int main (int argc, char **argv)
{
  double sum = 0;
  for (int i = 1; i <= 100; i++)
    sum += (double) argc / i;
  printf ("%.6f %u\n", sum, getauth () != MACH_PORT_NULL);
  return 0;
}
"""
#: with the names that the guest has; the host's begin with i686-gnu-
BUILD = (
    "gcc -O2 -Wall -static -o program program.c",
    "strip program",
    "mig -n -user user.c -server server.c -header user.h calls.defs",
)
MADE = "program user.c server.c user.h"


def test_the_guest_builds_what_the_host_builds(tmp_path: Path, scratch: Path) -> None:
    recipe = load_recipe("hurd-i386-source-dev")
    try:
        image = find_image(recipe, Cache.default())
    except UsageError as error:
        pytest.skip(f"{error} ({error.hint})")
    tools = tmp_path / "tools"
    union([each.out / "tools" for each in toolchain(Cache.default()).values()], tools)
    (tmp_path / "program.c").write_text(PROGRAM)
    (tmp_path / "calls.defs").write_text("#include <hurd/fsys.defs>\n")
    env = {"PATH": f"{tools}/bin:{os.environ['PATH']}"}
    for command in (*(f"i686-gnu-{each}" for each in BUILD), f"sha256sum {MADE}"):
        on_host = run(["sh", "-ec", command], cwd=tmp_path, env=env).stdout

    with (
        RunDir(scratch / "out", base=scratch / "s") as rundir,
        Machine(spec_for(recipe, image, ()), rundir, TCG) as machine,
    ):
        guest = Guest(machine, recipe, image)
        guest.boot(Deadline.after(recipe.ready_seconds * 3))
        guest.connect()
        assert guest.state is GuestState.SSH
        guest.run("mkdir /tmp/b")
        for name in ("program.c", "calls.defs"):
            guest.put(tmp_path / name, f"/tmp/b/{name}")
        for command in BUILD:
            done = guest.run(f"cd /tmp/b && {command}", timeout=300)
            assert done.rc == 0, done.err
        in_guest = guest.run(f"cd /tmp/b && sha256sum {MADE}", timeout=60).out
        said = guest.run("/tmp/b/program", timeout=60).out
        guest.close()
    assert in_guest == on_host
    assert said == "5.187378 1\n"
