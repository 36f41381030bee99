"""Every bound of the system, in one place.

Owns: the numbers. Does not own: their enforcement (edge, admission, core and store refuse, each at its own door).
Invariant: the relations asserted at the end hold, so that a value which passes one layer fits the next.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# Identifiers and time
SHARDS_DEFAULT: Final = 16
SHARDS_MAX: Final = 4096
BUCKET_WIDTH_MS: Final = 10 * MINUTE_MS
SCHEDULE_AHEAD_MS_MAX: Final = 50 * 366 * DAY_MS
"""A job may lie at most this far ahead (about 50 years); the year 9999 is refused with SCHEDULE_TOO_FAR."""

# A job
NAME_BYTES_MAX: Final = 63
"""Longest namespace, and longest queue name: [a-z0-9] then [a-z0-9_.-]."""
QUEUE_PATH_BYTES_MAX: Final = 2 * NAME_BYTES_MAX + 1
TYPE_BYTES_MAX: Final = 128
KEY_BYTES_MAX: Final = 200
ROUTING_KEY_BYTES_MAX: Final = 200
LABELS_MAX: Final = 32
LABEL_KEY_BYTES_MAX: Final = 63
LABEL_VALUE_BYTES_MAX: Final = 255
LABELS_BYTES_MAX: Final = 4 * KIB
TRACE_BYTES_MAX: Final = 128
PAYLOAD_BYTES_MAX: Final = 256 * KIB
PRIORITY_MAX: Final = 9
PRIORITY_DEFAULT: Final = 4
PRIORITY_AGEING_MS: Final = 60 * SECOND_MS
"""A job gains one priority level over newer ones for each minute that it has waited."""
ATTEMPTS_DEFAULT: Final = 20
ATTEMPTS_MAX: Final = 1000
BACKOFF_INITIAL_MS_DEFAULT: Final = 1 * SECOND_MS
BACKOFF_MS_MAX_DEFAULT: Final = 1 * HOUR_MS
BACKOFF_MS_LIMIT: Final = 7 * DAY_MS
BACKOFF_PERCENT_DEFAULT: Final = 200
BACKOFF_PERCENT_MIN: Final = 100
BACKOFF_PERCENT_MAX: Final = 1000
BACKOFF_JITTER_PERCENT_DEFAULT: Final = 20
IDEMPOTENCY_WINDOW_MS: Final = 7 * DAY_MS
"""An idempotency key is remembered at least this long after the submit that brought it."""

# Leases and workers
LEASE_MS_DEFAULT: Final = 30 * SECOND_MS
LEASE_MS_MIN: Final = 1 * SECOND_MS
LEASE_MS_MAX: Final = 12 * HOUR_MS
WORKER_ID_BYTES_MAX: Final = 64
SESSION_ID_BYTES_MAX: Final = 64
STREAM_QUEUES_MAX: Final = 64
STREAM_JOBS_MAX: Final = 100_000
STREAM_BYTES_DEFAULT: Final = 64 * MIB
STREAM_BYTES_MAX: Final = 1024 * MIB
LEASE_CALL_JOBS_MAX: Final = 4096
"""Jobs that one LeaseJobs call may ask for."""
FRAME_JOBS_MAX: Final = 1024
"""Leases that leave as one message: written, encoded and handed to gRPC in one turn of the loop, about 0.4 ms."""
FRAME_BYTES_MAX: Final = 1 * MIB
SETTLES_PER_TURN_MAX: Final = 1000
"""A message of more acks than this is decided in slices, each in a turn of the loop of its own: about 0.25 ms."""
STREAM_PING_INTERVAL_MS: Final = 10 * SECOND_MS
STREAM_SETTLES_IN_FLIGHT_MAX: Final = 64
"""Messages of settles of one stream that are being decided; past this, and past the bytes, the stream is not read."""
STREAM_SUBMITS_IN_FLIGHT_MAX: Final = 64
STREAM_WRITES_PER_TURN_MAX: Final = 8
"""Writes that a turn of the loop begins on lease streams beside its own work; further ones wait for the next turn."""
ERROR_BYTES_MAX: Final = 4 * KIB
RESULT_BYTES_MAX: Final = 16 * KIB
SETTLES_MAX: Final = 10_000
"""Acks, nacks, releases and renewals in one message."""
LEASE_WAIT_MS_MAX: Final = 50 * SECOND_MS
SETTLED_TOKENS_REMEMBERED: Final = 1 << 17
"""Tokens of the newest settled leases that stay in memory, so that a repeated ack is answered without a read."""

# Batches and messages
BATCH_JOBS_MAX: Final = 10_000
MESSAGE_BYTES_MAX: Final = 4 * MIB
STREAM_IN_FLIGHT_BYTES_MAX: Final = 8 * MESSAGE_BYTES_MAX
CONNECTION_STREAMS_MAX: Final = 10_000
METADATA_BYTES_MAX: Final = 16 * KIB
PRODUCER_BATCHES_REMEMBERED: Final = 64
"""Batches of one producer session whose answers can be asked for again."""
PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1000

# Journal
GROUP_BYTES_SOFT: Final = 512 * KIB
"""The driver takes a group once it holds this much; one batch is never split, so a group may be larger."""
GROUP_BYTES_SEALED: Final = 4 * MIB
"""A group that has grown to this takes no further decision; a batch of settles and their outcomes still fits behind."""
SEGMENT_BYTES: Final = 64 * MIB
JOURNAL_BLOCK_BYTES: Final = 4 * KIB
"""Segment headers and groups begin at multiples of this: what a disk or a page cache loses as one."""
JOURNAL_GROUP_HEADER_BYTES: Final = 64
GROUP_BYTES_HARD: Final = SEGMENT_BYTES - JOURNAL_BLOCK_BYTES - JOURNAL_GROUP_HEADER_BYTES
"""The largest payload of a group: what a segment holds behind its header block."""
JOURNAL_QUEUED_BYTES_MAX: Final = 2 * GROUP_BYTES_HARD
"""Groups appended and not yet durable; past this the caller must hold its groups back."""
SUBMITS_PER_TURN_MAX: Final = 1000
SUBMIT_BYTES_PER_TURN_MAX: Final = 512 * KIB
"""A batch of more jobs or bytes than these is decided in slices, each in a turn of the loop of its own."""
STAGED_BYTES_MAX: Final = 1 * MIB
"""Submits wait at the door while this much is decided and not yet taken into a group."""
SUBMIT_BYTES_MAX: Final = 128 * MIB
"""Submits that have arrived and are not yet answered, of all streams and calls together; past this further ones are
refused with STORE_BUSY. A stream that is alone meets its own window long before."""
INTAKE_BYTES_MAX: Final = 16 * MIB
"""Of these, what is decoded and being decided; the rest waits as it came. Enough for the groups that are under way, the
one that is open, and what goes into the next."""
INTAKE_SMALL_BYTES: Final = 256 * KIB
"""Messages up to this size do not wait behind all of the larger ones."""

# Store
FOLD_BYTES_MAX: Final = 128 * MIB
"""A commit takes no further group once what it folds takes this much memory."""
FOLD_BYTES_MIN: Final = 16 * MIB
"""The same when what it folds lies close together."""
FOLD_BYTES_PER_PLACE: Final = 16 * KIB
"""And for each place into which the last commit put jobs: four pages for the one that is written again."""
STORE_SLICE_ROWS: Final = 1000
"""Rows that the writer puts or removes before the reader may go on."""
STORE_SLICE_BLOCKS: Final = 128
"""The same for blocks of jobs."""
SCAN_BACKLOG_IDS_MAX: Final = 3_000_000
"""Ids of the backlog that a scan holds, 21 bytes each or more; for a range with more of them each job is looked up."""
SCAN_CHANGED_IDS_MAX: Final = 3_000_000
"""Jobs with a lease or a change since their submit, of all buckets, up to which a scan holds the ids of a bucket's;
with more of them each pass walks over the bucket."""
DUES_MAX: Final = 4_000_000
"""Jobs of a bucket whose due times the storekeeper holds while it is loaded in passes, 16 bytes each; of more it holds
those that are due first, half as many at least."""
DUES_BUCKETS_MAX: Final = 2
"""Buckets for which it does."""
FORGET_ROWS_PER_COMMIT: Final = 20_000
"""Expired idempotency keys that a commit removes."""
SESSION_AGE_MS_MAX: Final = HOUR_MS
"""A producer's batch can be asked for again at least this long."""

