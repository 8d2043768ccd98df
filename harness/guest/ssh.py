"""Commands and files over SSH, by paramiko.

Keys only, the host key is pinned, nothing of the user's own SSH set-up is read.  Every wait has a
deadline and watches the console and QEMU: TCP never learns that a guest is gone.
"""

from __future__ import annotations

import base64
import logging
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import paramiko

from harness.deadline import Deadline
from harness.errors import GuestError, InfraError, UsageError
from harness.guest.bounded import bounded
from harness.guest.command import CommandResult, Progress, Watch, no_progress
from harness.guest.shell import shorten
from harness.images.image import SshKeys
from harness.machine.conditions import Condition, ConditionError

T = TypeVar("T")

_BANNER_SECONDS = 2.0  # one try; the next one finds a server that came up meanwhile
_HANDSHAKE_SECONDS = 20.0  # 0.5 s under TCG, more on a busy host
_KEEPALIVE_SECONDS = 15
_BY_SIGNAL = 255  # what ssh(1) ends with when the command was killed
_PIECE = 32 << 10

# Without a handler, logging prints paramiko's complaints to stderr; errors raise here anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


#: what paramiko raises when the other side is gone or talks nonsense; time-outs are OSErrors too
_BROKEN = (paramiko.SSHException, OSError, EOFError)


class BannerMissing(Exception):
    """There was a connection, but no SSH server behind it (yet)."""


def load_host_key(path: Path) -> paramiko.PKey:
    """The public key in OpenSSH format that the guest must show.  Raises `UsageError`."""
    try:
        words = path.read_text().split()
        kind, data = words[0], base64.b64decode(words[1])
        return paramiko.PKey.from_type_string(kind, data)
    except (OSError, IndexError, ValueError, paramiko.SSHException) as exc:
        raise UsageError(
            f"{path} holds no public host key: {exc}",
            hint="it should be one line such as `ssh-ed25519 AAAA...`",
        ) from exc


def load_private_key(path: Path) -> paramiko.PKey:
    """The private key that opens the guest; without passphrase.  Raises `UsageError`."""
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException) as exc:
        raise UsageError(
            f"{path} holds no usable private key: {exc}",
            hint="make one with ssh-keygen -t ed25519 -N '' -f KEY",
        ) from exc


