"""A connection to the guest's SSH server over a serial line, for kernels without a network driver.

In the guest `serial-relay` (vm-images/hurd-source/src) joins the line with the server; its head has
the table of codes that both ends speak.  Here a thread joins the line with one end of a socket
pair; the other end is what an SSH client is given.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.deadline import Deadline
from harness.errors import InfraError
from harness.guest.command import Watch

DLE, ESC, FLIP = 0x7D, 0x1B, 0x20
WINDOW, CREDIT = 1984, 496  # bytes: under way at most; passed on with each acknowledgement
_READ = 64 << 10
_ROOM = 1 << 20  # bytes that wait for a slow reader before the guest has to
_ANSWER_SECONDS = 2.0  # one try: a relay that runs answers in 50 ms under TCG
_END_SECONDS = 5.0


def pack(data: bytes) -> bytes:
    """`data` without the two bytes that must not be sent as themselves."""
    for byte in (DLE, ESC):  # DLE first: the other's code begins with it
        data = data.replace(bytes([byte]), bytes([DLE, byte ^ FLIP]))
    return data


class Code(NamedTuple):
    """What the guest's end says of itself: A, C, N or R; `number` is the connection's, or 0."""

    name: str
    number: int = 0


class Unpacker:
    """Tells data and codes apart in what comes from the guest, in pieces of any size."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, raw: bytes) -> Iterator[bytes | Code]:
        """Data and codes in `raw`, in order; the beginning of a code waits for the next call."""
        raw = self._held + raw
        at, plain = 0, bytearray()
        while at < len(raw):
            mark = raw.find(DLE, at)
            plain += raw[at : mark if mark >= 0 else len(raw)]
            if mark < 0:
                at = len(raw)
                break
            size = _code_size(raw[mark + 1 : mark + 2])
            if mark + size > len(raw):
                at = mark
                break
            at, kind = mark + size, raw[mark + 1]
            if chr(kind) not in "ACNR":
                plain.append(kind ^ FLIP)
                continue
            if plain:
                yield bytes(plain)
                plain.clear()
            yield Code(chr(kind), raw[mark + 2] if size == 3 else 0)
        self._held = raw[at:]
        if plain:
            yield bytes(plain)


def _code_size(kind: bytes) -> int:
    """Bytes of a code, DLE included; `kind` is empty while its second byte is under way."""
    return 3 if kind in (b"N", b"R") else 2


class Relay:
    """The host's end of the line; `path` is the unix socket of QEMU's serial port."""

    def __init__(self, path: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._line.connect(os.fspath(path))
        except OSError as exc:
            self._line.close()
            raise InfraError(
                f"can't connect to the serial line {path}: {exc.strerror}",
                hint="QEMU makes it when it starts; its output is in the run's logs",
            ) from exc
        self._number = 0
        self._pump: _Pump | None = None

    def dial(self, watch: Watch) -> socket.socket:
        """A connection to the guest's server, in place of the one there was.

        Raises `OSError` when the relay in the guest does not answer (yet) or gets no connection.
        """
        self._end_pump()
        self._number = self._number % 255 + 1
        self._line.setblocking(True)
        self._line.settimeout(_ANSWER_SECONDS)
        # The first two end what an earlier connection may have left half said.
        self._line.sendall(bytes([DLE, ord("C"), DLE, ord("O"), self._number]))
        left = self._answer(Deadline.after(_ANSWER_SECONDS), watch)
        ours, theirs = socket.socketpair()
        self._pump = _Pump(self._line, theirs, left)
        self._pump.start()
        return ours

    def _answer(self, deadline: Deadline, watch: Watch) -> bytes:
        """Wait for this connection's R; the data that came right behind it."""
        unpacker, found, left = Unpacker(), False, bytearray()
        while not found:
            if self._line.fileno() not in watch(deadline.remaining, [self._line.fileno()]):
                if deadline.expired:
                    raise TimeoutError("the relay in the guest does not answer")
                continue
            raw = self._line.recv(_READ)
            if not raw:
                raise ConnectionError("QEMU closed the serial line")
            for part in unpacker.feed(raw):
                if isinstance(part, bytes):
                    left += part if found else b""
                elif part == Code("N", self._number):
                    raise ConnectionRefusedError("the guest has no SSH server yet")
                elif part == Code("R", self._number):
                    found = True
        return bytes(left)

    def _end_pump(self) -> None:
        if self._pump is not None:
            self._pump.end()
            self._pump = None

    def close(self) -> None:
        """Hang up and end the thread."""
        self._end_pump()
        self._line.close()


@dataclass
class _Flow:
    """What is under way in both directions."""

    to_line: bytearray
    to_local: bytearray
    credit: int = WINDOW
    ended: bool = False  #: one side has closed; what is still to be sent is sent


class _Pump(threading.Thread):
    """Carries one connection until either end closes it."""

    def __init__(self, line: socket.socket, local: socket.socket, first: bytes) -> None:
        super().__init__(name="serial-relay", daemon=True)
        self._line, self._local = line, local
        self._flow = _Flow(bytearray(), bytearray(first))
        self._unpacker = Unpacker()

    def end(self) -> None:
        """Hang up, whoever still holds the other end of the pair."""
        with suppress(OSError):
            self._local.shutdown(socket.SHUT_RDWR)
        self.join(_END_SECONDS)

    def run(self) -> None:
        self._line.setblocking(False)
        self._local.setblocking(False)
        try:
            while not self._flow.ended or self._flow.to_line or self._flow.to_local:
                self._step()
        except OSError:
            pass  # QEMU is gone, or our client: the other one sees the end of the stream
        finally:
            self._local.close()

    def _step(self) -> None:
        flow, line, local = self._flow, self._line, self._local
        reading = [line] if len(flow.to_local) < _ROOM and not flow.ended else []
        if flow.credit > 0 and not flow.ended:
            reading.append(local)
        writing = [line] if flow.to_line else []
        if flow.to_local:
            writing.append(local)
        readable, writable, _ = select.select(reading, writing, [], _END_SECONDS)
        if local in readable:
            self._from_local()
        if line in readable:
            self._from_line()
        if line in writable:
            del flow.to_line[: line.send(flow.to_line)]
        if local in writable:
            del flow.to_local[: local.send(flow.to_local)]
        if flow.ended and not (readable or writable):
            raise TimeoutError

    def _from_local(self) -> None:
        flow = self._flow
        data = self._local.recv(flow.credit)
        flow.credit -= len(data)
        flow.to_line += pack(data)
        if not data:
            flow.to_line += bytes([DLE, ord("C")])
            flow.to_local.clear()
            flow.ended = True

    def _from_line(self) -> None:
        flow = self._flow
        raw = self._line.recv(_READ)
        if not raw:
            flow.ended = True
        for part in self._unpacker.feed(raw):
            if isinstance(part, bytes):
                flow.to_local += part
            elif part.name == "A":
                flow.credit += CREDIT
            elif part.name == "C":
                flow.to_line.clear()
                flow.ended = True
