"""`python -m harness` is the command `hurdle`."""

from harness.cli import main

main()
