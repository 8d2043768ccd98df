"""QEMU's monitor, spoken synchronously: qemu.qmp on an event loop that runs only when asked.

No thread is involved: the kernel kills QEMU when the *thread* that started it ends
(PR_SET_PDEATHSIG), so hurdle starts and drives QEMU from one thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import socket
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError, Runstate
from qemu.qmp.qmp_client import ExecuteError

from harness.deadline import Deadline
from harness.errors import InfraError

T = TypeVar("T")

# Without a handler, logging prints what goes wrong to stderr; it is raised here anyway.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

_POLL = 0.01  # s between two looks at a state that is saved or loaded
_SECONDS = 10.0  # QEMU answers in milliseconds; on a host that swaps it may take seconds


@dataclass(frozen=True)
class BlockStats:
    """What a disk has done so far: numbers of requests, and bytes."""

    reads: int
    writes: int
    flushes: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Shutdown:
    """QEMU's own account of its end: SHUTDOWN of the QMP reference."""

    guest: bool  #: the guest asked for it
    reason: str  #: guest-shutdown, guest-reset, host-qmp-quit, host-signal, ...


class Qmp:
    """The monitor over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("hurdle")
        try:
            self._sync(self._client.connect(connected), _SECONDS)
        except BaseException as exc:
            self._loop.close()
            connected.close()
            # AssertionError: qemu.qmp's own, when QEMU hangs up right after its greeting.
            if isinstance(exc, QMPError | OSError | TimeoutError | AssertionError):
                raise InfraError(f"QEMU hung up its monitor at once: {exc}") from exc
            raise

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = _SECONDS
    ) -> Any:
        """Run a QMP command; its return value.

        Raises `InfraError` when QEMU refuses, does not answer within `timeout` seconds, or is gone.
        """
        try:
            return self._sync(self._client.execute(command, arguments), timeout)
        except ExecuteError as exc:
            asked = json.dumps({"execute": command, "arguments": arguments or {}})
            raise InfraError(f"QEMU refused {command}: {exc}", hint=f"hurdle sent {asked}") from exc
        except TimeoutError as exc:
            raise InfraError(
                f"QEMU did not answer {command} within {timeout:.0f} s",
                hint="QEMU's main loop is stuck, often in I/O: is the host's disk full or failing?",
            ) from exc
        except (QMPError, OSError) as exc:
            raise InfraError(
                f"QEMU's monitor is gone ({command} was not answered)", hint="see QEMU's log"
            ) from exc

    def status(self) -> str:
        """QEMU's run state: running, paused, io-error, shutdown, ...  Raises as `execute`."""
        return str(self.execute("query-status")["status"])

    def migrate(self, target: Path, timeout: float) -> None:
        """Write the machine's state to `target`; `InfraError` if that fails."""
        self.execute("migrate", {"uri": f"exec:cat > {shlex.quote(str(target))}"})
        deadline = Deadline.after(timeout)
        while True:
            said = self.execute("query-migrate")
            if said["status"] == "completed":
                return
            if said["status"] in ("failed", "cancelled") or deadline.expired:
                reason = said.get("error-desc", said["status"])
                raise InfraError(
                    f"QEMU can't save the machine's state: {reason}",
                    hint=f"is there room for it in {target.parent}?",
                )
            time.sleep(_POLL)

    def wait_for_state(self, timeout: float) -> None:
        """Wait until the state that QEMU was started with is loaded; QEMU ends if it can't be."""
        deadline = Deadline.after(timeout)
        while self.status() == "inmigrate":
            if deadline.expired:
                raise InfraError(f"the saved state did not load within {timeout:.0f} s")
            time.sleep(_POLL)

    def blockstats(self, name: str) -> BlockStats:
        """The counters of the disk `name`.  Raises `InfraError` for a disk that there is not."""
        stats = self.stats(name)
        return BlockStats(
            reads=stats["rd_operations"],
            writes=stats["wr_operations"],
            flushes=stats["flush_operations"],
            bytes_read=stats["rd_bytes"],
            bytes_written=stats["wr_bytes"],
        )

    def stats(self, name: str) -> dict[str, Any]:
        """All that QEMU counts of the disk `name`: BlockDeviceStats of the QMP reference."""
        known = []
        for entry in self.execute("query-blockstats"):
            # -drive names the device, -blockdev the node.
            if name in (entry.get("device"), entry.get("node-name")):
                return dict(entry["stats"])
            known.append(entry.get("device") or entry.get("node-name") or "?")
        raise InfraError(f"QEMU has no disk {name!r}", hint=f"it has: {', '.join(known) or 'none'}")

    def ssh_port(self) -> int:
        """The port of 127.0.0.1 that leads to the guest's port 22."""
        text = self.execute("human-monitor-command", {"command-line": "info usernet"})
        return forwarded_port(text)

    def shutdown_event(self) -> Shutdown | None:
        """The last SHUTDOWN event so far, from a QEMU that may be gone by now."""
        if self._loop.is_closed():
            return None
        # What QEMU sent before it closed the socket is still there to be read.
        with suppress(TimeoutError, QMPError, OSError):
            self._sync(self._drain(), 1.0)
        found = None
        for event in self._client.events.history:
            if event.get("event") == "SHUTDOWN":
                data = event["data"]
                assert isinstance(data, dict)
                found = Shutdown(bool(data["guest"]), str(data.get("reason", "")))
        return found

    async def _drain(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    def close(self) -> None:
        """Hang up.  QEMU goes on."""
        if self._loop.is_closed():
            return
        with suppress(Exception):
            self._sync(self._client.disconnect(), 2.0)
        self._loop.close()

    def _sync(self, what: Coroutine[Any, Any, T], timeout: float) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(what, timeout))


def forwarded_port(text: str) -> int:
    """The host's port in the answer of `info usernet`; `InfraError` if nothing is forwarded."""
    found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\s", text)
    if found is None:
        raise InfraError(
            "QEMU forwards no port to the guest's SSH", hint=f"`info usernet` said:\n{text}"
        )
    return int(found[1])
