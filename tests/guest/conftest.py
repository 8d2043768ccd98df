"""Guests for the tests: images from the cache, runs through the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness.errors import UsageError
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.variants.build import builds
from harness.variants.spec import load_variants
from harness.variants.trees import patches_hash
from tests.guest.support import Run


@pytest.fixture(scope="session")
def control() -> str:
    """Name of the Linux control guest.  `make setup` builds its image: without it tests fail."""
    find_image(load_recipe("linux-control"), Cache.default())
    return "linux-control"


@pytest.fixture(scope="session")
def hurd() -> str:
    """Name of a Hurd guest in the cache; building one takes half an hour, so tests never do.

    Only an image that is not there is a reason to skip: one that is damaged is a failure.
    """
    known = ("hurd-i386-source", "hurd-local")
    for name in known:
        recipe = load_recipe(name)
        with suppress(UsageError):
            find_image(recipe, Cache.default())
            return name
    pytest.skip(
        f"the cache has no Hurd image ({' or '.join(known)}); "
        "`hurdle image build hurd-i386-source` makes one in half an hour"
    )


@pytest.fixture(scope="session")
def hurd_from_source(hurd: str) -> str:
    """Name of the Hurd guest from source, whose toolchain and files other guests don't have."""
    if hurd != "hurd-i386-source":
        pytest.skip(
            f"{hurd} won't do: `hurdle image build hurd-i386-source` makes the one that does"
        )
    return hurd


@pytest.fixture(scope="session")
def ours(hurd: str) -> str:
    """Name of a Hurd guest that knows our journal, whose build as it is now is in the cache."""
    now = patches_hash(load_variants()["ours"])
    known = {build.record.patches for build in builds("ours", Cache.default())}
    if "ours" not in load_recipe(hurd).variants or now not in known:
        pytest.skip(
            "the cache has no build of `ours` as it is now: `hurdle variants build ours` makes it"
        )
    return hurd


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A scratch folder with a short name: a unix socket's path may have 107 bytes."""
    with TemporaryDirectory(prefix="h-") as folder:
        yield Path(folder)


@pytest.fixture
def hurdle_run(tmp_path: Path, scratch: Path) -> Iterator[Callable[..., Run]]:
    """Start `hurdle run SCENARIO --guest GUEST ...`; whatever still runs at the end is killed."""
    started: list[Run] = []

    def start(scenario: str, guest: str, *more: str, out: Path | None = None) -> Run:
        folder = out or tmp_path / f"out{len(started)}"
        args = ["run", scenario, "--guest", guest, "--out", str(folder), *more]
        started.append(Run(args, folder, scratch).start())
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()
