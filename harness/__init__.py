"""hurdle: crash tests for a journaling file system inside GNU/Hurd."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

__version__ = version("hurdle")


@cache
def sources() -> str:
    """The first digits of a hash of hurdle's program text, Python and C.

    A version stays for many commits; verdicts of two of them must not mix.
    """
    home, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(p for kind in ("py", "c", "h") for p in home.rglob(f"*.{kind}")):
        digest.update(f"{path.relative_to(home)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
