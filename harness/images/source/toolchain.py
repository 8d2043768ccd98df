"""The cross toolchain for GNU/Hurd on i686, as stages.

The order breaks the circle of compiler and C library: gcc needs no library to be built, its
support library comes first in a form without one (`inhibit_libc`), glibc is built with that, and
the support library once more with glibc.  Everything is configured for the prefix `/hurdle`, which
never exists: gcc finds its parts relative to its own program, so a result works in any folder.

binutils are the host's package binutils-i686-gnu.
"""

from __future__ import annotations

from harness.images.source.sources import Source
from harness.images.source.stage import Edit, Stage, Step

TARGET = "i686-gnu"
#: configures a compiler that runs on the host
_CROSS_GCC = """{src}/configure --target=i686-gnu --prefix=/hurdle
 --with-sysroot=/hurdle/sysroot --with-native-system-header-dir=/include
 --with-as=$(command -v i686-gnu-as) --with-ld=$(command -v i686-gnu-ld)"""
#: more words for every compiler of the guest's code, wherever it runs, so that the code is the same
GCC_OPTIONS = """ --with-arch=i686
 --enable-languages=c --enable-threads=posix --enable-shared --enable-initfini-array
 --enable-checking=release --disable-bootstrap --disable-multilib --disable-nls --disable-lto
 --disable-plugin --disable-gcov --disable-libatomic --disable-libcc1 --disable-libgomp
 --disable-libitm --disable-libquadmath --disable-libsanitizer --disable-libssp --disable-libvtv
 --without-isl --without-zstd
 CFLAGS='-O1 -g0' CXXFLAGS='-O1 -g0' MAKEINFO=missing"""

GCC_EDITS = (
    # Debian's tarball lacks the manual from which this rule derives a file nobody needs here.
    Edit(
        "gcc/Makefile.in",
        r"^(s-tm-texi: build/genhooks[^\n]*\n)(?:\t[^\n]*\n)+",
        r"\1\t$(STAMP) $@\n",
    ),
    # gcc's limits.h includes the C library's only if that existed when gcc was built; it will.
    Edit("gcc/Makefile.in", r"^LIMITS_H_TEST = .*", "LIMITS_H_TEST = true"),
    # gcc would mend the system's headers, which do not exist yet and need no mending.
    Edit("gcc/Makefile.in", r"^STMP_FIXINC = .*", "STMP_FIXINC ="),
)


def one_line(text: str) -> str:
    """A command that is written over several lines as one."""
    return " ".join(text.split())


def gcc(source: Source) -> Stage:
    """The C compiler, and its support library as far as it works without a C library."""
    return Stage(
        "gcc",
        source=source,
        edits=GCC_EDITS,
        steps=(
            Step("configure", one_line(_CROSS_GCC + GCC_OPTIONS), once=True),
            Step("compiler", "make -j{jobs} MAKEINFO=true all-gcc"),
            Step("configure-libgcc", "make configure-target-libgcc", once=True),
            Step(
                "libgcc",
                "ln -sf {src}/libgcc/gthr-single.h gthr-default.h && make -j{jobs}"
                " enable_shared=no CFLAGS='-O2 -g0 -Dinhibit_libc'",
                cwd="{work}/i686-gnu/libgcc",
            ),
            Step(
                "install",
                "rm -rf {work}/dest; make MAKEINFO=true install-gcc DESTDIR={work}/dest"
                " && make -C i686-gnu/libgcc install enable_shared=no"
                " DESTDIR={work}/dest && mv {work}/dest/hurdle {out}/tools"
                " && cd {out}/tools/lib/gcc/i686-gnu/* && ln -s libgcc.a libgcc_eh.a",
            ),
        ),
        keep_work=True,
    )


def mach_headers(source: Source) -> Stage:
    """The kernel's headers, from the package gnumach-dev."""
    return Stage(
        "mach-headers",
        source=source,
        steps=(
            Step(
                "install",
                "mkdir -p {out}/tools/sysroot/include"
                " && cp -R {src}/usr/include/*-gnu/. {out}/tools/sysroot/include",
            ),
        ),
    )


def mig(source: Source) -> Stage:
    """The interface generator; it runs on the host and asks the compiler for type sizes."""
    return Stage(
        "mig",
        source=source,
        needs=("gcc", "mach-headers"),
        steps=(
            Step(
                "configure",
                "{src}/configure --target=i686-gnu --prefix=/hurdle TARGET_CC=i686-gnu-gcc",
                once=True,
            ),
            Step("make", "make -j{jobs}"),
            Step(
                "install",
                "rm -rf {work}/dest; make install DESTDIR={work}/dest"
                " && mv {work}/dest/hurdle {out}/tools",
            ),
        ),
    )


def glibc(source: Source) -> Stage:
    """The C library, installed into the sysroot."""
    # The manual is not free enough for Debian's tarball; make enters its folder all the same.
    manual = (
        "printf 'subdir := manual\\ninclude ../Makeconfig\\ninclude ../Rules\\n'"
        " > {src}/manual/Makefile"
    )
    return Stage(
        "glibc",
        source=source,
        needs=("gcc", "mach-headers", "mig", "hurd-headers"),
        env={"BUILD_CC": "gcc", "CC": "i686-gnu-gcc", "MIG": "i686-gnu-mig"},
        steps=(
            Step("manual", manual, once=True),
            Step(
                "configure",
                # Without CXX it takes the host's g++ for the target's.
                "{src}/configure --build=$({src}/scripts/config.guess) --host=i686-gnu --prefix="
                " --with-headers={tools}/sysroot/include --disable-nscd --disable-profile"
                " --disable-werror CXX=no-cxx CFLAGS='-O2 -g0'",
                once=True,
            ),
            Step("make", "make -j{jobs}"),
            Step("install", "make install install_root={out}/tools/sysroot"),
        ),
    )


def libgcc() -> Stage:
    """gcc's support library once more, with the C library: in its final form, and shared."""
    return Stage(
        "libgcc",
        needs=("gcc", "mach-headers", "mig", "hurd-headers", "glibc"),
        steps=(
            Step(
                "configure",
                "rm -rf i686-gnu/libgcc && make configure-target-libgcc"
                " SYSROOT_CFLAGS_FOR_TARGET=--sysroot={tools}/sysroot",
                once=True,
                cwd="{work:gcc}",
            ),
            Step("make", "make -C {work:gcc}/i686-gnu/libgcc -j{jobs} CFLAGS='-O2 -g0'"),
            Step(
                "install",
                "rm -rf {work}/dest; make -C {work:gcc}/i686-gnu/libgcc install"
                " DESTDIR={work}/dest && mv {work}/dest/hurdle {out}/tools",
            ),
        ),
    )
