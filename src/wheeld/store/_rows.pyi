from typing import final

def last_id(key: bytes, value: bytes) -> bytes: ...
def find_specs(key: bytes, value: bytes, ids: list[bytes], at: int, found: dict[bytes, bytes]) -> int: ...

@final
class RowFilter:
    def __new__(
        cls,
        after_ms: int,
        after_id: bytes,
        before_ms: int,
        before_id: bytes,
        bucket_width_ms: int,
        waiting_only: bool,
        home_only: bool,
    ) -> RowFilter: ...

def pack_rows(
    items: list[tuple[bytes, bytes]],
    states: dict[bytes, bytes],
    leases: dict[bytes, bytes],
    rows_filter: RowFilter,
    flags: int = 0,
) -> bytes: ...
def pack_blocks(
    blocks: list[tuple[bytes, bytes]],
    states: list[tuple[bytes, bytes]],
    leases: list[tuple[bytes, bytes]],
    rows_filter: RowFilter,
) -> bytes: ...
