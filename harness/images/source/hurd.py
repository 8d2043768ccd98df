"""Hurd's own stages: the headers that the C library needs, and the servers of the guest."""

from __future__ import annotations

from harness.images.source.sources import Source
from harness.images.source.stage import Stage, Step

#: what Hurd's configure would learn by running programs on a Hurd with a current glibc
_ANSWERS = {
    f"ac_cv_func_{name}": "yes"
    for name in (
        "file_exec_paths",
        "exec_exec_paths",
        "_hurd_exec_paths",
        "_hurd_libc_proc_init",
        "file_utimens",
    )
} | {"ac_cv_func_mach_port_set_ktype": "no"}
#: the stages that a program for the guest is built with
TOOLCHAIN = ("gcc", "mach-headers", "mig", "hurd-headers", "glibc", "libgcc")
_ENV = {**_ANSWERS, "PKG_CONFIG_LIBDIR": "{work}/no-packages", "MIG": "i686-gnu-mig"}
#: of the optional parts none is needed on whole disks of IDE and AHCI
OPTIONS = (
    "--prefix= --disable-profile --without-parted --without-libbz2 --without-libz --without-rump"
    " --disable-ncursesw --without-libcrypt --enable-static-progs=ext2fs,exec"
)
_CONFIGURE = f"{{src}}/configure --build=$({{src}}/config.guess) --host=i686-gnu {OPTIONS}"
#: of an ext2fs; an assertion prints its file's name, which is to be the same wherever it is built
CFLAGS = "-O2 -g0 -ffile-prefix-map={src}/="
_AUTORECONF = Step("autoreconf", "autoreconf -i", once=True, cwd="{src}")


def headers(source: Source) -> Stage:
    """Hurd's headers and interface definitions, for glibc.

    The stage never sees Hurd's C files, so an edit of one makes neither this nor glibc run again.
    """
    return Stage(
        "hurd-headers",
        source=source,
        needs=("gcc", "mach-headers", "mig"),
        exclude=("*.c",),
        env=_ENV,
        steps=(
            _AUTORECONF,
            # There is no C library yet; configure wants to link something all the same.
            Step("configure", f"{_CONFIGURE} LDFLAGS=-nostdlib", once=True),
            Step("install", "make no_deps=t prefix={out}/tools/sysroot install-headers"),
        ),
    )


def servers(source: Source) -> Stage:
    """Hurd for the guest: boot modules, servers, translators, libraries and programs."""
    return Stage(
        "hurd",
        source=source,
        needs=TOOLCHAIN,
        incremental=("*.c", "*.h", "*.S"),
        env=_ENV,
        steps=(
            _AUTORECONF,
            Step("configure", f"{_CONFIGURE} CFLAGS='-O2 -g0'", once=True),
            Step("make", "make -j{jobs}"),
            # Without doc/, which would need makeinfo; nobody reads a manual in this guest.
            Step(
                "install",
                "make prefix={out}/root other-subdirs='hurd config release include' install",
            ),
        ),
    )


#: runs the compiler, and keeps what it says beside what it makes, however often make is called
_COMPILER = """cat > {work}/compiler <<'END'
#!/bin/sh
out= last=
for word; do
  case $last in -o) out=$word ;; esac
  last=$word
done
[ "$out" ] || exec i686-gnu-gcc "$@"
i686-gnu-gcc "$@" 2> "$out.said"
status=$?
cat "$out.said" >&2
exit $status
END
chmod +x {work}/compiler"""


def ext2fs(name: str, source: Source) -> Stage:
    """Another Hurd's ext2fs, statically linked, so that it brings its own libdiskfs.

    Beside it stands in `said` what the compiler had to say of all its parts.
    """
    return Stage(
        f"ext2fs-{name}",
        source=source,
        needs=TOOLCHAIN,
        incremental=("*.c", "*.h", "*.S"),
        env=_ENV,
        steps=(
            _AUTORECONF,
            Step("configure", f"{_CONFIGURE} CFLAGS='{CFLAGS}'", once=True),
            Step("compiler", _COMPILER, once=True),
            Step("make", "make -j{jobs} CC={work}/compiler ext2fs"),
            Step(
                "install",
                f"install -D ext2fs/ext2fs.static {{out}}/root/hurd/ext2fs-{name}",
            ),
            Step(
                "said",
                "find . -name '*.said' | sort | xargs cat | sed 's|{src}/||g' > {out}/said",
            ),
        ),
    )
