"""Check a journal offline and say what it holds; changes nothing.

Owns the report. Invariant: a journal without problems here is one that `Journal.open` accepts, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wheeld.journal.errors import JournalError
from wheeld.journal.format import SEGMENT_HEADER_BYTES, HeaderVersionError, decode_header, segment_paths
from wheeld.journal.recovery import scan_journal


@dataclass
class JournalReport:
    """The result of verify_journal. Group numbers are 0 for an empty journal and for one with problems."""

    directory: Path
    store_uuid: bytes | None = None
    segments: int = 0
    bytes: int = 0
    first_group: int = 0
    last_group: int = 0
    tail: str = ""
    problems: list[str] = field(default_factory=list)


def verify_journal(directory: Path, store_uuid: bytes | None = None) -> JournalReport:
    """Read the whole journal in `directory`; without a store uuid, that of the oldest segment counts."""
    report = JournalReport(directory, store_uuid)
    try:
        paths = segment_paths(directory)
        report.segments = len(paths)
        report.bytes = sum(path.stat().st_size for _, path in paths)
        if not paths:
            return report
        report.store_uuid = store_uuid or _oldest_uuid(paths)
        scan = scan_journal(directory, report.store_uuid or bytes(16))
    except (JournalError, HeaderVersionError, OSError) as error:
        report.problems.append(str(error))
        return report
    report.first_group = scan.first_group if scan.last_group >= scan.first_group else 0
    report.last_group = scan.last_group
    report.tail = f"{scan.begun[-1].path.name} at byte {scan.tail_offset}: {scan.tail_found}"
    for segment in scan.begun:
        if segment.header is not None and segment.size != segment.header.segment_bytes:
            report.problems.append(f"{segment.path} has {segment.size} bytes, made with {segment.header.segment_bytes}")
    return report


def _oldest_uuid(paths: list[tuple[int, Path]]) -> bytes | None:
    """The store that the oldest segment with a header of its own number names."""
    for number, path in paths:
        with path.open("rb") as file:
            header = decode_header(file.read(SEGMENT_HEADER_BYTES))
        if header is not None and header.number == number:
            return header.store_uuid
    return None
