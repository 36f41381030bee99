"""How much one commit folds: as little as the places that it writes to allow.

Owns the size of the next fold. A commit ends with one sync of all that it wrote, and a sync of the journal that comes
meanwhile waits for it, the longer the more was written. But each place into which jobs go costs a page that is only
filled up further, so jobs that lie far apart are gathered until such pages are the smaller part.
Invariant: between its least and its most.
"""

from __future__ import annotations

from wheeld.model import limits


class Pace:
    """See the module. A load hardly changes from one commit to the next: the last one tells of the next."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes_min = min(limits.FOLD_BYTES_MIN, bytes_max)
        self.fold_bytes = self._bytes_min

    def learn(self, places: int) -> None:
        """The last fold's new jobs went into so many places of the store."""
        self.fold_bytes = min(max(places * limits.FOLD_BYTES_PER_PLACE, self._bytes_min), self._bytes_max)
