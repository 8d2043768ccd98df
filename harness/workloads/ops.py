"""Steps of a scenario as shell commands of the guest.  Pure: text in, text out.

The commands keep to what busybox and coreutils have in common.  Each operation is one program, so
that it is one system call on the watched object where the guest's tools allow it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from harness.guest.profile import Profile
from harness.workloads.scenario import Mkdir, Step, User

_DD_BLOCK = 512


class Commands:
    """Turns steps into commands for one guest and one mount point."""

    def __init__(self, profile: Profile, mountpoint: str, users: tuple[User, ...]) -> None:
        self._profile = profile
        self._root = mountpoint.rstrip("/")
        self._users = {user.name: user for user in users}

    def of(self, step: Step) -> str:
        """The command line of an operation (not of a wait or a kill)."""
        command = _BUILDERS[step.name](self, step.action)
        user = self._users.get(step.action.as_ or "")
        if user is None:
            return command
        return self._profile.as_user(user.uid, user.gid, user.name, command)

    def path(self, relative: str) -> str:
        """A path of the crashed file system as the guest's shell reads it."""
        return shlex.quote(f"{self._root}/{relative}")

    def mkdir(self, op: Any) -> str:
        # The mode of mkdir(2) is masked by the umask: an open umask makes it the one of the step,
        # where `mkdir -m` would be a mkdir and a chmod.
        return f"umask {_umask(op.mode)}; mkdir {self.path(op.path)}"

    def create(self, op: Any) -> str:
        filler = self._filler(op.path, op)
        return f"umask {_umask(op.mode, 0o666)}; {filler} > {self.path(op.path)}"

    def create_many(self, op: Any) -> str:
        name = f'"$d/{op.prefix}-$(printf %04d $i)"'
        return (
            f"d={self.path(op.path)}; i=1; while [ $i -le {op.count} ]; do "
            f"{self._filler(op.path, op)} > {name} || exit 1; i=$((i+1)); done"
        )

    def overwrite(self, op: Any) -> str:
        return (
            f"{self._filler('new ' + op.path, op)} | dd of={self.path(op.path)} "
            f"bs={_DD_BLOCK} seek={op.offset // _DD_BLOCK} conv=notrunc 2>/dev/null"
        )

    def append(self, op: Any) -> str:
        return f"{self._filler('more ' + op.path, op)} >> {self.path(op.path)}"

    def truncate(self, op: Any) -> str:
        return f"truncate -s {op.size} {self.path(op.path)}"

    def rename(self, op: Any) -> str:
        return f"mv -T -f {self.path(op.from_)} {self.path(op.to)}"

    def link(self, op: Any) -> str:
        return f"ln {self.path(op.from_)} {self.path(op.to)}"

    def symlink(self, op: Any) -> str:
        # On the Hurd a symlink's mode is masked as any other's; on Linux it is always 0777.
        return f"umask 0000; ln -s {shlex.quote(op.from_)} {self.path(op.to)}"

    def unlink(self, op: Any) -> str:
        return f"unlink {self.path(op.path)}"

    def rmdir(self, op: Any) -> str:
        return f"rmdir {self.path(op.path)}"

    def chmod(self, op: Any) -> str:
        return f"chmod {op.mode} {self.path(op.path)}"

    def chown(self, op: Any) -> str:
        return f"chown {op.uid}:{op.gid} {self.path(op.path)}"

    def fsync(self, op: Any) -> str:
        return self._profile.fsync(f"{self._root}/{op.path}")

    def sync(self, op: Any) -> str:
        return self._profile.sync(self._root or "/")

    def shell(self, op: Any) -> str:
        return f"cd {shlex.quote(self._root or '/')} && {{ {op.command}\n}}"

    @staticmethod
    def _filler(subject: str, op: Any) -> str:
        """A command that prints the bytes of `filler_bytes`.

        `cat` is there for its exit code: the head of busybox says nothing of an error of its last
        write, and an operation that failed must not pass for one that did not.
        """
        line = filler_line(subject, getattr(op, "mark", ""))
        return f"yes {shlex.quote(line)} | head -c {op.size} | cat" if op.size else ":"


def filler_line(subject: str, mark: str) -> str:
    """The line, without its end, that is repeated in what an operation writes."""
    return f"hurdle {subject}" + (f" {mark}" if mark else "")


def filler_bytes(line: str, size: int) -> bytes:
    """`size` bytes of a line, repeated from its beginning."""
    unit = line.encode() + b"\n"
    return (unit * (size // len(unit) + 1))[:size]


def _umask(mode: str, full: int = 0o777) -> str:
    return f"{full & ~int(mode, 8):04o}"


_BUILDERS: dict[str, Callable[[Commands, Any], str]] = {
    name: getattr(Commands, name)
    for name in Step.model_fields
    if name not in ("after", "kill", "at")
}


def describe(step: Step) -> str:
    """A step in one line for people, such as `rename home/a -> home/b`."""
    action = step.action
    if step.name in ("rename", "link", "symlink"):
        return f"{step.name} {action.from_} -> {action.to}"
    if step.name == "after":
        return "wait for a commit" if action == "commit" else f"wait {action:g} s"
    if step.name == "kill":
        return "SIGKILL of QEMU"
    if step.name == "at":
        return f"cut the log after write {action.write}"
    if step.name == "shell":
        return str(action.command)
    return f"{step.name} {getattr(action, 'path', '')}".strip() + _detail(action)


def _detail(action: Any) -> str:
    """Modes and owners, where they are the point of the operation."""
    if isinstance(action, Mkdir):
        owner = f", by {action.as_}" if action.as_ else ""
        return f" (mode {action.mode}{owner})"
    if hasattr(action, "uid"):
        return f" to {action.uid}:{action.gid}"
    return f" to {action.mode}" if hasattr(action, "mode") and not hasattr(action, "size") else ""
