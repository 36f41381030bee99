"""`python -m wheeld` is the command `wheeld`."""

from wheeld.cli.main import run

run()
