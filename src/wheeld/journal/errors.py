"""What can go wrong with a journal, told apart by what the operator or the caller must do.

Owns only exception types. Invariant: nothing here is retried by the journal itself.
"""

from __future__ import annotations

from pathlib import Path


class JournalError(Exception):
    """Root of the journal's errors."""


class JournalCorruptError(JournalError):
    """The journal is damaged before its end: durable groups cannot be read. The daemon must not start on it."""

    def __init__(self, path: Path, offset: int, expected_group: int, found: str) -> None:
        self.path = path
        self.offset = offset
        self.expected_group = expected_group
        self.found = found
        super().__init__(
            f"journal damaged: {path} at byte {offset}: expected group {expected_group}, found {found}. "
            f"Nothing was changed. Run `wheeld store verify {path.parent.parent}`, and restore the data directory "
            f"from a backup or a replica."
        )


class JournalForeignError(JournalError):
    """A segment belongs to another store, or to a newer version of the format."""


class JournalGapError(JournalError):
    """A reader asked for groups that the journal has already recycled, or does not hold yet."""


class JournalFailedError(JournalError):
    """A write or sync failed: what is on disk is unknown, so the journal takes nothing more and the node must stop."""


class JournalBacklogError(JournalError):
    """Too many bytes wait for the writer; the caller must hold its groups back."""


class JournalClosedError(JournalError):
    """Append or release after close."""
