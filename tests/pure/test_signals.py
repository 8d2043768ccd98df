"""A signal ends hurdle at any moment but in the middle of cleaning up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from harness.process import Service
from harness.signals import Stopped, held, stopping


def test_a_signal_becomes_one_exception_and_later_ones_are_ignored() -> None:
    with pytest.raises(Stopped, match="SIGTERM") as caught, stopping():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_while_held_comes_at_the_end() -> None:
    done = []
    with pytest.raises(Stopped, match="SIGINT"), stopping():
        with held():
            with held():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("never")
    assert done == ["inner", "outer"]


def test_a_signal_while_a_service_is_ended_leaves_none(tmp_path: Path) -> None:
    """The signal comes in the grace that a deaf program gets: SIGKILL has to follow still."""
    deaf = "import signal, time; signal.signal(15, 1); print('deaf', flush=True); time.sleep(60)"
    service = Service([sys.executable, "-c", deaf], log=tmp_path / "log", grace=1.0)
    with pytest.raises(Stopped), stopping(), service:
        while "deaf" not in service.output():
            service.wait(0.01)
        child = psutil.Process(service.pid)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert not child.is_running()


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_goes_away_ends_the_command_as_a_shell_expects() -> None:
    """Not with 1, which says that a verdict differs."""
    talk = (
        "import sys\n"
        "from harness.signals import Stopped\n"
        "from harness.terminal import Terminal\n"
        "try:\n"
        "    Terminal().print('x')\n"
        "except Stopped as stop:\n"
        "    print('the end', file=sys.stderr)\n"
        "    sys.exit(int(stop.exit_code))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", talk], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "the end\n")
