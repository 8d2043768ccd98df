"""A variant's ext2fs, built in the guest by its own compiler.

The tree that the host compiled, with its configure script, comes to the guest as a file system on
the second disk; there it is configured and made, and the program is copied out.  The same compiler
gives the same code, less the symbols.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import GuestError, UsageError
from harness.guest.guest import Guest
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.manifest import now
from harness.images.recipe import Recipe, Variant
from harness.images.source import hurd
from harness.images.source.sources import DirSource, GitSource
from harness.machine.accel import choose_accel
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir
from harness.variants.build import Build, BuildRecord, Compiled, Say, compiled, keep
from harness.variants.spec import HurdVariant

_DISK_MIB = 1024  # the tree has 15 MB, what is made of it 60 MB; holes cost nothing
_TOOLS = ("gcc", "ld", "make", "mig", "awk", "sed")
# Under TCG, in which the compiler is fifty times slower than on the host.
_CONFIGURE_SECONDS, _MAKE_SECONDS, _SHORT_SECONDS = 3600.0, 14400.0, 60.0


@dataclass(frozen=True)
class GuestBuild:
    """The build, what the guest took for it in seconds, and the host's build of the same tree."""

    build: Build
    configure_seconds: float
    make_seconds: float
    host: Build

    @property
    def same_compiler(self) -> bool:
        return self.build.record.compiler == self.host.record.compiler

    @property
    def same_code(self) -> bool:
        return self.build.record.sha256 == self.host.record.sha256


def build_in_guest(
    name: str,
    variant: HurdVariant,
    source: GitSource | DirSource,
    recipe: Recipe,
    cache: Cache,
    say: Say,
    *,
    static: bool = False,
) -> GuestBuild:
    """Build a variant on the host and then in the guest; an hour or more under TCG.

    With `static`, only what the static program is linked from: half the work, and the same program.
    Raises `UsageError` for a guest without a compiler, `GuestError` with the log's end where the
    build fails in it, and what `build_on_host` does.
    """
    image = find_image(recipe, cache)
    with tempfile.TemporaryDirectory(prefix="hurdle-build-") as scratch:
        folder = Path(scratch)
        disk, program = folder / "tree.raw", folder / "ext2fs.static"
        with compiled(name, variant, source, cache, say) as made:
            host = keep(made.program, made.record, cache)
            _tree_disk(made.tree, disk)
        say(f"building {name} in {recipe.name}; its tree is on {recipe.crash_disk.device}")
        work = commands(recipe.crash_disk.mountpoint, static=static)
        version, configured, built = _build(recipe, image, disk, program, folder, work, say)
        record = _record(made, version, round(configured + built, 1))
        return GuestBuild(keep(program, record, cache), configured, built, host)


def _record(made: Compiled, version: str, seconds: float) -> BuildRecord:
    changed = {"where": "guest", "compiler": f"gcc {version}", "seconds": seconds, "built": now()}
    return made.record.model_copy(update=changed)


def _tree_disk(tree: Path, disk: Path) -> None:
    """A file system of the Hurd's kind that holds the tree."""
    kind = ("-t", "ext2", "-o", "hurd", "-b", "4096", "-I", "128")
    size = f"{_DISK_MIB}M"
    run(["mke2fs", "-q", "-F", *kind, "-d", str(tree), str(disk), size], timeout=300)