# Memory and disk
LOCK_ORPHAN_MS_MAX: Final = 10 * SECOND_MS
"""How long the children of a daemon that was killed may take to die: the kernel kills them, but a write or a sync that
is under way is ended first."""
LOCK_LOOK_MS: Final = 10
MALLOC_LARGE_BYTES: Final = 1 * MIB
"""Blocks of this size and more come from the system one by one, and go back to it. A usual batch is smaller."""
MALLOC_SPARE_BYTES: Final = 32 * MIB
"""What is free at the end of a heap is kept up to this size."""
MALLOC_ARENAS: Final = 2
"""One for the loop, which was there first, and one for all other threads."""
RESIDENT_BYTES_DEFAULT: Final = 2048 * MIB
RETAINED_BYTES_SUBMIT_MAX: Final = 512 * MIB
"""Past this many journal bytes that the storekeeper has not yet folded, submits are refused."""
RETAINED_BYTES_GRANT_MAX: Final = 1024 * MIB
"""Past this many, grants stop too. Acks always go through."""
READY_SEGMENTS_MAX: Final = RETAINED_BYTES_SUBMIT_MAX // SEGMENT_BYTES + 2
"""Released segments kept for reuse; more of them are removed. So many a bulk submitter has in use when the store is as
far behind as it may be, and two: its segments go round, and none is made."""
READY_AHEAD_MAX: Final = READY_SEGMENTS_MAX // 2
"""Segments made ahead at most; fewer than are kept, so that none is removed where one is made soon after."""
READY_WINDOW_MS: Final = 1 * SECOND_MS
"""As many segments as were begun within this time are made ahead, and one."""
DEPARTED_REMEMBERED_MAX: Final = 4_000_000
"""Ids that left memory while a load is under way; past this the load is abandoned and asked for again."""
RECENT_KEYS_MAX: Final = 2_000_000
PRODUCERS_REMEMBERED_MAX: Final = 65_536
"""Producer sessions whose batches are remembered; the one that was silent for longest is forgotten first."""
RESIDENT_OVERHEAD_BYTES: Final = 96
"""What a resident job is counted with beside its spec record, in both implementations of the core."""
HORIZON_MS: Final = 20 * MINUTE_MS
"""Jobs due within this time are held in memory, as far as the byte cap allows."""
HORIZON_STEP_SHARE: Final = 8
"""Past the cap, jobs that wait for their time leave memory by this part of it (an eighth) at once."""
SMALL_QUEUE_SHARE: Final = 64
"""A queue that holds less than this part of the cap is small: its near jobs stay in memory past the horizon, which
larger queues have drawn near."""
NEAR_MS: Final = 1 * MINUTE_MS
"""What near means for that."""

