"""The guest's kernel: Debian's own binary, which drives IDE and AHCI and flushes disks."""

from __future__ import annotations

from harness.errors import UsageError
from harness.images.source.sources import DebSource, Source
from harness.images.source.stage import Stage, Step


def kernel(source: Source) -> Stage:
    """The kernel of a binary package, unpacked as `boot/gnumach`."""
    if not isinstance(source, DebSource):
        raise UsageError(
            f"gnumach can't be built from {source}",
            hint="name a binary package: gnumach.source=deb:gnumach-image-1.8-486-up",
        )
    return Stage(
        "gnumach",
        source=source,
        steps=(
            Step("unpack", "mkdir {out}/boot && zcat {src}/boot/gnumach-*.gz > {out}/boot/gnumach"),
        ),
    )
