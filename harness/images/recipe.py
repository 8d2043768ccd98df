"""What a file in vm-images/ may say: how a guest is made, started, reached and varied."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from harness.config import Spec, load
from harness.errors import UsageError
from harness.images.preinstalled.spec import (
    DiskRecipe,
    DownloadRecipe,
    FirstBootRecipe,
    OfflineRecipe,
)
from harness.images.source.spec import (
    ArchiveRecipe,
    Component,
    NativeRecipe,
    OtherHurd,
    RootRecipe,
)


class GuestOs(StrEnum):
    LINUX = "linux"
    HURD = "hurd"


class MachineRecipe(Spec):
    """The QEMU machine."""

    arch: Literal["i386", "x86_64"] = "x86_64"
    machine: str = "pc"  #: QEMU's -machine
    cpu: str = "qemu64"  #: QEMU's -cpu; a plain model, since `max` breaks guests under TCG
    memory_mib: int = Field(default=256, ge=32, le=65536)
    disk_bus: Literal["ide", "ahci", "virtio"] = "ide"  #: of the crashed disk and the root disk
    nic: str | None = None  #: QEMU device name such as e1000; none for a guest without network
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    root_snapshot: bool = True  #: writes to the root disk go to a temporary overlay


class BootRecipe(Spec):
    """How long the guest may take and how its console announces itself."""

    seconds: float = Field(gt=0)  #: until the shell answers, under TCG
    shell: str  #: regular expression of the console's shell prompt or readiness line
    cmdline: str = ""  #: kernel command line
    #: a run goes on from a saved state of the booted guest, made at the first run
    warm: bool = False


class SshAccess(Spec):
    """SSH over the user-mode network, or over a second serial line; keys only."""

    #: serial: the guest runs serial-relay on it (vm-images/hurd-source/src)
    over: Literal["nic", "serial"] = "nic"
    #: demand: commands go over the console until something needs SSH, as a copied file does
    connect: Literal["boot", "demand"] = "boot"
    user: str = "root"
    seconds: float = Field(default=15, gt=0)  #: from the shell to an answer, under TCG
    key: Path | None = None  #: private key for a guest given by path; images made here bring one
    host_key: Path | None = None  #: the guest's public host key, which is pinned


class AccessRecipe(Spec):
    """Ways into the guest.  The console is always there; SSH is used where it is given."""

    ssh: SshAccess | None = None
    scrollback: str = ""  #: console command that quiets kernel messages, if the guest needs one


class CrashDisk(Spec):
    """The disk that is crashed, as the guest sees it."""

    device: str  #: /dev/sda, /dev/hd1
    mountpoint: str = "/mnt"


class TransferRecipe(Spec):
    """A disk by which files come and go; the fourth on its bus."""

    device: str  #: as the guest sees it
    size_mib: int = Field(default=64, ge=1, le=65536)


class Variant(Spec):
    """One file system under test."""

    fs: Literal["ext2", "ext3", "ext4"]  #: what mke2fs makes
    title: str = ""
    mkfs: tuple[str, ...] = ()  #: more arguments for mke2fs
    mount_options: str = ""  #: Linux: mount -o; Hurd: options of the translator
    translator: str | None = None  #: Hurd: path of the ext2fs binary inside the guest
    file: Path | None = None  #: Hurd: host file that is put there before the boot
    #: Hurd: variant of guest-patches/variants.yaml that a run builds and puts there
    build: str | None = None

    @property
    def journaled(self) -> bool:
        return self.fs != "ext2"


class _Recipe(Spec):
    name: str
    title: str
    os: GuestOs
    machine: MachineRecipe
    boot: BootRecipe
    access: AccessRecipe = AccessRecipe()
    crash_disk: CrashDisk
    transfer: TransferRecipe | None = None
    prepare: tuple[str, ...] = ()  #: shell commands run once in the guest, before the workload
    variants: dict[str, Variant] = Field(min_length=1)

    @property
    def ready_seconds(self) -> float:
        """How long the guest may take from its start until it can be used, under TCG."""
        return self.boot.seconds + (self.access.ssh.seconds if self.access.ssh else 0.0)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
            raise ValueError("a name has lower-case letters, digits, dots and dashes")
        return name

    @model_validator(mode="after")
    def _disk_fits_bus(self) -> Self:
        """Linux names a disk after its driver; a wrong name would only show after the boot."""
        disk = self.crash_disk.device
        virtio = self.machine.disk_bus == "virtio"
        if self.os is GuestOs.LINUX and disk.startswith("/dev/vd") != virtio:
            right = "/dev/vda" if virtio else "/dev/sda"
            raise ValueError(
                f"on the bus {self.machine.disk_bus} Linux calls its first disk {right}, not {disk}"
                f": set crash_disk.device={right}"
            )
        if self.os is GuestOs.HURD and virtio:
            raise ValueError("the Hurd drives no virtio disk: set machine.disk_bus to ide or ahci")
        return self


class ControlRecipe(_Recipe):
    """A Linux guest that is a kernel and an initramfs made from Debian packages."""

    kind: Literal["linux-control"]
    suite: str = ""  #: Debian suite to take packages from; empty: the host's own
    packages: tuple[str, ...]  #: packages whose programs go into the initramfs
    kernel_package: str  #: package (or metapackage) of the kernel
    #: files of those packages that are kept, with their libraries; a pattern with * may match none
    programs: tuple[str, ...]
    modules: tuple[str, ...]  #: kernel modules that are kept, with what they depend on
    overlay: Path  #: folder of files that are put into the guest; `init` is its first program


class BootModule(Spec):
    """A multiboot module: a host file and the arguments that gnumach's boot script sees."""

    file: Path
    args: str