# Driver
GROUPS_IN_FLIGHT_MAX: Final = 2
"""Groups handed to the journal and not yet durable; the second one only when it is full."""
CHECKPOINT_EAGER_BYTES: Final = 48 * MIB
"""Past this much that is not folded, the next checkpoint does not wait for its time."""
DISK_FULL_BYTES: Final = 2 * SEGMENT_BYTES
"""With less than this free, LMDB's EIO is the short write of a disk that filled up meanwhile. A segment that was being
made may have been given back since."""
DISK_SLACK_BYTES: Final = 16 * MIB
"""Of the free space below which submits are refused, what stands for no file in particular."""
BACKLOG_READY_LOW: Final = 200_000
"""A queue with fewer ready jobs than this gets pages of its backlog. Each load waits until the store has folded what
workers settle meanwhile, a second or more under load: until then the ready ones must last."""
BACKLOG_READY_HIGH: Final = 300_000
BACKLOG_LOAD_JOBS_MAX: Final = 1_000_000
"""Pages of one load bring at most this many: the core remembers what leaves memory meanwhile."""
BACKLOG_PAGE_BYTES: Final = 1 * MIB
"""Taken in at once, so bounded by how long the loop may stand still."""
BACKLOG_PRIMED_MS_MAX: Final = 10 * SECOND_MS
"""A page that was asked for ahead is kept so long: a queue that takes longer over its ready jobs need not hurry."""
BACKLOG_PRIMED_MAX: Final = 16
"""Queues whose next page is asked for ahead: the pages are beside the byte cap."""
LOAD_BYTES_MIN: Final = 1 * MIB
"""The least that a load is planned for, whatever is free."""
CLOSE_ENTRIES_MAX: Final = 5_000
"""Backlog rows that one step of the watermark writes."""
JOB_READS_MAX: Final = 8
"""A row may be out of date when it arrives; after this many tries the caller is told to come again."""
HISTORY_READS_AT_ONCE_MAX: Final = 64
"""Looks into the history for one message of settles, at a time."""

