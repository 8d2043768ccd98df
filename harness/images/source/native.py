"""The compiler and its tools once more, as programs of the guest.

gcc is written in C++, and the cross toolchain is for C alone.  A cross compiler for C++ would take
as long as the whole toolchain, for this one program.  But the host's own g++ makes code for i686 as
well: with the Hurd's headers, the cross linker and its library built once more it is one (`gxx`).

gcc's source and options and binutils' version are those of the cross toolchain, so that a program
that is built in the guest has the code of one that is built on the host.

What these stages leave in `native/` comes into the guest as it is, with headers and static
libraries.  It is configured for /usr, which the guest's links lead back to the root.
"""

from __future__ import annotations

from harness.images.source.hurd import TOOLCHAIN
from harness.images.source.sources import Source
from harness.images.source.spec import NativeRecipe
from harness.images.source.stage import Stage, Step
from harness.images.source.toolchain import GCC_EDITS, GCC_OPTIONS, one_line

_HOST = "--build=$({src}/config.guess) --host=i686-gnu"
_STATIC = "CFLAGS='-O1 -g0' LDFLAGS=-static"  # a static program starts in half the time
_STRIP = "i686-gnu-strip"
#: in place of a cross compiler for C++; a link with a source in it is a question of configure's
_GXX = r"""cat > {out}/tools/bin/i686-gnu-g++ <<'END'
#!/bin/sh
tools=$(cd "$(dirname "$0")/.." && pwd)
compile() {
  g++ -m32 -march=i686 -mtune=generic -fno-pie -nostdinc \
    -U__linux__ -U__linux -Ulinux -U__gnu_linux__ -D__GNU__=1 -D__gnu_hurd__=1 -D__MACH__=1 \
    -isystem "$tools/c++/include" -isystem "$tools/c++/include/i686-gnu" \
    -isystem "$(g++ -print-file-name=include)" -isystem "$tools/sysroot/include" "$@"
}
for word; do
  case $word in -c|-S|-E|-M|-MM|-v|--version|-dump*|-print*) compile "$@"; exit ;; esac
done
for word; do
  shift
  case $word in
    *.cc|*.cpp|*.C) compile -c -o "$word.o" "$word" || exit; set -- "$@" "$word.o" ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec i686-gnu-gcc "$@" -L"$tools/c++/lib" -lstdc++ -lm
END
chmod +x {out}/tools/bin/i686-gnu-g++"""
_LIBSTDCXX = (
    "--disable-shared --disable-multilib --disable-nls --disable-wchar_t"
    " --disable-libstdcxx-backtrace --disable-libstdcxx-filesystem-ts --disable-libstdcxx-pch"
    " --disable-libstdcxx-verbose"
)
# Of Debian's options for binutils-i686-gnu those that change what is made.
_BINUTILS = (
    "--target=i686-gnu --prefix=/usr --with-sysroot=/ --enable-deterministic-archives"
    " --disable-compressed-debug-sections --enable-new-dtags --disable-x86-used-note"
    " --enable-initfini-array --enable-obsolete --disable-gold --disable-gprofng --disable-plugins"
    " --disable-shared --disable-nls --disable-werror --without-zstd --without-debuginfod"
    " --without-msgpack --disable-jansson"
)
#: folders that Debian's tarballs lack, with their manuals
_NO_MANUAL = Step(
    "manual",
    "mkdir -p doc && test -f doc/Makefile.in ||"
    " echo 'all check install install-exec:' > doc/Makefile.in",
    once=True,
    cwd="{src}",
)


def native(recipe: NativeRecipe, gcc: Source, mig: Source) -> tuple[Stage, ...]:
    """The stages of a guest in which programs can be built.

    `gcc` and `mig` are the sources of the cross toolchain.
    """
    return (
        _gxx(recipe.cxx.where),
        _library("gmp", recipe.gmp.where, "--disable-assembly --enable-cxx=no"),
        _library("mpfr", recipe.mpfr.where, "--with-gmp={tools}/libs", "gmp"),
        _library(
            "mpc",
            recipe.mpc.where,
            "--with-gmp={tools}/libs --with-mpfr={tools}/libs",
            "gmp",
            "mpfr",
            guess="build-aux/config.guess",
        ),
        _gcc(gcc),
        _binutils(recipe.binutils.where),
        _mig(mig),
        _libraries(),
    )


def _gxx(source: Source) -> Stage:
    """A cross compiler for C++: the host's, and the parts of its library that gcc needs."""
    parts = "include libsupc++ src/c++98 src/c++11"
    return Stage(
        "gxx",
        source=source,
        needs=TOOLCHAIN,
        steps=(
            # In Debian's source package the source is a tarball.
            Step(
                "unpack",
                "test -d {src}/libstdc++-v3 || tar -xf {src}/gcc-*.tar.xz -C {src}"
                " --strip-components=1",
                once=True,
            ),
            Step("compiler", f"mkdir -p {{out}}/tools/bin && {_GXX}"),
            Step(
                "configure",
                f"{{src}}/libstdc++-v3/configure {_HOST} --prefix=/hurdle {_LIBSTDCXX}"
                " CC=i686-gnu-gcc CXX={out}/tools/bin/i686-gnu-g++ CFLAGS='-O1 -g0'"
                " CXXFLAGS='-O1 -g0 -isystem {tools}/sysroot/include'",
                once=True,
            ),
            Step("make", f"for part in {parts}; do make -j{{jobs}} -C $part || exit; done"),
            Step(
                "install",
                "rm -rf {work}/dest; make -C include install DESTDIR={work}/dest"
                " && make -C libsupc++ install DESTDIR={work}/dest"
                " && mkdir -p {out}/tools/c++/lib"
                " && cp -R {work}/dest/hurdle/include/c++/* {out}/tools/c++/include"
                " && printf '%s\\n' 'create {out}/tools/c++/lib/libstdc++.a'"
                " 'addlib libsupc++/.libs/libsupc++.a'"
                " 'addlib src/c++98/.libs/libc++98convenience.a'"
                " 'addlib src/c++11/.libs/libc++11convenience.a' save end | i686-gnu-ar -M",
            ),
        ),
    )


