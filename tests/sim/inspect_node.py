"""Looks into the node from outside its loop: is what it remembers what its entries say?

Owns nothing. Invariants checked: the state after staging equals the state after replaying the same entries; what is not
resident can be found again; the watermark leaves nothing behind; at the end no table holds anything of jobs that ended.
"""

from __future__ import annotations

import copy

from tests.sim.book import BrokenPromise
from tests.sim.store import attempts_of, row_of
from tests.sim.world import World
from wheeld.model.ids import id_to_text
from wheeld.model.job import TERMINAL, JobState
from wheeld.model.rows import ROW_BACKLOG, ROW_LEASED, Row, unpack_rows
from wheeld.store.fold_reference import ReferenceFold
from wheeld.store.layout import Table

FAR_FUTURE_MS = 1 << 62


def fold_everything(world: World) -> ReferenceFold | None:
    """The fold of all that was decided; None while the open group cannot be seen."""
    life = world.life
    assert life is not None
    if life.driver.core.open_group_bytes():
        return None
    fold = copy.copy(world.store.fold)
    fold.tables = {table: dict(rows) for table, rows in fold.tables.items()}
    fold.history = {}
    fold.next_seq, fold.index, fold.epoch = list(fold.next_seq), list(fold.index), list(fold.epoch)
    for payload in world.journal.durable[world.store.position :]:
        fold.apply(payload)
    for _, payload in life.journal.pending:
        fold.apply(payload)
    return fold


def canonical(row: Row) -> tuple[object, ...]:
    """What memory and store must agree on. When a frame left is not an entry."""
    leased = row.flags & ROW_LEASED
    lease = (row.fencing, row.lease_ms, row.session, row.worker) if leased else ()
    return row.job_id, row.due_ms, row.attempt, row.flags & (ROW_BACKLOG | ROW_LEASED), lease, row.spec


def check_replay(world: World) -> bool:
    """Compare every job; False when it could not be done now."""
    life = world.life
    if life is None or not life.serving:
        return False
    fold = fold_everything(world)
    if fold is None:
        return False
    driver = life.driver
    whole_until_ms = min(driver.far.loaded_until_ms, driver.core.horizon()[0])
    with_backlog = {view.queue for view in driver.core.queues() if view.backlog}
    resident = 0
    for job_id in fold.tables[Table.JOBS]:
        row = row_of(fold, job_id)
        check_watermark(fold, row)
        found = driver.core.get(FAR_FUTURE_MS, job_id)
        if found is not None:
            resident += 1
            live = unpack_rows(found)[0]
            if canonical(live) != canonical(row):
                raise BrokenPromise(f"memory and entries differ:\n  memory  {live}\n  entries {row}")
            continue
        if row.state == JobState.FAILED:
            continue
        name = Named(row)
        if row.flags & ROW_LEASED:
            raise BrokenPromise(f"{name} is leased and not in memory")
        if row.flags & ROW_BACKLOG:
            if row.decoded_spec().queue not in with_backlog:
                raise BrokenPromise(f"{name} is in the backlog of a queue that is said to have none")
        elif row.due_ms < whole_until_ms:
            raise BrokenPromise(f"{name} is neither in memory nor in the backlog, below the horizon {whole_until_ms}")
    if resident != driver.core.counters().resident_jobs:
        raise BrokenPromise(f"memory has {driver.core.counters().resident_jobs} jobs, of {resident} the entries know")
    return True


class Named:
    """A row as a message names it."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def __str__(self) -> str:
        row = self.row
        return f"job {id_to_text(row.job_id)} due {row.due_ms}, attempt {row.attempt}, flags {row.flags}"


def check_watermark(fold: ReferenceFold, row: Row) -> None:
    """An unfinished job due below the watermark has a backlog row or a lease: a restart looks nowhere else."""
    if row.due_ms < fold.watermark_ms and row.state != JobState.FAILED and not row.flags & (ROW_BACKLOG | ROW_LEASED):
        raise BrokenPromise(f"{Named(row)} is left behind by the watermark {fold.watermark_ms}")


def unfinished(world: World) -> list[bytes]:
    """Jobs that have neither ended nor gone to the dead letters, as far as is durable."""
    world.store.fold_to(world.journal.last_group)
    fold = world.store.fold
    return [job_id for job_id in fold.tables[Table.JOBS] if fold.state_of(job_id).state != JobState.FAILED]


def check_end(world: World) -> None:
    """After everything was drained and the node was stopped."""
    world.store.fold_to(world.journal.last_group)
    fold, book = world.store.fold, world.book
    left = unfinished(world)
    if left:
        raise BrokenPromise(f"{len(left)} jobs have not ended: {[row_of(fold, job_id) for job_id in left[:3]]}")
    for table in (Table.LEASES, Table.BACKLOG, Table.MOVED):
        if fold.tables[table]:
            raise BrokenPromise(f"{table.name} holds {len(fold.tables[table])} rows of jobs that have ended")
    dead = {key[-16:] for key in fold.tables[Table.DEAD]}
    if dead != set(fold.tables[Table.JOBS]) or dead != set(fold.tables[Table.STATE]):
        raise BrokenPromise("dead letters, jobs and states differ though every job has ended")
    for job_id, record in book.jobs.items():
        ends = [attempt for attempt in attempts_of(fold, job_id) if attempt.outcome.state in TERMINAL]
        name = f"job {id_to_text(job_id)} (item {record.number}, {record.ended or 'no end was told'})"
        if len(ends) != 1:
            raise BrokenPromise(f"{name} was accepted and has {len(ends)} ends in its history")
        state = JobState(ends[0].outcome.state)
        book.counts[f"ended {state.name}"] += 1
        if record.acked and state != JobState.SUCCEEDED:
            raise BrokenPromise(f"{name} was acked and ended {state.name}")
        if record.ended == "cancelled" and state != JobState.CANCELLED:
            raise BrokenPromise(f"{name} was cancelled and ended {state.name}")
        tokens = [token.attempt for token in record.tokens]
        if state == JobState.SUCCEEDED and ends[0].outcome.attempt not in tokens:
            raise BrokenPromise(f"{name} succeeded in attempt {ends[0].outcome.attempt}; given out were {tokens}")