# Firing
LEAD_MS_MIN: Final = 5
LEAD_MS_DEFAULT: Final = 25
"""Least lead of a daemon that is told nothing else: what a disk that is shared takes now and then for a small group."""
LEAD_MS_MAX: Final = 50
LEAD_PERIOD_S: Final = 5
LEAD_PERIODS: Final = 60
"""The longest wait for a group is remembered for so many periods: five minutes."""
LEAD_PERCENT: Final = 125
"""The lead is this much of the longest wait."""
BEAT_MS_MAX: Final = 60 * SECOND_MS
"""An idle daemon beats at least this often."""
LOOP_PROBE_PERIOD_MS: Final = 10
COLLECT_AFTER: Final = 200
"""New objects between two collections of the youngest: a look at Python's usual 700 takes longer than the loop may."""
LOOP_PROBE_SAMPLES: Final = 4096
"""The newest lags of the event loop, of which the percentiles are told."""
STALL_US: Final = 500
"""The rule of half a millisecond: a deadline that the loop serves later than this was stalled."""
CLOCK_STEP_MS: Final = 20
"""A wall clock that moves against boot time by more than this within two beats was stepped."""
CLOCK_READS_MAX: Final = 8
"""Tries to read both clocks without a pause between the readings."""
GRANTS_PER_TICK_MAX: Final = 1024
"""A turn of the driver grants and gives out this many: about 0.4 ms; what is left has the next turn."""
EXPIRIES_PER_TICK_MAX: Final = 2048
WHEEL_MOVES_PER_TICK_MAX: Final = 16384
"""Timers that one tick moves from a wheel's coarse slots to fine ones."""
QUEUE_TURN_JOBS: Final = 256
"""Jobs that one queue is granted before the next one has its turn."""
SPILL_JOBS_PER_TICK_MAX: Final = 4096
"""Ready jobs that leave for the backlog in one tick."""
TICK_BYTES_MAX: Final = 4 * MIB
"""What one tick stages, but for its last entry. Lapsed leases and late starts stop at half of it, grants at three
quarters; the rest is for spilling."""

assert LEASE_MS_MIN <= LEASE_MS_DEFAULT <= LEASE_MS_MAX < 1 << 32
assert PAYLOAD_BYTES_MAX + 8 * KIB < FRAME_BYTES_MAX <= MESSAGE_BYTES_MAX
assert QUEUE_PATH_BYTES_MAX <= 255 and TYPE_BYTES_MAX <= 255 and KEY_BYTES_MAX <= 255 and TRACE_BYTES_MAX <= 255
assert MESSAGE_BYTES_MAX < GROUP_BYTES_HARD < SEGMENT_BYTES
assert GROUP_BYTES_SOFT < GROUP_BYTES_SEALED
assert GROUPS_IN_FLIGHT_MAX * (STAGED_BYTES_MAX + MESSAGE_BYTES_MAX) < INTAKE_BYTES_MAX < SUBMIT_BYTES_MAX
assert GROUP_BYTES_SEALED + MESSAGE_BYTES_MAX + SETTLES_MAX * (LABELS_BYTES_MAX + KIB) < GROUP_BYTES_HARD
assert SEGMENT_BYTES % JOURNAL_BLOCK_BYTES == 0
assert RETAINED_BYTES_SUBMIT_MAX < RETAINED_BYTES_GRANT_MAX
assert BACKLOG_READY_LOW < BACKLOG_READY_HIGH < BACKLOG_LOAD_JOBS_MAX < DEPARTED_REMEMBERED_MAX
assert LEAD_MS_MIN <= LEAD_MS_DEFAULT <= LEAD_MS_MAX < LEASE_MS_MIN
assert SETTLES_MAX < STREAM_JOBS_MAX
assert GROUP_BYTES_SEALED + TICK_BYTES_MAX + LABELS_BYTES_MAX + KIB < GROUP_BYTES_HARD
"""What one tick stages at most (lapsed leases, late starts, grants; labels are the longest part) fits a group."""
assert SPILL_JOBS_PER_TICK_MAX * (QUEUE_PATH_BYTES_MAX + 64) < TICK_BYTES_MAX // 4