def _build(
    recipe: Recipe,
    image: Image,
    disk: Path,
    program: Path,
    folder: Path,
    work: tuple[str, str],
    say: Say,
) -> tuple[str, float, float]:
    """Build in a booted guest: gcc's version, and the seconds of configure and make (`work`)."""
    second = DiskSpec("tree", disk, "raw", recipe.machine.disk_bus)
    with RunDir(folder / "out") as rundir:
        spec = spec_for(recipe, image, (second,), scratch=rundir.scratch)
        accel = choose_accel(recipe.machine.accel, spec, rundir)
        with Machine(spec, rundir, accel) as machine:
            guest = Guest(machine, recipe, image)
            guest.boot(Deadline.after(recipe.ready_seconds * accel.time_scale))
            guest.connect()
            version = _need_tools(guest)
            say(f"{recipe.name} answers over {guest.state.value} and has gcc {version}")
            place = recipe.crash_disk.mountpoint
            mount = guest.profile.mount(recipe.crash_disk.device, place, _mounter(recipe))
            _must(guest, mount, _SHORT_SECONDS)
            configured = _timed(guest, work[0], _CONFIGURE_SECONDS * accel.time_scale)
            say(f"configured in {configured} s; now make, which says nothing for a while")
            built = _timed(guest, work[1], _MAKE_SECONDS * accel.time_scale)
            guest.get(f"{place}/build/ext2fs/ext2fs.static", program)
            guest.close()
    return version, configured, built


#: The rule of ext2fs.static asks for the shared libraries, and links the static ones beside them.
_STATIC = (
    "make version.h && for each in shouldbeinlibc ihash iohelp ports pager fshelp store hurdbugaddr"
    " diskfs; do make -C lib$each lib$each.a && touch lib$each/lib$each.so || exit; done"
    " && stores=$(sed -n 's/^boot-store-types *= *//p' config.make"
    r" | sed 's/[^ ]\{1,\}/libstore_&.a/g')"
    " && make -C libstore $stores && make -C ext2fs ext2fs.static"
)
#: gcc would look up each folder of each header's path, a thousand calls of the file system for one
#: file of C; with the folders as they are written a file takes two thirds of the time
_FLAGS = f"{hurd.CFLAGS} -fno-canonical-system-headers"


def commands(place: str, *, static: bool) -> tuple[str, str]:
    """What configures and what makes the ext2fs of the tree at `place`.  Pure.

    `static` leaves out all that the static program is not linked from.
    """
    configure = f"{place}/configure {hurd.OPTIONS} CFLAGS='{_FLAGS}'"
    make = f"({_STATIC})" if static else "make ext2fs"
    return (
        f"mkdir {place}/build && cd {place}/build && "
        f"{configure.replace('{src}', place)} > log 2>&1",
        f"cd {place}/build && {make} >> log 2>&1",
    )


def _need_tools(guest: Guest) -> str:
    """gcc's version; `UsageError` for a guest that can't build."""
    ask = f"for t in {' '.join(_TOOLS)}; do command -v $t >/dev/null || echo $t; done"
    missing = guest.run(ask, timeout=_SHORT_SECONDS).out.split()
    if missing:
        raise UsageError(
            f"{guest.recipe.name} has no {', '.join(missing)}, so nothing can be built in it",
            hint="build on the host (--where host), or in a guest with a compiler: "
            "hurdle image build hurd-i386-source-dev, and --guest hurd-i386-source-dev",
        )
    return guest.run("gcc -dumpfullversion", timeout=_SHORT_SECONDS).out.strip()


def _mounter(recipe: Recipe) -> Variant:
    """The ext2fs that serves the tree: one that is known to work, without a journal."""
    known = [each for each in recipe.variants.values() if each.fs == "ext2" and each.translator]
    return known[0] if known else Variant(fs="ext2", translator="/hurd/ext2fs")


def _timed(guest: Guest, command: str, timeout: float) -> float:
    began = time.monotonic()
    _must(guest, command, timeout)
    return round(time.monotonic() - began, 1)


def _must(guest: Guest, command: str, timeout: float) -> None:
    done = guest.run(command, timeout=timeout)
    if done.rc:
        log = guest.run(f"tail -n 30 {guest.recipe.crash_disk.mountpoint}/build/log").out
        raise GuestError(
            f"`{command}` ended with {done.rc} in the guest: {done.err.strip()}\n{log}".rstrip(),
            console=guest.console_tail(),
        )
