"""What is kept of KVM: for how long, for what, and when it is looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InfraError
from harness.images.image import BootFiles
from harness.machine import accel
from harness.machine.accel import choose_accel
from harness.machine.proofs import Proofs, proof_key
from harness.machine.spec import DiskSpec, MachineSpec
from harness.rundir import RunDir


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    (tmp_path / "kernel").write_bytes(b"a kernel")
    boot = BootFiles(tmp_path / "kernel", "")
    return MachineSpec("i386", "pc", "pentium3-v1", 64, boot, (), None)


@pytest.fixture
def rundir(tmp_path: Path) -> Iterator[RunDir]:
    with RunDir(tmp_path / "out", base=tmp_path / "s") as made:
        yield made


class Trials:
    """In place of QEMU, which not every host can start with KVM: what it finds, and how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.count = 0
        self.finds: str | InfraError | None = None
        device = folder / "kvm"
        device.touch()
        monkeypatch.setenv("HURDLE_CACHE", str(folder / "cache"))
        monkeypatch.setattr(accel, "_KVM", device)
        monkeypatch.setattr(accel, "kvm_obstacle", lambda: None)
        monkeypatch.setattr(accel, "_prove", self._prove)
        self._patch = monkeypatch
        self.new_process()

    def _prove(self, spec: MachineSpec, rundir: RunDir) -> str | None:
        self.count += 1
        if isinstance(self.finds, InfraError):
            raise self.finds
        return self.finds

    def new_process(self) -> None:
        self._patch.setattr(accel, "_proved", {})


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trials:
    return Trials(monkeypatch, tmp_path)


@pytest.mark.parametrize("finds", [None, "it prints nothing"])
def test_the_next_command_does_not_try_again(
    trials: Trials, spec: MachineSpec, rundir: RunDir, finds: str | None
) -> None:
    trials.finds = finds
    first = choose_accel("auto", spec, rundir)
    trials.new_process()
    again = choose_accel("auto", spec, rundir)
    assert trials.count == 1
    assert first.name == again.name == ("tcg" if finds else "kvm")
    if finds:
        assert finds in again.reason and "machine.accel=kvm looks again" in again.reason


def test_who_insists_on_kvm_has_it_tried_again_and_kept(
    trials: Trials, spec: MachineSpec, rundir: RunDir
) -> None:
    trials.finds = "the host was busy"
    assert choose_accel("auto", spec, rundir).name == "tcg"
    trials.finds = None
    for wanted in ("kvm", "auto"):
        trials.new_process()
        assert choose_accel(wanted, spec, rundir).name == "kvm"
    assert trials.count == 2


def test_a_qemu_that_does_not_start_says_nothing_of_the_kernel(
    trials: Trials, spec: MachineSpec, rundir: RunDir
) -> None:
    trials.finds = InfraError("Cannot allocate memory")
    reason = choose_accel("auto", spec, rundir).reason
    assert "QEMU does not run under KVM" in reason and "Cannot allocate memory" in reason
    trials.new_process()
    trials.finds = None
    assert choose_accel("auto", spec, rundir).name == "kvm"


def test_a_proof_holds_for_one_boot_of_the_host(tmp_path: Path) -> None:
    Proofs(tmp_path, "one").keep("key", "an obstacle")
    assert Proofs(tmp_path, "one").all()["key"].obstacle == "an obstacle"
    assert not Proofs(tmp_path, "two").all()
    Proofs(tmp_path, "two").keep("other", None)
    assert not Proofs(tmp_path, "one").all()  # of a boot that does not come back
    Proofs(tmp_path, "").keep("key", None)  # a kernel that tells no boots apart
    assert not Proofs(tmp_path, "").all()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": {"boot": 1}}', "\xff"])
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "kvm.json").write_bytes(text.encode("latin-1"))
    assert not Proofs(tmp_path, "one").all()
    Proofs(tmp_path, "one").keep("key", None)
    assert list(Proofs(tmp_path, "one").all()) == ["key"]


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Proofs(tmp_path / "file", "one").keep("key", None)
    assert not Proofs(tmp_path / "file", "one").all()


def test_writers_at_once_leave_a_whole_file_of_bounded_size(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path, "one")

    def write(name: int) -> None:
        for number in range(20):
            proofs.keep(f"{name}-{number}", None)
            assert proofs.all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert 1 <= len(proofs.all()) <= 50
    assert [path.name for path in tmp_path.iterdir()] == ["kvm.json"]


def test_the_same_kernel_in_a_new_image_needs_no_new_proof(
    spec: MachineSpec, tmp_path: Path
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    key = proof_key(spec, device)
    (tmp_path / "image").mkdir()
    copy = tmp_path / "image" / "gnumach"
    copy.write_bytes(b"a kernel")
    assert proof_key(replace(spec, boot=BootFiles(copy, "root=device:hd0")), device) == key
    copy.write_bytes(b"b kernel")
    assert proof_key(replace(spec, boot=BootFiles(copy, "")), device) != key


def test_another_machine_device_or_disk_needs_a_new_proof(
    spec: MachineSpec, tmp_path: Path
) -> None:
    device, other = tmp_path / "kvm", tmp_path / "kvm-loaded-again"
    device.touch()
    other.touch()
    disk = tmp_path / "root.raw"
    disk.write_bytes(bytes(10))
    from_disk = replace(
        spec, boot=BootFiles(None, ""), disks=(DiskSpec("root", disk, "raw", "ide"),)
    )
    keys = [
        proof_key(spec, device),
        proof_key(spec, other),
        proof_key(replace(spec, cpu="host"), device),
        proof_key(replace(spec, machine="q35"), device),
        proof_key(replace(spec, arch="x86_64"), device),
        proof_key(from_disk, device),
    ]
    disk.write_bytes(bytes(11))
    keys.append(proof_key(from_disk, device))
    assert len(set(keys)) == len(keys)
