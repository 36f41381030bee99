"""Blocks of jobs: the rules of packing as golden blocks, the native readers beside the plain one, damage by name."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.property.test_fold import Setup, assert_blocks
from wheeld.model import entry as e
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.job import JobState
from wheeld.model.limits import BUCKET_WIDTH_MS
from wheeld.model.spec import Spec
from wheeld.store import layout
from wheeld.store._rows import RowFilter, find_specs, last_id, pack_blocks
from wheeld.store.blocks import read_specs
from wheeld.store.checkpoint import StoreCorruptError
from wheeld.store.layout import Table
from wheeld.store.verify import verify_store

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "blocks-v2.json").read_text())
BUCKET = 3_000_000
DUE_MS = BUCKET * BUCKET_WIDTH_MS


def spec_of(seq: int, payload_bytes: int) -> bytes:
    return Spec(b"main/mail", payload=bytes((seq & 255,)) * payload_bytes, schedule_ms=DUE_MS, create_ms=DUE_MS).pack()


def submit(seq: int, payload_bytes: int, bucket: int = BUCKET) -> bytes:
    body = e.SUBMIT_BODY.pack(pack_id(1, bucket, seq), bytes(16), 0, bucket * BUCKET_WIDTH_MS)
    return e.pack_entry(EntryKind.SUBMIT, 0, 1, 1, seq + 1, DUE_MS, body + spec_of(seq, payload_bytes))


def ack(seq: int) -> bytes:
    job_id = pack_id(1, BUCKET, seq)
    ended = Outcome(
        job_id, 1, DUE_MS, 0, DUE_MS, DUE_MS, 1, JobState.SUCCEEDED, 4, EntryKind.ACK, b"main/mail", b"", b"w",
        b"", b"", b"",
    )  # fmt: skip
    return e.pack_entry(EntryKind.ACK, 0, 1, 1, 1, DUE_MS, ended.pack())


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path, shards=2)
    yield made
    made.close()


def commit(setup: Setup, entries: list[bytes]) -> None:
    setup.journal.payloads.append(b"".join(entries))
    setup.reference.apply(setup.journal.payloads[-1])
    setup.advance()
    assert setup.table(Table.JOBS) == setup.reference.tables[Table.JOBS]
    assert_blocks(setup)


def seqs(setup: Setup) -> list[list[int]]:
    return [
        [int.from_bytes(job_id[6:14], "big") for job_id, _ in layout.unpack_block(key, block)]
        for key, block in setup.records(Table.JOBS).items()
    ]


def test_packing_is_that_of_the_golden_blocks(setup: Setup) -> None:
    """Each step is one commit; a block's bytes are told by their hash."""
    if setup.store.block_bytes_max != GOLDEN["block_bytes_max"]:
        pytest.skip("pages of another size hold other blocks")
    for step in GOLDEN["steps"]:
        commit(setup, [submit(*job) for job in step["submit"]] + [ack(seq) for seq in step["ack"]])
        found = [
            [key.hex(), len(block), hashlib.sha256(block).hexdigest()]
            for key, block in setup.records(Table.JOBS).items()
        ]
        assert found == step["blocks"], step["about"]


def test_a_commit_fills_the_last_block_of_its_bucket(setup: Setup) -> None:
    for first in range(0, 60, 3):
        commit(setup, [submit(first + number, 100) for number in range(3)])
    sizes = [len(rows) for rows in seqs(setup)]
    assert len(set(sizes[:-1])) == 1
    assert sizes[0] * (len(spec_of(0, 100)) + 8) + 4 <= setup.store.block_bytes_max
    assert (sizes[0] + 1) * (len(spec_of(0, 100)) + 8) + 4 > setup.store.block_bytes_max


def test_jobs_between_and_before_the_blocks_find_their_place(setup: Setup, rng: random.Random) -> None:
    commit(setup, [submit(seq, 300) for seq in range(100, 400, 10)])
    commit(setup, [submit(seq, 300) for seq in (5, 7, 105, 106, 107, 233, 399, 500)])
    left = [seq for seq in range(1000) if pack_id(1, BUCKET, seq) not in setup.reference.tables[Table.JOBS]]
    rng.shuffle(left)
    for at in range(0, 200, 40):
        commit(setup, [submit(seq, rng.choice((0, 50, 2000, 9000))) for seq in left[at : at + 40]])
        ended = rng.sample(sorted(setup.reference.tables[Table.JOBS]), 25)
        commit(setup, [ack(int.from_bytes(job_id[6:14], "big")) for job_id in ended])


