"""A Hurd that is booted with a disk of the test's own and mounts it by our journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.deadline import Deadline
from harness.guest.guest import Guest
from harness.guest.profile import profile_for
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.images.source import hurd
from harness.images.source.sources import DirSource
from harness.images.source.stage import Stage, Step
from harness.images.source.workshop import Workshop
from harness.machine.accel import TCG
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.rundir import RunDir
from harness.variants.build import toolchain
from harness.variants.ready import ready_image
from harness.variants.tree import tree_fetcher

SOURCES = Path(__file__).parent / "c"
MOUNTED = "/mnt"


@dataclass(frozen=True)
class Mounted:
    """A guest whose second disk can be mounted by our journal at /mnt: `mount` is the command."""

    guest: Guest
    machine: Machine
    mount: str

    def rc(self, command: str, timeout: float = 120.0) -> int:
        return self.guest.run(command, timeout=timeout).rc

    def must(self, command: str, timeout: float = 120.0) -> str:
        """What a command prints that has to succeed."""
        result = self.guest.run(command, timeout=timeout)
        assert result.rc == 0, f"{command}: {result.rc}: {result.out}{result.err}"
        return result.out

    def unmount(self) -> None:
        """Also waits for all that the file system has yet to do."""
        self.must(f"settrans -ga {MOUNTED}")


def hurd_program(name: str) -> Path:
    """`c/NAME.c`, compiled for the Hurd with the toolchain of the guest from source, once."""
    cache = Cache.default()
    flags = "-std=gnu11 -O2 -Wall -Wextra -pthread -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -static"
    source, target = f"{{src}}/{name}.c", f"{{out}}/root/bin/{name}"
    stage = Stage(
        f"test-{name}",
        source=DirSource(SOURCES),
        needs=hurd.TOOLCHAIN,
        steps=(
            Step(
                "compile",
                f"mkdir -p {{out}}/root/bin && i686-gnu-gcc {flags} -o {target} {source}"
                f" && i686-gnu-strip {target}",
            ),
        ),
    )
    shop = Workshop(cache.folder / "agent", tree_fetcher(), jobs=1, say=print)
    return shop.build([stage], toolchain(cache))[stage.name].out / "root/bin" / name


@contextmanager
def booted(
    name: str,
    disk: Path,
    tmp_path: Path,
    scratch: Path,
    *,
    programs: Sequence[str] = (),
    fallible: bool = False,
) -> Iterator[Mounted]:
    """Boot the Hurd guest `name` with `disk` beside its root and `programs` in its /bin.

    QEMU is killed at the end.
    """
    recipe = load_recipe(name)
    image = ready_image(recipe, ("ours",), Cache.default(), print)
    if programs:
        assert image.root is not None
        files = tuple((hurd_program(each), f"/bin/{each}") for each in programs)
        image = replace(image, root=replace(image.root, inject=(*image.root.inject, *files)))
    log = tmp_path / "log"
    log.write_bytes(b"")
    bus = recipe.machine.disk_bus
    crashed = DiskSpec("crash", disk, "raw", bus, log=log, fallible=fallible)
    device, variant = recipe.crash_disk.device, recipe.variants["ours"]
    mount = profile_for(recipe).mount(device, MOUNTED, variant)
    with RunDir(tmp_path / "out", base=scratch / "s") as rundir:
        spec = spec_for(recipe, image, (crashed,), variant="ours", scratch=rundir.scratch)
        with Machine(spec, rundir, TCG) as machine:
            guest = Guest(machine, recipe, image)
            guest.boot(Deadline.after(recipe.ready_seconds))
            yield Mounted(guest, machine, mount)
