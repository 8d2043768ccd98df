"""The two SSH keys of an image: the one that opens the guest, the one by which it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

#: their names below an image's folder
PRIVATE_KEY, HOST_KEY = "ssh/id_ed25519", "ssh/host_ed25519.pub"


@dataclass(frozen=True)
class KeyPair:
    """A key without passphrase as OpenSSH writes it, each half with a newline at its end."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls) -> KeyPair:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return cls(private, public + b"\n")


def write_keys(folder: Path, host: KeyPair, user: KeyPair) -> None:
    """Put what the host keeps below an image's folder: the user's key, the host's public half."""
    (folder / PRIVATE_KEY).parent.mkdir(mode=0o700)
    (folder / HOST_KEY).write_bytes(host.public)
    (folder / PRIVATE_KEY).touch(mode=0o600)
    (folder / PRIVATE_KEY).write_bytes(user.private)


def dropbear(key: KeyPair) -> bytes:
    """A key as dropbear keeps it: the type, then the seed and the public half as one string.

    (dropbear's src/ed25519.c, `buf_put_ed25519_priv_key`.)
    """
    loaded = load_ssh_private_key(key.private, None)
    assert isinstance(loaded, Ed25519PrivateKey)
    seed = loaded.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = loaded.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"".join(len(s).to_bytes(4, "big") + s for s in (b"ssh-ed25519", seed + public))