class MultibootRecipe(_Recipe):
    """A GNU/Hurd guest given as files of the host, started by QEMU's multiboot loader."""

    kind: Literal["multiboot"]
    files: Path | None = None  #: folder from which the relative paths below count
    kernel: Path
    modules: dict[str, BootModule] = Field(min_length=1)  #: in the order in which they start
    root_image: Path
    root_format: Literal["raw", "qcow2"] = "raw"


class SourceRecipe(_Recipe):
    """A GNU/Hurd guest cross-built from source packages."""

    kind: Literal["hurd-source"]
    archive: ArchiveRecipe = ArchiveRecipe()
    gcc: Component
    mig: Component
    glibc: Component
    gnumach: Component
    gnumach_headers: Component
    hurd: Component
    #: other Hurds, whose ext2fs becomes /hurd/ext2fs-NAME
    ext2fs: dict[str, OtherHurd] = Field(default_factory=dict)
    programs: dict[str, Component]
    native: NativeRecipe | None = None  #: a compiler and its tools for the guest itself
    own: Path | None = None  #: folder of hurdle's own C programs for the guest
    modules: dict[str, str] = Field(min_length=1)  #: file of /hurd to its boot script arguments
    root: RootRecipe


class PreinstalledRecipe(_Recipe):
    """A guest from a disk image that somebody has installed, started by its own boot loader."""

    kind: Literal["preinstalled"]
    download: DownloadRecipe
    disk: DiskRecipe = DiskRecipe()
    offline: OfflineRecipe = OfflineRecipe()
    first_boot: FirstBootRecipe = FirstBootRecipe()
    #: Hurd: the file of the root that the boot loader loads to serve it; `install --root` puts
    #: another in its place
    root_server: str | None = Field(default=None, pattern="^/")

    @model_validator(mode="after")
    def _kernel_of_its_own(self) -> Self:
        if self.boot.cmdline:
            raise ValueError(
                "boot.cmdline does not reach a kernel that the image's own boot loader starts: "
                "change the loader's configuration by offline.change"
            )
        return self


Recipe = ControlRecipe | MultibootRecipe | PreinstalledRecipe | SourceRecipe


#: where recipes live: the folder vm-images/ beside the package
RECIPES = Path(__file__).resolve().parents[2] / "vm-images"


class _Kind(Spec, extra="ignore"):
    """Only what tells the kinds apart, so that errors speak of one kind and not of all."""

    kind: str


_KINDS: dict[str, type[Recipe]] = {
    "linux-control": ControlRecipe,
    "hurd-source": SourceRecipe,
    "multiboot": MultibootRecipe,
    "preinstalled": PreinstalledRecipe,
}


def recipe_path(name: str, folder: Path = RECIPES) -> Path:
    """The recipe file of a guest: a path that ends in .yaml as it is, else vm-images/NAME.yaml."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise UsageError(f"there is no guest {name!r}", hint=f"known guests: {known}")
    return path


def load_recipe(name: str, overrides: dict[str, str] | None = None) -> Recipe:
    """The checked recipe of a guest; `UsageError` names file, line and cure.

    Relative paths in a recipe count from its own folder, those in `overrides` from the current one.
    """
    path = recipe_path(name)
    overrides = {key: _from_here(key, value) for key, value in (overrides or {}).items()}
    kind = load(path, _Kind, overrides).kind
    if kind not in _KINDS:
        raise UsageError(
            f"{path}: kind {kind!r} is unknown", hint=f"known kinds: {', '.join(_KINDS)}"
        )
    recipe: Recipe = _rooted(load(path, _KINDS[kind], overrides), path.absolute().parent)
    return recipe


# What a value of `--set` is a path for, by the last part of its key.
_PATH_KEYS = frozenset({"file", "files", "host_key", "kernel", "key", "overlay", "root_image"})


def _from_here(key: str, value: str) -> str:
    is_path = key.rpartition(".")[2] in _PATH_KEYS and value
    return str(Path(value).expanduser().absolute()) if is_path else value


def _rooted(value: Any, base: Path) -> Any:
    """`value` with every relative path in it made absolute, counted from `base`.

    A model with a field `files` moves the base for all that is inside it.
    """
    if isinstance(value, Path):
        return base / value.expanduser()
    if isinstance(value, Spec):
        inside = getattr(value, "files", None)
        base = base / inside.expanduser() if inside else base
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return value.model_copy(update={k: _rooted(v, base) for k, v in fields.items()})
    if isinstance(value, dict):
        return {key: _rooted(item, base) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_rooted(item, base) for item in value)
    return value
