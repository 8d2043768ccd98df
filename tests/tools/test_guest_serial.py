"""SSH's way over a serial line: the guest's program, built for the host, behind a line of ours."""

from __future__ import annotations

import os
import pty
import random
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.guest.relay import Relay

pytestmark = pytest.mark.tools

SOURCE = Path(__file__).resolve().parents[2] / "vm-images/hurd-source/src"
CC = ("gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")


def watch(seconds: float, others: Iterable[int] = ()) -> list[int]:
    return select.select(list(others), [], [], seconds)[0]


@pytest.fixture(scope="module")
def relay_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("relay") / "serial-relay"
    subprocess.run([*CC, "-o", program, SOURCE / "serial-relay.c"], check=True)
    return program


def like_gnumach(data: bytes) -> bytes:
    """What its serial driver makes of what it reads at once: of ESCs in a row one is lost."""
    return data.replace(b"\x1b\x1b", b"\x1b")


@contextmanager
def serial_line(path: Path, master: int) -> Iterator[None]:
    """QEMU's part: a unix socket on one side, the guest's terminal on the other."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(os.fspath(path))
        listener.listen(1)

        def carry() -> None:
            with suppress(OSError), listener.accept()[0] as host:
                while True:
                    ready = watch(60, [host.fileno(), master])
                    if host.fileno() in ready:
                        data = host.recv(14)
                        if not data:
                            return
                        os.write(master, like_gnumach(data))
                    if master in ready:
                        host.sendall(os.read(master, 4096))

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        yield
        thread.join(5)


@contextmanager
def echo_server() -> Iterator[int]:
    """A server that sends back what it gets and ends at the byte `.` alone; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    threading.Thread(target=echo, args=(connection,), daemon=True).start()

        def echo(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while (data := connection.recv(4096)) not in (b"", b"."):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@contextmanager
def line_to(program: Path, port: int, folder: Path) -> Iterator[Relay]:
    master, slave = pty.openpty()
    with ExitStack() as stack:
        stack.callback(os.close, master)
        guest = subprocess.Popen([program, os.ttyname(slave), str(port)])
        stack.callback(guest.wait)
        stack.callback(guest.kill)
        stack.callback(os.close, slave)
        time.sleep(0.2)  # until the line is raw: an echo would look like the guest's words
        stack.enter_context(serial_line(folder / "line", master))
        relay = Relay(folder / "line")
        stack.callback(relay.close)
        yield relay


def dial(relay: Relay) -> socket.socket:
    deadline = Deadline.after(20)
    while True:
        try:
            return relay.dial(watch)
        except TimeoutError:
            assert not deadline.expired


def exchange(connection: socket.socket, data: bytes) -> bytes:
    sender = threading.Thread(target=connection.sendall, args=(data,), daemon=True)
    sender.start()
    connection.settimeout(60)
    back = bytearray()
    while len(back) < len(data):
        part = connection.recv(65536)
        if not part:
            break
        back += part
    sender.join(5)
    return bytes(back)


def test_any_bytes_go_both_ways_and_connections_follow_each_other(
    relay_program: Path, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(60_000) + b"\x1b" * 3000 + b"}" * 3000 + bytes(range(256))
    with echo_server() as port, line_to(relay_program, port, tmp_path) as relay:
        for _ in range(3):
            with dial(relay) as connection:
                assert exchange(connection, data) == data
        with dial(relay) as connection:
            connection.sendall(b".")
            connection.settimeout(20)
            assert connection.recv(10) == b""  # the server's end reaches us


def test_a_connection_that_is_replaced_leaves_nothing_in_the_next_one(
    relay_program: Path, tmp_path: Path
) -> None:
    with echo_server() as port, line_to(relay_program, port, tmp_path) as relay:
        first = dial(relay)
        first.sendall(b"x" * 100_000)  # its answer is under way when it is given up
        with dial(relay) as connection:
            assert exchange(connection, b"hello") == b"hello"
        first.close()


def test_a_guest_without_a_server_refuses(relay_program: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        line_to(relay_program, port, tmp_path) as relay,
        pytest.raises(ConnectionRefusedError, match="no SSH server"),
    ):
        relay.dial(watch)


def test_a_line_on_which_nobody_answers_is_given_up(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with ExitStack() as stack:
        stack.callback(os.close, master)
        stack.callback(os.close, slave)
        stack.enter_context(serial_line(tmp_path / "line", master))
        relay = Relay(tmp_path / "line")
        stack.callback(relay.close)
        with pytest.raises(TimeoutError, match="does not answer"):
            relay.dial(lambda seconds, others=(): watch(min(seconds, 0.3), others))


_CHECK = r"""
#include "pool.h"
#include <stdio.h>
#include <string.h>

int main (void)
{
  unsigned char key[32], nonce[12] = { 0, 0, 0, 9, 0, 0, 0, 0x4a }, out[64];
  struct pool a = { { 1 } }, b = { { 1 } };
  unsigned char from_a[100], from_b[100];

  for (int i = 0; i < 32; i++)
    key[i] = i;
  chacha20_block (out, key, 1, nonce);
  for (int i = 0; i < 64; i++)
    printf ("%02x", out[i]);
  pool_read (&a, from_a, sizeof from_a);
  pool_read (&b, from_b, sizeof from_b);
  printf (" %d", !memcmp (from_a, from_b, sizeof from_a));
  pool_read (&a, from_a, sizeof from_a);
  printf (" %d", !memcmp (from_a, from_b, sizeof from_a));
  pool_mix (&b, "x", 1);
  pool_read (&b, from_b, sizeof from_b);
  printf (" %d\n", !memcmp (from_a, from_b, sizeof from_a));
}
"""


def test_the_guest_s_random_numbers_are_chacha20_s(tmp_path: Path) -> None:
    (tmp_path / "check.c").write_text(_CHECK)
    program = tmp_path / "check"
    subprocess.run(
        [*CC, "-I", SOURCE, "-o", program, tmp_path / "check.c", SOURCE / "pool.c"], check=True
    )
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == (  # RFC 8439, section 2.3.2
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    assert said[1:] == ["1", "0", "0"]  # same key, same bytes; new at each read; mixing counts
