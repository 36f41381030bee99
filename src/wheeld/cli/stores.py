"""`wheeld store ...`: offline checks of a data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from wheeld.cli.output import Output, print_facts
from wheeld.model.errors import StartFailure

app = App(name="store", help="Check a data directory while no daemon uses it.")


@app.command
def verify(directory: Path, *, output: Output = "table") -> int:
    """Read all of DIRECTORY, change nothing; the exit code is 1 when something is wrong."""
    from wheeld.journal.verify import verify_journal
    from wheeld.runtime.files import DirectoryLock, DirectoryLockedError
    from wheeld.store.directory import DataDirectory, read_format
    from wheeld.store.verify import verify_store

    found = DataDirectory(directory, read_format(directory))
    try:
        lock = DirectoryLock.acquire(directory)
    except DirectoryLockedError as error:
        raise StartFailure(str(error), "Verify a directory that no daemon uses.", 3) from None
    with lock:
        journal = verify_journal(found.journal, found.store_uuid)
        store = verify_store(directory)
    facts: dict[str, Any] = {
        "directory": str(directory),
        "store_uuid": found.format.store_uuid,
        "shards": found.format.shards,
        "journal_segments": journal.segments,
        "journal_bytes": journal.bytes,
        "journal_groups": f"{journal.first_group}..{journal.last_group}" if journal.last_group else "none",
        "journal_tail": journal.tail,
        "store_group": store.position,
        "rows": {name: count for name, count in store.counts.items() if count},
        "history_rows": store.history_rows,
        "problems": store.problems if output == "json" else len(store.problems),
    }
    print_facts(facts, output)
    if output == "table":
        for problem in store.problems:
            print(f"PROBLEM  {problem}")
        print("Damaged." if store.problems else "Sound.")
    return 1 if store.problems else 0
