"""What verdicts depend on: hurdle, the host's tools, what the guest is made of."""

from __future__ import annotations

import platform
from collections.abc import Callable

from harness import __version__, sources
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.process import run


def versions(recipe: Recipe, image: Image) -> dict[str, str]:
    """Versions by name, for the report and the evidence."""
    arch = recipe.machine.arch
    asked: dict[str, Callable[[], str]] = {
        "hurdle": lambda: f"{__version__}, sources {sources()}",
        "python": platform.python_version,
        "QEMU": lambda: run([f"qemu-system-{arch}", "--version"]).stdout.splitlines()[0],
        "e2fsprogs": lambda: run(["e2fsck", "-V"]).stderr.splitlines()[0],
    }
    named = {"guest": f"{recipe.name}, image {image.key[:12]}", "kernel": _kernel(image)}
    parts = {f"guest {name}": version for name, version in image.versions.items()}
    return {name: ask() for name, ask in asked.items()} | named | parts


def _kernel(image: Image) -> str:
    """The guest's kernel, by the name of the component that it is."""
    for name, version in image.versions.items():
        if name.startswith(("gnumach", "linux-image", "kernel")):
            return f"{name} {version}"
    return "the one on the image's disk"
