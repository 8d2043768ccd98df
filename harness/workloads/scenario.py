"""What a scenario file may say: set-up, steps, the crash, objects and expected verdicts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from harness.config import Spec
from harness.errors import UsageError
from harness.verdicts import CrashModel, Expectation, Oracle


def _octal(value: object) -> object:
    """Modes are octal however they are written: YAML reads 0775 as 509 and 775 as 775."""
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3,4}", value):
        return value.rjust(4, "0")
    raise ValueError('write the mode as a quoted octal string, such as "0775"')


def seconds(value: object) -> object:
    """A duration as a file has it, in seconds.  Raises `ValueError`."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min)", value)):
        return float(match[1]) * {"ms": 0.001, "s": 1.0, "min": 60.0}[match[2]]
    raise ValueError("write a duration with its unit, such as 6s or 500ms")


def _size(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)([KMG]?)", value)):
        return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]
    raise ValueError("write a size in bytes or with K, M or G, such as 64M")


def _relative(value: object) -> object:
    parts = value.split("/") if isinstance(value, str) else [""]
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("write a path below the crashed file system's root, such as home/a")
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._/+@=-]+", value):
        raise ValueError("letters, digits and ._+@=- only, since e2fsprogs has to name it too")
    return value


Mode = Annotated[str, BeforeValidator(_octal)]
Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    PlainSerializer(lambda value: f"{value}s", when_used="json"),  # as it is read again
]
Size = Annotated[int, BeforeValidator(_size)]
FsPath = Annotated[str, BeforeValidator(_relative)]  #: relative to the crashed disk's root


class User(Spec):
    """A user of the guest; nothing on the crashed disk, unless it is the root and he has a `home`.

    That is /home/NAME, his own, mode 0775, and there before the guest boots.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    uid: int = Field(ge=1, le=65534)
    gid: int = Field(ge=1, le=65534)
    home: bool = False


class _Op(Spec):
    """An operation on the crashed file system; `as` is the user who does it (default: root).

    `within` bounds it, in seconds under TCG: a guest that needs longer counts as hung.
    """

    as_: str | None = Field(default=None, alias="as")
    within: Seconds = 60.0


class Mkdir(_Op):
    path: FsPath
    mode: Mode = "0755"


#: a word in the bytes of a write, by which two writes to one file are told apart
MarkText = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=64)]


class Create(_Op):
    """A new file of `size` bytes, filled with a pattern that depends on its path and `mark`."""

    path: FsPath
    size: Size = 0
    mode: Mode = "0644"
    mark: MarkText = ""


class CreateMany(_Op):
    """`count` new files named PREFIX-0001 ... in the folder `path`."""

    path: FsPath
    count: int = Field(ge=1, le=10000)
    prefix: str = Field(default="file", pattern=r"^[a-z0-9]+$")
    size: Size = 0


class Overwrite(_Op):
    """New bytes over old ones in place; the file keeps its size.  `offset` is in bytes."""

    path: FsPath
    offset: Annotated[Size, Field(multiple_of=512)] = 0
    size: Size = 4096
    mark: MarkText = ""


class Append(_Op):
    """`size` more bytes at the end of a file that exists."""

    path: FsPath
    size: Size = 4096
    mark: MarkText = ""


class Truncate(_Op):
    path: FsPath
    size: Size = 0


class Pair(_Op):
    """`from` and `to` of rename, link and symlink."""

    from_: FsPath = Field(alias="from")
    to: FsPath


class PathOp(_Op):
    path: FsPath


class Chmod(_Op):
    path: FsPath
    mode: Mode


class Chown(_Op):
    path: FsPath
    uid: int = Field(ge=0, le=65535)
    gid: int = Field(ge=0, le=65535)


class Sync(_Op):
    """sync(2) of everything; what came before it is acknowledged when it returns."""


class Fsync(_Op):
    """fsync(2) of a file or a directory."""

    path: FsPath


class Shell(_Op):
    """Any command; it runs in the crashed file system's root."""

    command: str = Field(min_length=1)


