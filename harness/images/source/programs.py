"""The guest's programs, as stages: each of them configured, made and installed below `root/`.

What is said here of a program is only what its own configure can't know when it runs on another
system, or what its Debian tarball lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.images.source.sources import DirSource, Source
from harness.images.source.stage import Stage, Step

_NEEDS = ("gcc", "mach-headers", "mig", "hurd-headers", "glibc", "libgcc")
#: Debian's tarballs partly lack the manuals, and nobody reads them in the guest.
_PLAIN = "MAKEINFO=true man1_MANS= dist_man1_MANS="
#: A patch that touches an input of the autotools would run them, in versions that the host lacks.
_FROZEN = f"{_PLAIN} ACLOCAL=: AUTOCONF=: AUTOHEADER=: AUTOMAKE=:"


@dataclass(frozen=True)
class Program:
    """How one program differs from the rule `configure && make && make install`."""

    options: str = ""  #: for configure
    prepare: str = ""  #: shell command in the source's folder, once
    cflags: str = ""
    make: str = _PLAIN  #: variables for make
    install: str = "make DESTDIR={out}/root {make} install-exec"
    answers: tuple[tuple[str, str], ...] = ()  #: configure's results for what it would have to run


PROGRAMS: dict[str, Program] = {
    # Hurd has no PATH_MAX, and dash uses it.
    "dash": Program("--disable-lineno", cflags="-DPATH_MAX=4096"),
    "bash": Program(
        "--without-bash-malloc --disable-readline --with-curses=no",
        install="install -D bash {out}/root/bin/bash",
        answers=(
            ("bash_cv_job_control_missing", "present"),
            ("bash_cv_sys_named_pipes", "present"),
            ("bash_cv_func_sigsetjmp", "present"),
            ("bash_cv_printf_a_format", "yes"),
            ("bash_cv_must_reinstall_sighandlers", "no"),
            ("bash_cv_getcwd_malloc", "yes"),
        ),
    ),
    # One program with many names: 1.5 MB instead of 20.
    "coreutils": Program(
        "--enable-single-binary=symlinks --without-selinux --disable-acl --disable-xattr"
        " --disable-libcap --without-openssl --without-gmp",
        answers=(("FORCE_UNSAFE_CONFIGURE", "1"),),
    ),
    # e2fsck checks the root at boot; the others let a person look at a broken one.
    "e2fsprogs": Program(
        "--disable-uuidd --disable-fuse2fs --disable-e2initrd-helper --disable-defrag"
        " --disable-imager --without-libarchive",
        install="for p in e2fsck/e2fsck debugfs/debugfs misc/mke2fs misc/tune2fs misc/dumpe2fs;"
        " do install -D $p {out}/root/sbin/${p#*/}; done",
    ),
    "mawk": Program(install="install -D mawk {out}/root/bin/mawk"),
    "diffutils": Program(make=_FROZEN, answers=(("gl_cv_func_strcasecmp_works", "yes"),)),
    "gzip": Program(make=_FROZEN),
    # Debian's tarball lacks the manual's folder.
    "make": Program(
        "--without-guile",
        make=_FROZEN,
        prepare="mkdir doc && : > doc/make.1 && echo 'all install install-exec:' > doc/Makefile.in",
    ),
    "sed": Program("--disable-acl"),
    "tar": Program(
        "--without-posix-acls --without-selinux",
        # The tarball of Debian lacks the manual.
        prepare="mkdir -p doc && echo 'all install install-exec:' > doc/Makefile.in",
        make=_FROZEN,
        answers=(("FORCE_UNSAFE_CONFIGURE", "1"),),
    ),
    "findutils": Program("--without-selinux", make=_FROZEN),
    # Keys only: the C library has no crypt().
    "dropbear": Program(
        "--disable-zlib --disable-pam --disable-lastlog --disable-utmp --disable-utmpx"
        " --disable-wtmp --disable-wtmpx --disable-pututline --disable-pututxline"
        " --enable-bundled-libtom",
        prepare="echo '#define DROPBEAR_SVR_PASSWORD_AUTH 0' > {work}/localoptions.h",
        make="PROGRAMS=dropbear",
        install="install -D dropbear {out}/root/sbin/dropbear",
    ),
    "grep": Program("--disable-perl-regexp", make=_FROZEN),
}


def program(name: str, source: Source) -> Stage:
    """The stage of a known program; `UsageError` for another."""
    rule = PROGRAMS.get(name)
    if rule is None:
        raise UsageError(
            f"there is no rule to build {name!r}", hint=f"known programs: {', '.join(PROGRAMS)}"
        )
    return Stage(
        name,
        source=source,
        needs=_NEEDS,
        env=dict(rule.answers),
        steps=(
            *([Step("prepare", rule.prepare, once=True, cwd="{src}")] if rule.prepare else ()),
            Step(
                "configure",
                "{src}/configure --build=x86_64-linux-gnu --host=i686-gnu --prefix= --disable-nls"
                # Hurd's time_t has 32 bits on i686; gnulib asks for a yes to that.
                f" --disable-year2038 {rule.options} CFLAGS='-O2 -g0 {rule.cflags}'",
                once=True,
            ),
            Step("make", f"make -j{{jobs}} {rule.make}"),
            Step("install", rule.install.replace("{make}", rule.make)),
        ),
    )


def own(folder: Path) -> Stage:
    """hurdle's programs for the guest: a random translator, and SSH's way over a serial line."""
    cc = "i686-gnu-gcc -D_GNU_SOURCE -std=gnu17 -O2 -Wall -Werror"
    hurd = "{out:hurd}/root"
    return Stage(
        "own",
        source=DirSource(folder),
        needs=(*_NEEDS, "hurd"),
        steps=(
            Step("folders", "mkdir -p {out}/root/hurd {out}/root/libexec"),
            Step("relay", f"{cc} -o {{out}}/root/libexec/serial-relay {{src}}/serial-relay.c"),
            Step(
                "random",
                f"{cc} -I{hurd}/include -o {{out}}/root/hurd/random {{src}}/random.c"
                f" {{src}}/pool.c -L{hurd}/lib -Wl,-rpath-link={hurd}/lib -ltrivfs -lports"
                " -lpthread",
            ),
        ),
    )