def test_numbers_too_far_apart_for_one_block(setup: Setup) -> None:
    commit(setup, [submit(seq, 10) for seq in (1, 1 << 31, 1 << 32, (1 << 32) + 1)])
    assert seqs(setup) == [[1, 1 << 31, 1 << 32], [(1 << 32) + 1]]


def test_buckets_do_not_share_blocks(setup: Setup) -> None:
    commit(setup, [submit(seq, 10, BUCKET + seq % 3) for seq in range(30)])
    commit(setup, [submit(seq, 10, BUCKET + seq % 3) for seq in range(30, 60)])
    assert [len(rows) for rows in seqs(setup)] == [20, 20, 20]


def test_specs_are_found_by_id(setup: Setup, rng: random.Random) -> None:
    commit(setup, [submit(seq, 200, BUCKET + seq % 2) for seq in range(0, 300, 3)])
    ids = [pack_id(shard, BUCKET + bucket, seq) for shard in (0, 1) for bucket in range(-1, 3) for seq in range(310)]
    ids = [*rng.sample(ids, 1000), NO_ID, b"\xff" * 16, pack_id(1, BUCKET, 0)[:14] + b"\0\1"]
    with setup.store.begin() as txn:
        found = read_specs(txn.cursor(setup.store.tables[Table.JOBS]), ids)
    jobs = setup.reference.tables[Table.JOBS]
    assert found == {job_id: jobs[job_id] for job_id in ids if job_id in jobs}
    assert found


def test_native_readers_refuse_what_the_plain_one_refuses(setup: Setup, rng: random.Random) -> None:
    """Any byte of a block may be wrong, or its end missing."""
    commit(setup, [submit(seq, 40) for seq in range(0, 100, 7)])
    ((key, whole),) = setup.records(Table.JOBS).items()
    everything = RowFilter(0, NO_ID, (1 << 64) - 1, b"\xff" * 16, BUCKET_WIDTH_MS, False, False)
    verdicts = set()
    for _ in range(600):
        block = bytearray(whole[: rng.choice((len(whole), len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randrange(2)):
            place = rng.choice((rng.randrange(4), rng.randrange(len(block) + 1), 4, 8, 12))
            if place < len(block):
                block[place] = rng.randrange(256)
        try:
            rows = layout.unpack_block(key, bytes(block))
        except ValueError:
            rows = []
        verdicts.add(bool(rows))
        if rows:
            found: dict[bytes, bytes] = {}
            assert last_id(key, bytes(block)) == rows[-1][0]
            assert find_specs(key, bytes(block), [job_id for job_id, _ in rows], 0, found) == len(rows)
            assert found == dict(rows)
            continue
        with pytest.raises(ValueError, match=key.hex()):
            last_id(key, bytes(block))
        with pytest.raises(ValueError, match=f"{key.hex()}|a record of job"):
            pack_blocks([(key, bytes(block))], [], [], everything)
    assert verdicts == {True, False}


def damage(setup: Setup, key: bytes, block: bytes) -> None:
    with setup.store.begin(write=True) as txn:
        txn.put(key, block, db=setup.store.tables[Table.JOBS])


@pytest.mark.parametrize("entry", [submit(40, 10), ack(3)])
def test_a_commit_that_meets_a_damaged_block_names_it(setup: Setup, entry: bytes) -> None:
    commit(setup, [submit(seq, 10) for seq in range(5)])
    ((key, block),) = setup.records(Table.JOBS).items()
    damage(setup, key, block[:-1])
    setup.journal.payloads.append(entry)
    with pytest.raises(StoreCorruptError, match=key.hex()):
        setup.advance()


def test_verify_names_the_block(tmp_path: Path) -> None:
    setup = Setup(tmp_path, shards=2)
    commit(setup, [submit(seq, 500) for seq in range(40)])
    blocks = list(setup.records(Table.JOBS).items())
    (first, cut), (second, _), (third, whole) = blocks[:3]
    damage(setup, first, cut[:-1])
    damage(setup, pack_id(1, BUCKET, int.from_bytes(third[6:14], "big") + 1), whole)
    setup.close()
    problems = verify_store(setup.directory.path).problems
    assert any(first.hex() in problem and "cannot be read" in problem for problem in problems)
    assert any("begins within the one before, " + third.hex() in problem for problem in problems)
    assert not any(second.hex() in problem for problem in problems)
