"""SSH against a real server of our own, without a guest."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.deadline import Deadline
from harness.errors import GuestError, UsageError
from harness.guest.ssh import (
    BannerMissing,
    Ssh,
    by_port,
    connect_when_ready,
    load_host_key,
    wait_for_banner,
)
from harness.images.image import SshKeys
from harness.machine.conditions import Condition, ConditionError

pytestmark = pytest.mark.tools


def watch(seconds: float, others: Iterable[int] = (), /) -> list[int]:
    """A console on which nothing happens."""
    return select.select(list(others), [], [], seconds)[0]


def make_key(path: Path) -> paramiko.PKey:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    path.write_bytes(private)
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    )
    return paramiko.PKey.from_path(path)


class Server(paramiko.ServerInterface):
    """Runs `COMMAND` as the guest's shell would: `exit N`, `say`, `hang`."""

    def __init__(self, host: paramiko.PKey, user: paramiko.PKey) -> None:
        self._user = user
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._host = host
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connected)
            transport.add_server_key(self._host)
            self._transports.append(transport)
            try:
                transport.start_server(server=self)
            except (paramiko.SSHException, EOFError):
                continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def hang_up(self) -> None:
        for transport in self._transports:
            transport.close()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == "root" and key == self._user
        return paramiko.common.AUTH_SUCCESSFUL if good else paramiko.common.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        channel.recv(1)  # the client ends its input once it knows that the command was taken
        words = command.split()
        if words[0] == "hang":
            return
        if words[0] == "vanish":
            self.hang_up()
            return
        if words[0] == "say":
            channel.sendall(b"out \xff\r\n" * int(words[1]))
            channel.sendall_stderr(b"err\n")
        channel.send_exit_status(int(words[-1]))
        channel.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    for name in ("host", "user", "other"):
        make_key(made / name)
    return made


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(
        paramiko.PKey.from_path(folder / "host"), paramiko.PKey.from_path(folder / "user")
    )
    yield made
    made.close()


def connect(server: Server, keys: SshKeys, user: str = "root") -> Ssh:
    return Ssh(
        connect_when_ready(lambda: by_port(server.port), Deadline.after(10), watch),
        user,
        keys,
        watch,
    )


def good(folder: Path) -> SshKeys:
    return SshKeys(folder / "user", folder / "host.pub")


def test_a_command_gives_exit_code_and_both_streams(server: Server, folder: Path) -> None:
    with connect(server, good(folder)) as ssh:
        result = ssh.run("say 3000 7", 10)
        assert (result.rc, result.out, result.err) == (7, "out \ufffd\r\n" * 3000, "err\n")
        assert ssh.run("exit 0", 10).rc == 0


def test_another_host_key_is_refused_and_both_are_named(server: Server, folder: Path) -> None:
    with pytest.raises(GuestError, match="another host key") as caught:
        connect(server, SshKeys(folder / "user", folder / "other.pub"))
    shown = load_host_key(folder / "host.pub").fingerprint
    pinned = load_host_key(folder / "other.pub").fingerprint
    assert shown in str(caught.value) and pinned in str(caught.value)
    assert "another machine" in (caught.value.hint or "")


@pytest.mark.parametrize(("key", "user"), [("other", "root"), ("user", "demo")])
def test_a_key_that_is_refused_has_a_cure(
    server: Server, folder: Path, key: str, user: str
) -> None:
    with pytest.raises(GuestError, match=f"refuses the key .* for {user}") as caught:
        connect(server, SshKeys(folder / key, folder / "host.pub"), user)
    assert f"~{user}/.ssh/authorized_keys" in (caught.value.hint or "")


def test_a_command_that_hangs_is_named(server: Server, folder: Path) -> None:
    with connect(server, good(folder)) as ssh:
        with pytest.raises(ConditionError, match="`hang up here` did not end in time") as caught:
            ssh.run("hang up here", 0.5)
        assert caught.value.condition is Condition.HANG


def test_a_server_that_vanishes_is_no_hang(server: Server, folder: Path) -> None:
    with connect(server, good(folder)) as ssh:
        began = time.monotonic()
        with pytest.raises(GuestError, match="broke"):
            ssh.run("vanish now", 60)
        assert time.monotonic() - began < 10
        with pytest.raises(GuestError, match="SSH is down"):
            ssh.run("exit 0", 10)


def test_a_server_without_sftp_is_named(server: Server, folder: Path) -> None:
    with (
        connect(server, good(folder)) as ssh,
        pytest.raises(GuestError, match="no SFTP") as caught,
    ):
        ssh.put(folder / "host.pub", "/tmp/x", timeout=10)
    assert "openssh-sftp-server" in (caught.value.hint or "")


def test_what_the_console_says_goes_before_what_ssh_misses(server: Server, folder: Path) -> None:
    quiet = True

    def panicking(seconds: float, others: Iterable[int] = (), /) -> list[int]:
        if quiet:
            return watch(seconds, others)
        raise ConditionError(Condition.PANIC, "the kernel panicked")

    connected = connect_when_ready(lambda: by_port(server.port), Deadline.after(10), watch)
    with Ssh(connected, "root", good(folder), panicking) as ssh:
        quiet = False
        with pytest.raises(ConditionError) as caught:
            ssh.run("hang", 10)
    assert caught.value.condition is Condition.PANIC


def test_a_port_that_takes_connections_is_no_server() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(ConditionError, match="SSH never came: the connection stands") as caught,
    ):
        connect_when_ready(lambda: by_port(mute.getsockname()[1]), Deadline.after(0.5), watch)
    assert caught.value.condition is Condition.HANG


def test_a_port_that_refuses_is_tried_again_until_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConditionError, match="Connection refused"):
        connect_when_ready(lambda: by_port(port), Deadline.after(0.3), watch)


def test_the_banner_stays_in_the_socket_and_may_come_in_pieces() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"SSH-")
        timer = threading.Timer(0.2, there.sendall, [b"2.0-dropbear\r\n"])
        timer.start()
        wait_for_banner(here, Deadline.after(5), watch)
        assert here.recv(100).startswith(b"SSH-2.0-")
        there.sendall(b"HTTP/1.1 400")
        with pytest.raises(BannerMissing, match="something else"):
            wait_for_banner(here, Deadline.after(5), watch)
        there.close()
        here.recv(100)
        with pytest.raises(BannerMissing, match="closed the connection"):
            wait_for_banner(here, Deadline.after(5), watch)


def test_key_files_that_are_none_are_the_callers_fault(
    server: Server, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "rubbish").write_text("ssh-ed25519 !!!\n")
    for name in (tmp_path / "gone", tmp_path / "rubbish"):
        with pytest.raises(UsageError, match="no public host key"):
            load_host_key(name)
        with pytest.raises(UsageError, match="no usable private key"):
            connect(server, SshKeys(name, folder / "host.pub"))
