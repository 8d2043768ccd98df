"""hurdle: crash tests for a journaling file system inside GNU/Hurd."""

from importlib.metadata import version

__version__ = version("hurdle")