def by_port(port: int) -> socket.socket:
    """A connection to 127.0.0.1:`port`, by which QEMU's user network leads into the guest."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def connect_when_ready(
    dial: Callable[[], socket.socket], deadline: Deadline, watch: Watch
) -> socket.socket:
    """A connection made by `dial` behind which an SSH server has said its banner.

    QEMU's user network takes the connection whether or not the guest has a server, so only the
    banner counts.  Raises `ConditionError` (HANG) if it never comes; what `watch` finds goes first.
    """
    last = "no try was made"
    while not deadline.expired:
        try:
            connected = dial()
        except OSError as exc:
            last = f"the connection failed: {exc}"
            watch(0.1)
            continue
        try:
            wait_for_banner(connected, deadline.within(_BANNER_SECONDS), watch)
        except BannerMissing as exc:
            last = str(exc)
            connected.close()
            watch(0.1)
        except BaseException:
            connected.close()
            raise
        else:
            return connected
    raise ConditionError(
        Condition.HANG,
        f"SSH never came: {last}",
        hint="is an SSH server started in the guest, and does its network card have a driver (or, "
        "over a serial line, does serial-relay run)? "
        "`hurdle shell --guest NAME` opens the console",
    )


def wait_for_banner(connected: socket.socket, deadline: Deadline, watch: Watch) -> None:
    """Wait for `SSH-2.0`, without taking it from the socket.  Raises `BannerMissing`."""
    while not deadline.expired:
        if connected.fileno() not in watch(deadline.remaining, [connected.fileno()]):
            continue
        try:
            seen = connected.recv(8, socket.MSG_PEEK)
        except OSError as exc:
            raise BannerMissing(f"the guest reset the connection ({exc.strerror})") from exc
        if not seen:
            raise BannerMissing("the guest closed the connection without a banner")
        if seen.startswith((b"SSH-2.0-", b"SSH-1.99")):
            return
        if not b"SSH-2.0-".startswith(seen):
            raise BannerMissing(f"something else than SSH answered: {seen!r}")
        watch(0.02)
    raise BannerMissing("the connection stands, but no banner comes")


class Ssh:
    """An SSH session over a connected socket whose banner has been seen.

    `keys` are the key that opens the guest and the host key that it must show.
    Making one raises `GuestError` with the cure: wrong host key, key refused, or no handshake.
    """

    def __init__(self, connected: socket.socket, user: str, keys: SshKeys, watch: Watch) -> None:
        self._watch = watch
        self._sftp: paramiko.SFTPClient | None = None
        private, pinned = load_private_key(keys.private_key), load_host_key(keys.host_key)
        self._transport = paramiko.Transport(connected)
        try:
            self._handshake(pinned, keys.host_key)
            self._login(user, private, keys.private_key)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up without waiting for the guest, which may be gone."""
        with suppress(Exception):
            self._transport.close()

    def terminal(self, term: str, columns: int, rows: int) -> paramiko.Channel:
        """A login shell on a terminal of that size, for a person."""
        channel = self._transport.open_session(timeout=_HANDSHAKE_SECONDS)
        channel.get_pty(term, columns, rows)
        channel.invoke_shell()
        return channel

    def _handshake(self, pinned: paramiko.PKey, file: Path) -> None:
        transport = self._transport
        transport.banner_timeout = _HANDSHAKE_SECONDS
        transport.auth_timeout = _HANDSHAKE_SECONDS
        # A server with several keys must show the one that is pinned.
        with suppress(ValueError):
            transport.get_security_options().key_types = (pinned.get_name(),)
        try:
            self._bounded(
                lambda: transport.start_client(timeout=_HANDSHAKE_SECONDS), _HANDSHAKE_SECONDS
            )
        except _BROKEN as exc:
            raise GuestError(
                f"the guest's SSH server broke off the handshake: {exc or 'connection lost'}",
                hint=f"it must have a host key of the type {pinned.get_name()}, as {file} has",
            ) from exc
        shown = transport.get_remote_server_key()
        if shown != pinned:
            raise GuestError(
                f"the guest shows another host key than the one that is pinned: "
                f"{shown.get_name()} {shown.fingerprint}, expected {pinned.fingerprint}",
                hint=f"either {file} is not this image's key (build the image again), or this port "
                "leads to another machine",
            )

    def _login(self, user: str, key: paramiko.PKey, file: Path) -> None:
        try:
            self._bounded(lambda: self._transport.auth_publickey(user, key), _HANDSHAKE_SECONDS)
        except paramiko.AuthenticationException as exc:
            raise GuestError(
                f"the guest refuses the key {file} for {user}: {exc}",
                hint=f"put {file}.pub into ~{user}/.ssh/authorized_keys of the guest; the folder "
                "must be 0700 and belong to the user",
            ) from exc
        except _BROKEN as exc:
            raise GuestError(f"the SSH login broke off: {exc or 'connection lost'}") from exc
        self._transport.set_keepalive(_KEEPALIVE_SECONDS)

    def run(self, command: str, timeout: float) -> CommandResult:
        """Run `command` by the user's login shell, for at most `timeout` seconds; no input.

        Raises `ConditionError` (HANG) when it does not end, or what the console tells meanwhile.
        """
        began, deadline = time.monotonic(), Deadline.after(timeout)
        doing = f"`{shorten(command)}`"
        if not self._transport.is_active():
            raise GuestError(
                f"SSH is down, so {doing} was not run",
                hint="the guest closed the connection; its console may say why",
            )
        try:
            channel = self._bounded(lambda: self._start(command), deadline.remaining)
            with closing(channel):
                out, err = self._collect(channel, deadline)
                rc = channel.exit_status
        except TimeoutError as exc:
            raise ConditionError(
                Condition.HANG, f"{doing} did not end in time (SSH was up)"
            ) from exc
        except _BROKEN as exc:
            self._watch(0.0)
            raise GuestError(f"SSH broke while {doing} ran: {exc or 'connection lost'}") from exc
        if rc < 0 and not self._transport.is_active():
            self._watch(0.0)
            raise GuestError(f"SSH broke while {doing} ran")
        return CommandResult(
            rc if rc >= 0 else _BY_SIGNAL,
            out.decode(errors="replace"),
            err.decode(errors="replace"),
            time.monotonic() - began,
        )

    def _start(self, command: str) -> paramiko.Channel:
        channel = self._transport.open_session()
        channel.exec_command(command)
        channel.shutdown_write()
        return channel

    def _collect(self, channel: paramiko.Channel, deadline: Deadline) -> tuple[bytes, bytes]:
        """Both streams until the command has ended and closed them.  Raises `TimeoutError`."""
        out, err = bytearray(), bytearray()
        while True:
            ended = channel.closed or (channel.eof_received and channel.exit_status_ready())
            # In this order: what came before the end is in the buffers by now.
            while channel.recv_ready():
                out += channel.recv(_PIECE)
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(_PIECE)
            if ended:
                return bytes(out), bytes(err)
            if deadline.expired:
                raise TimeoutError
            if channel.eof_received:
                # The channel's descriptor stays readable from here on: wait for the exit status.
                channel.status_event.wait(min(0.05, deadline.remaining))
                self._watch(0.0)
            else:
                self._watch(min(1.0, deadline.remaining), [channel.fileno()])

    def _bounded(
        self, call: Callable[[], T], seconds: float, idle: Callable[[], None] = lambda: None
    ) -> T:
        return bounded(call, Deadline.after(seconds), self._watch, idle)

    def put(
        self, local: Path, remote: str, *, timeout: float, progress: Progress = no_progress
    ) -> None:
        """Copy a file into the guest by SFTP."""
        self._transfer(
            f"sending {local} to {remote}",
            timeout,
            progress,
            lambda sftp, say: sftp.put(str(local), remote, callback=say),
        )

    def get(
        self, remote: str, local: Path, *, timeout: float, progress: Progress = no_progress
    ) -> None:
        """Copy a file out of the guest by SFTP."""
        self._transfer(
            f"fetching {remote}",
            timeout,
            progress,
            lambda sftp, say: sftp.get(remote, str(local), callback=say),
        )

    def _transfer(
        self,
        what: str,
        timeout: float,
        progress: Progress,
        copy: Callable[[paramiko.SFTPClient, Progress], object],
    ) -> None:
        done: list[tuple[int, int]] = []

        def work() -> None:
            copy(self._session(), lambda part, total: done.append((part, total)))

        def tell() -> None:
            if done:
                progress(*done[-1])

        try:
            self._bounded(work, timeout, tell)
        except FileNotFoundError as exc:
            raise GuestError(f"{what}: there is no such file or folder") from exc
        except TimeoutError as exc:
            state = f"{done[-1][0]} of {done[-1][1]} bytes were done" if done else "nothing came"
            raise ConditionError(Condition.HANG, f"{what} took too long: {state}") from exc
        except _BROKEN as exc:
            self._watch(0.0)
            raise GuestError(f"{what} failed: {exc or 'connection lost'}") from exc
        tell()

    def _session(self) -> paramiko.SFTPClient:
        """The SFTP session, opened at its first use."""
        if self._sftp is None:
            try:
                self._sftp = paramiko.SFTPClient.from_transport(self._transport)
            except (paramiko.SSHException, EOFError) as exc:
                raise GuestError(
                    f"the guest's SSH server has no SFTP: {exc or 'it closed the channel'}",
                    hint="add openssh-sftp-server to the guest",
                ) from exc
            if self._sftp is None:
                raise InfraError("paramiko opened no SFTP session")
        return self._sftp
