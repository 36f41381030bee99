"""The node's state machine: one job table, one wheel, one ready set; decisions become entries. Pure: no clock, no
I/O, no threads."""

from wheeld.core.factory import open_core

__all__ = ["open_core"]
