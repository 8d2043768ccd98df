"""One QEMU and its bad days, with guests of a hundred bytes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.deadline import Deadline
from harness.errors import GuestError, InfraError
from harness.machine.accel import TCG, choose_accel
from harness.machine.conditions import Condition, ConditionError
from harness.machine.faults import DiskFault, blkdebug, failed, heal, inject
from harness.machine.proofs import Proofs
from harness.machine.qemu import Ending, Machine
from harness.machine.spec import DiskSpec
from harness.rundir import RunDir
from tests.tools.tiny_guest import ECHO, HALT, REBOOT, tiny_kernel, tiny_spec

pytestmark = pytest.mark.tools


@pytest.fixture
def rundir(tmp_path: Path) -> Iterator[RunDir]:
    with RunDir(tmp_path / "out", base=tmp_path / "s") as folders:
        yield folders


def kernel(tmp_path: Path, text: bytes = b"hello\r\nhurd# ", end: bytes = HALT) -> Path:
    return tiny_kernel(tmp_path / "kernel", text, end)


def soon() -> Deadline:
    return Deadline.after(20)


def raw_disk(path: Path) -> DiskSpec:
    path.write_bytes(bytes(1 << 20))
    return DiskSpec("crash", path, "raw", "ide")


def test_not_a_word_of_the_console_is_lost(rundir: RunDir, tmp_path: Path) -> None:
    with Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine:
        assert machine.console.expect(b"hurd# ", soon(), "a prompt") == (b"hello\r\n", b"hurd# ")
        assert machine.console_log.read_bytes() == b"hello\r\nhurd# "
        assert machine.qmp.status() == "running"
        assert machine.ending is None and not machine.powered_off()
    assert machine.ending is Ending.QUIT


def test_text_that_is_longer_than_the_window_is_searched_whole(
    rundir: RunDir, tmp_path: Path
) -> None:
    text = b"x" * 5000 + b"needle" + b"y" * 9000 + b"hurd# "
    with Machine(tiny_spec(kernel(tmp_path, text)), rundir, TCG) as machine:
        before, _ = machine.console.expect(b"needle", soon(), "a needle")
        assert before == b"x" * 5000
        before, _ = machine.console.expect(b"hurd# ", soon(), "a prompt")
        assert before == b"y" * 9000


def test_a_kill_is_known_as_ours(rundir: RunDir, tmp_path: Path) -> None:
    with Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine:
        machine.kill()
        assert machine.ending is Ending.KILLED
        machine.raise_if_gone()
        assert not psutil.pid_exists(machine.pid)


def test_an_orderly_end_is_no_kill(rundir: RunDir, tmp_path: Path) -> None:
    with Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine:
        machine.quit()
        assert machine.ending is Ending.QUIT
        machine.kill()
        assert machine.ending is Ending.QUIT


def test_a_panic_is_found_while_waiting_for_something_else(rundir: RunDir, tmp_path: Path) -> None:
    text = b"booting\r\npanic: no root\r\n" + b"trace\r\n" * 900
    with (
        Machine(tiny_spec(kernel(tmp_path, text)), rundir, TCG) as machine,
        pytest.raises(ConditionError, match="panic: no root") as caught,
    ):
        machine.console.expect(b"hurd# ", soon(), "a prompt")
    assert caught.value.condition is Condition.PANIC
    # The log may have some characters twice (see console.py), but it has the whole trace.
    assert machine.console_log.stat().st_size >= len(text)
    assert caught.value.console.count("trace") >= 35
    assert str(machine.console_log) in (caught.value.hint or "")


def test_a_reboot_ends_qemu_and_is_told_from_a_hang(rundir: RunDir, tmp_path: Path) -> None:
    spec = tiny_spec(kernel(tmp_path, b"booting\r\n", REBOOT))
    with (
        Machine(spec, rundir, TCG) as machine,
        pytest.raises(ConditionError, match="rebooted by itself") as caught,
    ):
        machine.console.expect(b"hurd# ", soon(), "a prompt")
    assert caught.value.condition is Condition.REBOOT
    assert machine.ending is Ending.REBOOTED
    with pytest.raises(GuestError, match="rebooted"):
        machine.kill()


def test_a_guest_that_says_nothing_is_a_hang_and_qemu_is_asked(
    rundir: RunDir, tmp_path: Path
) -> None:
    with Machine(tiny_spec(kernel(tmp_path, b"booting")), rundir, TCG) as machine:
        with pytest.raises(ConditionError) as caught:
            machine.console.expect(b"hurd# ", Deadline.after(0.3), "a prompt")
        assert caught.value.condition is Condition.HANG
        assert "a prompt did not come in time" in str(caught.value)
        assert "says that the guest is running" in machine.alive()


def test_a_qemu_that_is_stopped_is_not_waited_for_for_ever(rundir: RunDir, tmp_path: Path) -> None:
    with Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine:
        os.kill(machine.pid, signal.SIGSTOP)
        with pytest.raises(InfraError, match="did not answer query-status"):
            machine.qmp.execute("query-status", timeout=0.3)
        machine.kill()


def test_a_qemu_that_dies_is_the_hosts_fault(rundir: RunDir, tmp_path: Path) -> None:
    with (
        Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine,
        pytest.raises(InfraError, match="signal SIGSEGV") as caught,
    ):
        machine.console.expect(b"hurd# ", soon(), "a prompt")
        os.kill(machine.pid, signal.SIGSEGV)
        machine.console.watch(20)
    assert not isinstance(caught.value, GuestError)
    assert "qemu-system-i386" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("change", "said", "cure"),
    [
        ({"nic": "e1001"}, "e1001", "mend machine.nic"),
        ({"cpu": "pentium9"}, "pentium9", "mend machine.cpu"),
        ({"machine": "pdp11"}, "unsupported machine", "mend machine.machine"),
    ],
)
def test_a_qemu_that_refuses_says_why_and_how_to_try_it(
    rundir: RunDir, tmp_path: Path, change: dict[str, str], said: str, cure: str
) -> None:
    spec = replace(tiny_spec(kernel(tmp_path)), **change)  # type: ignore[arg-type]
    with pytest.raises(InfraError, match="exit code 1") as caught, Machine(spec, rundir, TCG):
        pass
    hint = caught.value.hint or ""
    assert said in str(caught.value) and cure in hint
    command = hint.split("by hand: ")[1]
    again = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    assert again.returncode == 1 and said in again.stderr


def test_what_is_missing_is_named_before_qemu_starts(rundir: RunDir, tmp_path: Path) -> None:
    disk = DiskSpec("crash", tmp_path / "gone.raw", "raw", "ide")
    for spec in (tiny_spec(kernel(tmp_path), disk), tiny_spec(tmp_path / "gone")):
        with pytest.raises(InfraError, match=r"gone.* is missing"):
            Machine(spec, rundir, TCG).__enter__()


def test_a_disk_that_another_qemu_uses_is_said_to_be_locked(rundir: RunDir, tmp_path: Path) -> None:
    spec = tiny_spec(kernel(tmp_path), raw_disk(tmp_path / "disk,1.raw"))
    with Machine(spec, rundir, TCG, name="first") as first:
        with (
            pytest.raises(InfraError, match="lock") as caught,
            Machine(spec, rundir, TCG, name="second"),
        ):
            pass
        assert "another QEMU uses the disk" in (caught.value.hint or "")
        assert first.qmp.status() == "running"
        assert first.qmp.blockstats("crash").writes == 0
        with pytest.raises(InfraError, match="no disk 'root'"):
            first.qmp.blockstats("root")


def test_two_machines_of_one_run_need_two_names(rundir: RunDir, tmp_path: Path) -> None:
    spec = tiny_spec(kernel(tmp_path))
    with (
        Machine(spec, rundir, TCG),
        Machine(spec, rundir, TCG, name="other"),
        pytest.raises(InfraError, match=r"taken"),
        Machine(spec, rundir, TCG),
    ):
        pass


def test_the_kernel_chooses_the_ssh_port(rundir: RunDir, tmp_path: Path) -> None:
    spec = tiny_spec(kernel(tmp_path), nic="e1000")
    with Machine(spec, rundir, TCG, "a") as one, Machine(spec, rundir, TCG, "b") as other:
        assert one.ssh_port and other.ssh_port and one.ssh_port != other.ssh_port


def test_no_socket_or_process_is_left(rundir: RunDir, tmp_path: Path) -> None:
    with Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine:
        assert machine.console_socket.is_socket()
    assert not psutil.pid_exists(machine.pid)
    assert not list(rundir.scratch.glob("qemu.*"))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_qemu_dies_with_whoever_waits_for_it(tmp_path: Path, sign: signal.Signals) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from harness.machine.accel import TCG\n"
        "from harness.machine.qemu import Machine\n"
        "from harness.rundir import RunDir\n"
        "from tests.tools.tiny_guest import tiny_spec\n"
        "here = Path(sys.argv[1])\n"
        "with RunDir(here / 'out', base=here / 's') as rundir:\n"
        "    with Machine(tiny_spec(here / 'kernel'), rundir, TCG) as machine:\n"
        "        print(machine.pid, flush=True)\n"
        "        machine.console.watch(60)\n"
    )
    kernel(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    qemu = psutil.Process(int(child.stdout.readline()))
    child.send_signal(sign)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == -sign, errors
    psutil.wait_procs([qemu], timeout=10)
    assert not qemu.is_running() or qemu.status() == psutil.STATUS_ZOMBIE


def test_kvm_is_believed_only_when_the_guest_speaks(
    rundir: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HURDLE_CACHE", str(tmp_path / "cache"))
    accel = choose_accel("auto", tiny_spec(kernel(tmp_path, b"some words")), rundir)
    again = choose_accel("auto", tiny_spec(tmp_path / "kernel"), rundir)
    assert accel == again and accel.reason
    if accel.name == "kvm":
        assert 0 < accel.time_scale <= 1
        # The same KVM with a kernel that never says a word must not be believed.
        mute = tiny_spec(tiny_kernel(tmp_path / "mute", b""))
        assert choose_accel("auto", mute, rundir).name == "tcg"
    else:
        assert accel.time_scale == 1 and "no KVM: " in accel.reason
        with pytest.raises(InfraError, match="KVM can't run this guest"):
            choose_accel("kvm", tiny_spec(tmp_path / "kernel"), rundir)
    assert choose_accel("tcg", tiny_spec(tmp_path / "kernel"), rundir) is TCG
    for proof in Proofs(tmp_path / "cache").all().values():
        assert (proof.obstacle is None) == (accel.name == "kvm") or "nothing within" in str(proof)


def logged_disk(folder: Path, name: str) -> DiskSpec:
    log = folder / f"{name}.log"
    log.write_bytes(b"")
    return replace(raw_disk(folder / f"{name}.raw"), log=log)


def test_a_saved_machine_goes_on_where_it_stood_with_another_disk(
    rundir: RunDir, tmp_path: Path
) -> None:
    loaded, state = kernel(tmp_path, end=ECHO), tmp_path / "it's a state"
    spec = tiny_spec(loaded, raw_disk(tmp_path / "blank.raw"))
    with Machine(spec, rundir, TCG, name="first") as machine:
        machine.console.expect(b"hurd# ", soon(), "a prompt")
        machine.save(state)
        machine.quit()
    spec = tiny_spec(loaded, logged_disk(tmp_path, "crash"))
    for name in ("second", "third"):
        with Machine(replace(spec, incoming=state), rundir, TCG, name=name) as machine:
            assert machine.qmp.status() == "running"
            machine.console.send(b"x")
            assert machine.console.expect(b"x", soon(), "an echo") == (b"", b"x")
            machine.kill()
        assert machine.ending is Ending.KILLED


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_state_that_does_not_load_is_a_failed_start(
    rundir: RunDir, tmp_path: Path, damage: str
) -> None:
    loaded, state = kernel(tmp_path), tmp_path / "state"
    with Machine(tiny_spec(loaded), rundir, TCG, name="first") as machine:
        machine.console.expect(b"hurd# ", soon(), "a prompt")
        machine.save(state)
    good = state.read_bytes()
    state.write_bytes(good[: len(good) // 2] if damage == "cut" else good[:4] + b"\xff" * 99)
    spec = replace(tiny_spec(loaded), incoming=state)
    with pytest.raises(InfraError), Machine(spec, rundir, TCG, name="second"):
        pass


def test_a_state_that_can_t_be_written_is_no_state(rundir: RunDir, tmp_path: Path) -> None:
    with (
        Machine(tiny_spec(kernel(tmp_path)), rundir, TCG) as machine,
        pytest.raises(InfraError, match="can't save"),
    ):
        machine.save(tmp_path / "no such folder" / "state")


def test_each_machine_has_a_blank_disk_of_its_own(rundir: RunDir, tmp_path: Path) -> None:
    blank = DiskSpec("transfer", Path("transfer"), "raw", "ide", blank=1 << 20, slot=3)
    with Machine(tiny_spec(kernel(tmp_path), blank), rundir, TCG, name="m") as machine:
        disk = machine.disk("transfer")
        assert disk is not None and disk.path.parent == rundir.scratch
        assert disk.path.stat().st_size == 1 << 20
        assert machine.disk("crash") is None
        assert machine.qmp.blockstats("transfer").writes == 0


def test_a_disk_fails_as_told_and_is_healed(rundir: RunDir, tmp_path: Path) -> None:
    disk = replace(raw_disk(tmp_path / "disk.raw"), log=tmp_path / "w.log", fallible=True)
    (tmp_path / "w.log").touch()
    with Machine(tiny_spec(kernel(tmp_path), disk), rundir, TCG) as machine:
        for fault in (DiskFault("write"), DiskFault("flush", "ENOSPC", after=3, count=2)):
            inject(machine.qmp, disk.name, fault)
            assert failed(machine.qmp, disk.name).all == 0  # nothing was asked of it
            heal(machine.qmp, disk.name)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (DiskFault("write", "EIO"), "EEEEE"),
        (DiskFault("write", "ENOSPC", after=2), "..NNN"),
        (DiskFault("write", "EIO", after=1, count=2), ".EE.."),
        (DiskFault("read", "EIO"), "....."),
        (DiskFault("write", "EIO", sectors=(8, 24)), ".E.E."),
        (DiskFault("write", "EIO", after=2, sectors=(8, 24)), "...E."),
    ],
)
def test_blkdebug_takes_the_rules_as_they_are_meant(
    tmp_path: Path, fault: DiskFault, said: str
) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(1 << 20)
    node = {k: v for k, v in blkdebug(fault, "x").items() if k != "node-name"}
    node["image"] = {"driver": "file", "filename": str(disk)}
    image = "json:" + json.dumps({"driver": "raw", "file": node})
    writes = [word for n in range(5) for word in ("-c", f"write {n * 4096} 4096")]
    done = subprocess.run(["qemu-io", *writes, image], capture_output=True, text=True, timeout=60)
    words = {"wrote": ".", "Input/output": "E", "No space": "N"}
    lines = (done.stdout + done.stderr).splitlines()
    found = [mark for line in lines for word, mark in words.items() if word in line]
    assert "".join(sorted(found)) == "".join(sorted(said))
    assert [mark for mark in found if mark != "."] == [mark for mark in said if mark != "."]
