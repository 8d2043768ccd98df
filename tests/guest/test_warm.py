"""A guest that goes on from a saved state: it answers, its clock is right, and a bad state costs
a boot only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.guest.guest import Guest
from harness.guest.warm import Start, started
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import GuestOs, load_recipe
from harness.machine.accel import TCG
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir

pytestmark = pytest.mark.guest


@dataclass
class Bench:
    """Starts one guest again and again, with states in a folder of the test's own."""

    name: str
    folder: Path
    phases: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @contextmanager
    def guest(self, number: int) -> Iterator[Guest]:
        recipe = load_recipe(self.name)
        try:
            image = find_image(recipe, Cache.default())
        except UsageError as error:
            if recipe.os is GuestOs.LINUX:
                raise
            pytest.skip(f"{error} ({error.hint})")
        self.phases.clear()
        with RunDir(self.folder / f"out{number}", base=self.folder / "s") as rundir:
            start = Start(
                recipe,
                image,
                rundir,
                TCG,
                recipe.ready_seconds,
                self.folder / "cache",
                say=self.said.append,
                ran=lambda command: None,
                phase=self._phase,
            )
            spec = spec_for(recipe, image, (self._disk(number, recipe.os),))
            with started(start, spec, "qemu", warm=True) as guest:
                yield guest

    @contextmanager
    def _phase(self, name: str, detail: str) -> Iterator[None]:
        self.phases.append(name)
        yield

    def _disk(self, number: int, system: GuestOs) -> DiskSpec:
        path, log = self.folder / f"crash{number}.raw", self.folder / f"{number}.log"
        log.write_bytes(b"")
        kind = ("-o", "hurd", "-I", "128") if system is GuestOs.HURD else ()
        label = ("-L", f"disk{number}")
        run(["mke2fs", "-q", "-t", "ext3", "-b", "4096", *kind, *label, str(path), "32M"])
        return DiskSpec("crash", path, "raw", "ide", log=log)


@pytest.mark.parametrize(
    "name", ["linux-control", pytest.param("hurd-i386-source", marks=pytest.mark.hurd)]
)
def test_a_guest_goes_on_from_its_state_and_boots_when_that_is_damaged(
    tmp_path: Path, name: str
) -> None:
    bench = Bench(name, tmp_path)
    for number, phases in ((1, ["save", "start", "clock"]), (2, ["start", "clock"])):
        with bench.guest(number) as guest:
            assert bench.phases == phases
            assert abs(int(guest.run("date +%s").out) - time.time()) < 5
            (variant,) = (v for k, v in guest.recipe.variants.items() if k in ("ext3", "mainline"))
            disk = guest.recipe.crash_disk
            mounted = guest.run(guest.profile.mount(disk.device, disk.mountpoint, variant))
            assert mounted.rc == 0, mounted.err
            assert guest.run(f"mkdir {disk.mountpoint}/d{number}").rc == 0
            assert guest.run(guest.profile.sync(disk.mountpoint)).rc == 0
            guest.machine.kill()
        listed = run(["debugfs", "-R", "ls -p /", str(tmp_path / f"crash{number}.raw")]).stdout
        assert f"/d{number}/" in listed
    (state,) = (tmp_path / "cache/states" / name).iterdir()
    memory = state / "memory"
    memory.write_bytes(memory.read_bytes()[:4] + bytes(memory.stat().st_size - 4))
    with bench.guest(3) as guest:
        assert bench.phases == ["start", "boot"]
        assert "is of use, so it boots" in bench.said[0]
        assert guest.run("true").rc == 0
    assert not list((tmp_path / "cache/states" / name).iterdir())
