"""The data directory: made once, refused when it is not understood; history days removed whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wheeld.model.errors import StartFailure
from wheeld.store import layout
from wheeld.store.directory import open_or_create
from wheeld.store.environment import HistoryDays


def test_facts_are_kept_over_reopening(tmp_path: Path) -> None:
    made = open_or_create(tmp_path / "data", shards=3, bucket_width_ms=1000)
    made.close()
    again = open_or_create(tmp_path / "data", shards=16)
    assert again.format == made.format
    assert (again.format.shards, again.format.bucket_width_ms) == (3, 1000)
    again.close()


def test_second_opener_is_told_who_holds_it(tmp_path: Path) -> None:
    held = open_or_create(tmp_path / "data")
    with pytest.raises(StartFailure, match=r"in use.*One daemon at a time"):
        open_or_create(tmp_path / "data")
    held.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format_version": 1}, "format version 1.*wrote it"),
        ({"format_version": 3}, "format version 3.*wrote it"),
        ({"shards": 0}, "damaged.*backup"),
        ({"store_uuid": "ab"}, "damaged.*backup"),
        ({"shards": "many"}, "cannot be read.*backup"),
    ],
)
def test_format_that_is_not_understood(tmp_path: Path, change: dict[str, object], says: str) -> None:
    open_or_create(tmp_path).close()
    file = tmp_path / "format"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(StartFailure, match=says):
        open_or_create(tmp_path)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(StartFailure, match="cannot be read"):
        open_or_create(tmp_path)


def test_store_without_its_format_file_is_not_made_anew(tmp_path: Path) -> None:
    open_or_create(tmp_path).close()
    (tmp_path / "format").unlink()
    (tmp_path / "journal" / "something").touch()
    with pytest.raises(StartFailure, match="journal but no format file"):
        open_or_create(tmp_path)


def test_history_days_past_their_time_or_over_the_cap_go(tmp_path: Path) -> None:
    history = HistoryDays(tmp_path, map_bytes=1 << 24)
    for day in range(20_000, 20_010):
        with history.environment(day).begin(write=True) as txn:
            txn.put(b"k" * 19, bytes(100_000))
    assert history.remove_old(20_009, days_kept=7, bytes_max=0) == [20_000, 20_001]
    left = 3 * history.bytes_of(20_009)
    assert history.remove_old(20_009, days_kept=7, bytes_max=left) == [20_002, 20_003, 20_004, 20_005, 20_006]
    assert history.remove_old(20_009, days_kept=7, bytes_max=1) == [20_007, 20_008]
    assert history.days() == [20_009]
    history.close()


def test_day_names() -> None:
    assert layout.day_name(0) == "1970-01-01"
    assert layout.day_of_name("2026-11-22") == 20_779
    assert [layout.day_of_name(name) for name in ("2026-1-2", "lost+found", "2026-13-01")] == [None, None, None]
