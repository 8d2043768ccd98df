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
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import paramiko

from harness.deadline import Deadline
from harness.errors import GuestError, InfraError, UsageError
from harness.guest.command import CommandResult, Progress, Watch, no_progress
from harness.guest.shell import shorten
from harness.images.image import SshKeys
from harness.machine.conditions import Condition, ConditionError

T = TypeVar("T")

_BANNER_SECONDS = 2.0  # one try; the next one finds a server that came up meanwhile
_HANDSHAKE_SECONDS = 20.0  # 0.5 s under TCG, more on a busy host
_KEEPALIVE_SECONDS = 15
_SFTP_SECONDS = 30.0  # of silence in a file transfer
_PIECE = 32 << 10

# Without a handler, logging prints paramiko's complaints to stderr; errors raise here anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


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


def connect_when_ready(port: int, deadline: Deadline, watch: Watch) -> socket.socket:
    """A connection to 127.0.0.1:`port` behind which an SSH server has said its banner.

    QEMU's user network takes the connection whether or not the guest has a server, so only the
    banner counts.  Raises `ConditionError` (HANG) if it never comes; what `watch` finds goes first.
    """
    last = "no try was made"
    while not deadline.expired:
        try:
            connected = socket.create_connection(("127.0.0.1", port), timeout=5)
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
        hint="is an SSH server started in the guest, and does its network card have a driver? "
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
            transport.start_client(timeout=_HANDSHAKE_SECONDS)
        except (paramiko.SSHException, OSError, EOFError) as exc:
            self._watch(0.0)
            raise GuestError(
                f"the guest's SSH server broke off the handshake: {exc}",
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
            self._transport.auth_publickey(user, key)
        except paramiko.AuthenticationException as exc:
            raise GuestError(
                f"the guest refuses the key {file} for {user}: {exc}",
                hint=f"put {file}.pub into ~{user}/.ssh/authorized_keys of the guest; the folder "
                "must be 0700 and belong to the user",
            ) from exc
        except (paramiko.SSHException, OSError, EOFError) as exc:
            self._watch(0.0)
            raise GuestError(f"the SSH login broke off: {exc}") from exc
        self._transport.set_keepalive(_KEEPALIVE_SECONDS)

    def run(self, command: str, timeout: float) -> CommandResult:
        """Run `command` by the user's login shell, for at most `timeout` seconds; no input.

        Raises `ConditionError` (HANG) when it does not end, or what the console tells meanwhile.
        """
        began, deadline = time.monotonic(), Deadline.after(timeout)
        channel = self._open(deadline, command)
        try:
            channel.exec_command(command)
            channel.shutdown_write()
            out, err = self._collect(channel, deadline, command)
            rc = channel.recv_exit_status()
        except (paramiko.SSHException, OSError, EOFError) as exc:
            self._watch(0.0)
            raise GuestError(
                f"SSH broke while `{shorten(command)}` ran: {exc or 'connection lost'}"
            ) from exc
        finally:
            channel.close()
        if rc < 0:
            # By a signal; or with the connection, which then is down.
            self._watch(0.0)
            if not self._transport.is_active():
                raise GuestError(f"SSH broke while `{shorten(command)}` ran")
            rc = 255
        return CommandResult(
            rc,
            out.decode(errors="replace"),
            err.decode(errors="replace"),
            time.monotonic() - began,
        )

    def _open(self, deadline: Deadline, command: str) -> paramiko.Channel:
        try:
            channel = self._transport.open_session(timeout=max(deadline.remaining, 0.1))
        except (paramiko.SSHException, OSError, EOFError) as exc:
            self._watch(0.0)
            if self._transport.is_active():
                raise self._hang(command) from exc
            raise GuestError(
                f"SSH is down, so `{shorten(command)}` was not run: {exc}",
                hint="the guest closed the connection; its console may say why",
            ) from exc
        # Each reply of the server is waited for by paramiko itself; this bounds those waits.
        channel.settimeout(max(deadline.remaining, 0.1))
        return channel

    def _collect(
        self, channel: paramiko.Channel, deadline: Deadline, command: str
    ) -> tuple[bytes, bytes]:
        """Both streams until the command has ended and closed them."""
        out, err = bytearray(), bytearray()
        while True:
            idle = True
            while channel.recv_ready():
                out += channel.recv(_PIECE)
                idle = False
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(_PIECE)
                idle = False
            if not idle:
                continue
            if channel.closed or (channel.eof_received and channel.exit_status_ready()):
                if not (channel.recv_ready() or channel.recv_stderr_ready()):
                    return bytes(out), bytes(err)
                continue
            if deadline.expired:
                raise self._hang(command)
            if channel.eof_received:
                # The channel's descriptor stays readable from here on: wait for the exit status.
                channel.status_event.wait(min(0.05, deadline.remaining))
                self._watch(0.0)
            else:
                self._watch(min(1.0, deadline.remaining), [channel.fileno()])

    def _hang(self, command: str) -> ConditionError:
        return ConditionError(
            Condition.HANG, f"`{shorten(command)}` did not end in time (SSH was up)"
        )

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
        copy: Callable[[paramiko.SFTPClient, Progress], T],
    ) -> T:
        deadline = Deadline.after(timeout)

        def say(done: int, total: int) -> None:
            self._watch(0.0)
            if deadline.expired and done < total:
                raise ConditionError(
                    Condition.HANG, f"{what} took too long: {done} of {total} bytes were done"
                )
            progress(done, total)

        try:
            sftp = self._session()
            channel = sftp.get_channel()
            if channel is not None:
                channel.settimeout(min(_SFTP_SECONDS, timeout))
            return copy(sftp, say)
        except TimeoutError as exc:
            self._watch(0.0)
            raise ConditionError(Condition.HANG, f"{what}: the guest went silent") from exc
        except FileNotFoundError as exc:
            raise GuestError(f"{what}: there is no such file or folder") from exc
        except (paramiko.SSHException, OSError, EOFError) as exc:
            self._watch(0.0)
            raise GuestError(f"{what} failed: {exc or 'connection lost'}") from exc

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
