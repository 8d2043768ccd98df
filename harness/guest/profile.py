"""What a guest's operating system calls things.  Pure: commands as text, nothing is run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Protocol

from harness.errors import UsageError
from harness.images.recipe import GuestOs, Recipe, Variant


class Profile(Protocol):
    """The commands of one operating system; each is a line for its shell, run as root."""

    @property
    def console_line(self) -> int:
        """Bytes that a line typed on the console may have, below the terminal's own limit."""

    def mount(self, device: str, mountpoint: str, variant: Variant) -> str:
        """Mount the file system under test; fails when it can't be mounted writable."""

    def unmount(self, mountpoint: str, *, force: bool = False) -> str:
        """Unmount in good order; with `force` also where a Hurd's file system still has users."""

    def sync(self, mountpoint: str) -> str:
        """Bring everything below `mountpoint` to the disk; returns when it is there."""

    def fsync(self, path: str) -> str:
        """Bring one file or directory to the disk; returns when it is there."""

    def add_user(self, name: str, uid: int, gid: int) -> str:
        """Make a user and his group known by name; no home folder."""

    def as_user(self, uid: int, gid: int, name: str, command: str) -> str:
        """Run `command` with that user and group id and no other groups."""

    def set_clock(self, seconds: int) -> str:
        """Set the clock to `seconds` since 1970."""

    def poweroff(self) -> str: ...


def profile_for(recipe: Recipe) -> Profile:
    """The profile of the recipe's operating system."""
    return Linux() if recipe.os is GuestOs.LINUX else Hurd()


@dataclass(frozen=True)
class Linux:
    """Linux with busybox or coreutils."""

    console_line: int = 1000  # N_TTY takes 4095

    def mount(self, device: str, mountpoint: str, variant: Variant) -> str:
        options = ",".join(filter(None, ("rw", variant.mount_options)))
        where = shlex.quote(mountpoint)
        return (
            f"mkdir -p {where} && "
            f"mount -t {variant.fs} -o {shlex.quote(options)} {shlex.quote(device)} {where}"
        )

    def unmount(self, mountpoint: str, *, force: bool = False) -> str:
        return f"umount {shlex.quote(mountpoint)}"

    def sync(self, mountpoint: str) -> str:
        # syncfs(2): sync(2) can't report an error.
        return f"sync -f {shlex.quote(mountpoint)}"

    def fsync(self, path: str) -> str:
        return f"sync {shlex.quote(path)}"

    def add_user(self, name: str, uid: int, gid: int) -> str:
        # No adduser: its options differ between busybox and shadow, and it wants a home.
        return (
            f"grep -q '^{name}:' /etc/passwd || {{ "
            f"echo '{name}:x:{uid}:{gid}::/:/bin/sh' >> /etc/passwd && "
            f"echo '{name}:x:{gid}:' >> /etc/group; }}"
        )

    def as_user(self, uid: int, gid: int, name: str, command: str) -> str:
        # util-linux's setpriv: ids by number, no PAM, no login shell.  busybox's knows no ids.
        ids = f"--reuid {uid} --regid {gid} --clear-groups"
        return f"setpriv {ids} sh -c {shlex.quote(command)}"

    def set_clock(self, seconds: int) -> str:
        return f"date -s @{seconds} >/dev/null"

    def poweroff(self) -> str:
        return "poweroff -f"


@dataclass(frozen=True)
class Hurd:
    """GNU/Hurd with coreutils."""

    console_line: int = 1000  # more was not tried; lines of 200 take three times as long

    def mount(self, device: str, mountpoint: str, variant: Variant) -> str:
        if variant.translator is None:
            raise UsageError(
                f"a variant for the Hurd names its translator, and {variant.title or variant.fs} "
                "does not",
                hint="add `translator: /hurd/ext2fs` to the variant in the recipe",
            )
        where = shlex.quote(mountpoint)
        # -c makes the node, -a starts the translator now: settrans fails when it does.  The
        # translator keeps the standard error of settrans for life: on the console its warnings are
        # seen, where a pipe would make whoever reads it wait for ever.
        options = "".join(f"{shlex.quote(each)} " for each in variant.mount_options.split())
        return (
            f"mkdir -p {where} && settrans -ca {where} {shlex.quote(variant.translator)} "
            f"{options}--writable {shlex.quote(device)} 2>/dev/console"
        )

    def unmount(self, mountpoint: str, *, force: bool = False) -> str:
        # -g: go away orderly, that is, sync and unmount; -a: the active translator only; -f: do not
        # mind users.
        return f"settrans -{'gaf' if force else 'ga'} {shlex.quote(mountpoint)}"

    def sync(self, mountpoint: str) -> str:
        # syncfs waits for the file system named; plain sync(1) goes through the root's fs only.
        return f"syncfs -s {shlex.quote(mountpoint)}"

    def fsync(self, path: str) -> str:
        return f"sync {shlex.quote(path)}"

    def add_user(self, name: str, uid: int, gid: int) -> str:
        return Linux().add_user(name, uid, gid)

    def as_user(self, uid: int, gid: int, name: str, command: str) -> str:
        # chroot(1) is coreutils' only program that sets ids by number without a login.
        return f"chroot --userspec=+{uid}:+{gid} --groups= / sh -c {shlex.quote(command)}"

    def set_clock(self, seconds: int) -> str:
        return Linux().set_clock(seconds)

    def poweroff(self) -> str:
        return "halt"