def _library(
    name: str, source: Source, options: str, *needs: str, guess: str = "config.guess"
) -> Stage:
    """A library of gcc's, static, below `tools/libs`; `guess` is where it has its config.guess."""
    return Stage(
        name,
        source=source,
        needs=(*TOOLCHAIN, *needs),
        steps=(
            _NO_MANUAL,
            Step(
                "configure",
                f"{{src}}/configure --build=$({{src}}/{guess}) --host=i686-gnu --prefix=/hurdle"
                f" --disable-shared {options}"
                " CFLAGS='-O1 -g0' MAKEINFO=true",
                once=True,
            ),
            Step("make", "make -j{jobs} MAKEINFO=true"),
            Step(
                "install",
                "rm -rf {work}/dest; make MAKEINFO=true install DESTDIR={work}/dest"
                " && mkdir -p {out}/tools/libs"
                " && cp -R {work}/dest/hurdle/include {out}/tools/libs"
                " && install -D -t {out}/tools/libs/lib {work}/dest/hurdle/lib/*.a",
            ),
        ),
    )


def _gcc(source: Source) -> Stage:
    """gcc for C.  Its support library is the cross compiler's (`_libraries`)."""
    options = (
        f" {_HOST} --target=i686-gnu --prefix=/usr --with-native-system-header-dir=/include"
        " --with-gmp={tools}/libs --with-mpfr={tools}/libs --with-mpc={tools}/libs"
        " --disable-analyzer"
    )
    return Stage(
        "native-gcc",
        source=source,
        edits=GCC_EDITS,
        needs=(*TOOLCHAIN, "gxx", "gmp", "mpfr", "mpc"),
        steps=(
            Step(
                "configure",
                one_line("{src}/configure" + options + GCC_OPTIONS + " LDFLAGS=-static"),
                once=True,
            ),
            Step("make", "make -j{jobs} MAKEINFO=true all-gcc"),
            Step(
                "install",
                "rm -rf {work}/dest; make MAKEINFO=true install-gcc DESTDIR={work}/dest"
                " && cd {work}/dest/usr && mkdir -p {out}/native/bin"
                f" && {_STRIP} bin/gcc bin/cpp libexec/gcc/i686-gnu/*/cc1"
                " libexec/gcc/i686-gnu/*/collect2"
                " && cp -R lib libexec {out}/native && cp bin/gcc bin/cpp {out}/native/bin"
                " && ln -s gcc {out}/native/bin/cc",
            ),
        ),
    )


def _binutils(source: Source) -> Stage:
    """Assembler, linker and the programs for object files."""
    return Stage(
        "native-binutils",
        source=source,
        needs=TOOLCHAIN,
        steps=(
            Step("configure", f"{{src}}/configure {_HOST} {_BINUTILS} {_STATIC}", once=True),
            Step("make", "make -j{jobs} MAKEINFO=true all-binutils all-gas all-ld"),
            Step(
                "install",
                "rm -rf {work}/dest; make MAKEINFO=true install-binutils install-gas install-ld"
                " DESTDIR={work}/dest && mkdir -p {out}/native/bin && cd {work}/dest/usr/bin"
                " && for p in ar as ld nm objcopy objdump ranlib readelf strip;"
                f" do {_STRIP} -o {{out}}/native/bin/$p $p; done",
            ),
        ),
    )


def _mig(source: Source) -> Stage:
    """The interface generator.  Its script looks for its other half by perl, which isn't there."""
    return Stage(
        "native-mig",
        source=source,
        needs=TOOLCHAIN,
        steps=(
            Step(
                "configure",
                f"{{src}}/configure --build=$({{src}}/build-aux/config.guess) --host=i686-gnu"
                f" --prefix=/usr TARGET_CC=i686-gnu-gcc {_STATIC}",
                once=True,
            ),
            Step("make", "make -j{jobs}"),
            Step(
                "install",
                "rm -rf {work}/dest; make install DESTDIR={work}/dest"
                " && mkdir -p {out}/native/bin"
                " && sed -e 's|^libexecdir_rel=.*|libexecdir_rel=../libexec|'"
                " -e 's|i686-gnu-gcc|gcc|g' {work}/dest/usr/bin/mig > {out}/native/bin/mig"
                " && chmod +x {out}/native/bin/mig"
                f" && {_STRIP} {{work}}/dest/usr/libexec/migcom"
                " && cp -R {work}/dest/usr/libexec {out}/native",
            ),
        ),
    )


def _libraries() -> Stage:
    """Headers and static libraries of C library, kernel and Hurd, and gcc's support library."""
    return Stage(
        "native-libraries",
        needs=TOOLCHAIN,
        steps=(
            Step(
                "copy",
                "mkdir -p {out}/native/lib/gcc && cd {tools}"
                " && cp -R sysroot/include {out}/native"
                " && cp sysroot/lib/*.[ao] sysroot/lib/libc.so i686-gnu/lib/libgcc_s.so"
                " {out}/native/lib && cp -R lib/gcc/i686-gnu {out}/native/lib/gcc",
            ),
        ),
    )
