"""What the host must have to build the guest.  Installing it is the only thing that needs root."""

from __future__ import annotations

from harness.errors import InfraError
from harness.process import run
from harness.tools import find_tool

#: program to Debian package
PROGRAMS = {
    "apt-get": "apt",
    "autoconf": "autoconf",
    "automake": "automake",
    "bison": "bison",
    "bzip2": "bzip2",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "flex": "flex",
    "g++": "g++",
    "gawk": "gawk",
    "gcc": "gcc",
    "git": "git",
    "i686-gnu-as": "binutils-i686-gnu",
    "m4": "m4",
    "make": "make",
    "mke2fs": "e2fsprogs",
    "patch": "patch",
    "perl": "perl",
    "python3": "python3",
    "xz": "xz-utils",
}
#: header of a library that gcc is linked with to Debian package
HEADERS = {"gmp.h": "libgmp-dev", "mpfr.h": "libmpfr-dev", "mpc.h": "libmpc-dev"}


def missing() -> tuple[str, ...]:
    """Debian packages that the host lacks."""
    lacks = {package for name, package in PROGRAMS.items() if not find_tool(name)}
    if find_tool("gcc"):
        lacks |= {package for header, package in HEADERS.items() if not _has_header(header)}
    return tuple(sorted(lacks))


def check() -> None:
    """Raise `InfraError` with one command that installs all that is missing."""
    lacks = missing()
    if lacks:
        raise InfraError(
            "building a guest from source needs packages that are not installed: "
            + ", ".join(lacks),
            hint=f"apt-get install {' '.join(lacks)}",
        )


def _has_header(name: str) -> bool:
    done = run(["gcc", "-E", "-o", "/dev/null", "-"], stdin=f"#include <{name}>\n", ok=None)
    return done.returncode == 0
