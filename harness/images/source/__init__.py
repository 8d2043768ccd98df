"""A GNU/Hurd guest cross-built from source packages.

sources → fetch (apt, git, local tree) → stages (toolchain, hurd, programs) → root → image.
"""