def _shorthand(value: object) -> object:
    """`- unlink: a/b` for `- unlink: {path: a/b}`."""
    return {"path": value} if isinstance(value, str) else value


def _nothing(value: object) -> object:
    """`- sync:` for `- sync: {}`."""
    return {} if value is None else value


def _command(value: object) -> object:
    return {"command": value} if isinstance(value, str) else value


def _after(value: object) -> object:
    return value if value == "commit" else seconds(value)


class Cut(Spec):
    """The write log cut exactly after `write` writes, which have to come `within` a time."""

    write: int = Field(ge=0)
    within: Seconds = 120.0  #: under TCG


def _at(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"write (\d+)", value)):
        return {"write": int(match[1])}
    if isinstance(value, dict):
        return value
    raise ValueError("write the cut as `write N`, such as `at: write 120`")


class Step(Spec):
    """One step, a mapping with a single key."""

    mkdir: Annotated[Mkdir, BeforeValidator(_shorthand)] | None = None
    create: Annotated[Create, BeforeValidator(_shorthand)] | None = None
    create_many: CreateMany | None = None
    overwrite: Annotated[Overwrite, BeforeValidator(_shorthand)] | None = None
    append: Annotated[Append, BeforeValidator(_shorthand)] | None = None
    truncate: Annotated[Truncate, BeforeValidator(_shorthand)] | None = None
    rename: Pair | None = None
    link: Pair | None = None
    symlink: Pair | None = None
    unlink: Annotated[PathOp, BeforeValidator(_shorthand)] | None = None
    rmdir: Annotated[PathOp, BeforeValidator(_shorthand)] | None = None
    chmod: Chmod | None = None
    chown: Chown | None = None
    fsync: Annotated[Fsync, BeforeValidator(_shorthand)] | None = None
    sync: Annotated[Sync, BeforeValidator(_nothing)] | None = None
    shell: Annotated[Shell, BeforeValidator(_command)] | None = None
    #: wait: a duration, or until a commit block that was begun after the last operation is logged
    after: Annotated[float | Literal["commit"], BeforeValidator(_after)] | None = None
    #: SIGKILL of QEMU; a live kill lands where it lands, and the report says where
    kill: Literal["now"] | None = None
    #: cut the write log exactly after this many writes; QEMU is killed once they are logged
    at: Annotated[Cut, BeforeValidator(_at)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, data: Any) -> Any:
        if not isinstance(data, dict) or len(data) != 1:
            raise ValueError("a step is one key with its values, such as `- mkdir: {path: a}`")
        name, value = next(iter(data.items()))
        return {name: {}} if name == "sync" and value is None else data

    @property
    def name(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def action(self) -> Any:
        return getattr(self, self.name)

    @property
    def is_operation(self) -> bool:
        return self.name not in ("after", "kill", "at")


class Fields(Spec):
    """An object's fields as debugfs shows them; those left out are not compared."""

    type: Literal["directory", "regular", "symlink"] | None = None
    mode: Mode | None = None  #: permission bits
    uid: int | None = None
    gid: int | None = None
    links: int | None = None
    size: Size | None = None  #: bytes
    blockcount: int | None = None  #: 512-byte sectors, as i_blocks counts them
    target: str | None = None  #: of a symlink


class WatchedObject(Spec):
    """An object and the two states that it may be found in; `absent` means that no name is there.

    `was` is its state before the recorded steps, `now` the one after them.
    """

    path: FsPath
    was: Fields | Literal["absent"] = "absent"
    now: Fields | Literal["absent"]


class Disk(Spec):
    """The file system that is crashed: a new one on a second disk, or a copy of the guest's root.

    Size and inodes of a root are what the image has; a journal it gets by tune2fs.
    """

    which: Literal["second", "root"] = "second"
    #: of a root: seconds between the syncs that the Hurd does by itself; None: 30, its default
    sync_interval: int | None = Field(default=None, ge=1)
    size: Size = 64 << 20
    #: bytes that the disk says it writes whole (its physical sector); what a torn write consists of
    sector: Literal[512, 4096] = 512
    #: that it takes at most, as a disk with moving parts; None: what the host does
    writes_per_second: int | None = Field(default=None, ge=10)
    inode_size: Literal[128, 256] = 128
    journal_blocks: int | None = Field(default=None, ge=1024)  #: of 4 KiB; None: mke2fs decides


class Judge(Spec):
    #: which prefixes of the write log are judged beside the kill: all from the first mount on,
    #: those from the settled set-up on, or none
    prefixes: Literal["all", "workload", "none"] = "all"
    #: so many of these prefixes, evenly spread, are judged again behind a mount in the guest
    mounts: int = Field(default=0, ge=0, le=100)
    #: the watched objects change together (one transaction) or may be found one by one
    together: bool = True


#: what is expected per crash model and oracle; what is not named has to PASS
Expected = dict[CrashModel, dict[Oracle, Expectation]]


class Scenario(Spec):
    """A scenario file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    about: str = ""
    disk: Disk = Disk()
    users: tuple[User, ...] = ()
    setup: tuple[Step, ...] = ()  #: made and synced before the recorded steps
    steps: tuple[Step, ...] = Field(min_length=2)
    objects: tuple[WatchedObject, ...] = Field(min_length=1)
    judge: Judge = Judge()
    expect: dict[str, Expected] = Field(min_length=1)  #: by variant

    @model_validator(mode="after")
    def _sensible(self) -> Scenario:
        if any(not step.is_operation for step in self.setup):
            raise ValueError("setup has operations only; waits and kills belong into steps")
        *early, last = self.steps
        if last.name not in ("kill", "at"):
            raise ValueError("the last step crashes the guest: `kill: now` or `at: write N`")
        if any(step.name in ("kill", "at") for step in early):
            raise ValueError("nothing can follow a kill")
        if not any(step.is_operation for step in early):
            raise ValueError("there is no operation before the kill, so nothing can be lost")
        if self.disk.which != "root" and any(user.home for user in self.users):
            raise ValueError("`home` belongs to the root disk; on a second disk, make it in setup")
        for variant, expected in self.expect.items():
            for model in expected:
                if model not in self.models:
                    made = " and ".join(self.models)
                    raise ValueError(f"expect.{variant}.{model}: this scenario makes {made} only")
        if self.judge.mounts and (self.disk.which == "root" or self.judge.prefixes == "none"):
            raise ValueError("judge.mounts mounts prefixes of a second disk; there are none")
        known = {user.name for user in self.users}
        for step in (*self.setup, *self.steps):
            user = step.action.as_ if step.is_operation else None
            if user is not None and user not in known:
                raise ValueError(f"`as: {user}` names no user of `users`")
        return self

    @property
    def crash_model(self) -> CrashModel:
        """What the last step makes: a live kill or an exact cut."""
        return CrashModel.KILL if self.steps[-1].name == "kill" else CrashModel.CUT

    @property
    def settles(self) -> bool:
        """Whether everything is synced before the recorded steps.

        A root without a set-up is left as its boot left it, as a user would meet it.
        """
        return bool(self.setup) or self.disk.which == "second"

    @property
    def models(self) -> tuple[CrashModel, ...]:
        """The crash models that it is judged by."""
        own = self.crash_model
        return (own,) if self.judge.prefixes == "none" else (own, CrashModel.PREFIX)


def shipped_scenarios() -> list[Path]:
    """The scenario files that come with hurdle, by name."""
    return sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))


def scenario_path(name: str) -> Path:
    """A scenario's file: a path as it is, else the shipped scenario of that name.

    Raises `UsageError` that lists the shipped names.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = {each.stem: each for each in shipped_scenarios()}
    if name not in shipped:
        raise UsageError(
            f"there is no scenario {name!r}",
            hint=f"give a file, or one of: {', '.join(shipped)}",
        )
    return shipped[name]
