# cython: language_level=3
"""The thin Cython door to the C fold: group payloads in, sorted operations and blocks of jobs out.

Owns one C fold and turns its codes into exceptions. Does not own policy, LMDB or journal. Invariant: operations are read only
between `finish` and `reset`; one thread at a time uses a fold (apply and finish release the GIL).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from c_fold cimport (
    WH_FOLD_BAD_SHARD, WH_FOLD_JOB_ENDED, WH_FOLD_NO_MEMORY, WH_FOLD_TABLES, WH_FOLD_UNKNOWN_KIND, wh_fold, wh_fold_apply,
    wh_fold_bytes, wh_fold_entries, wh_fold_finish, wh_fold_free, wh_fold_new, wh_fold_next, wh_fold_op, wh_fold_ops,
    wh_fold_pack_begin, wh_fold_pack_next, wh_fold_pack_room, wh_fold_packer, wh_fold_remove, wh_fold_reset, wh_fold_shard,
    wh_fold_shard_at, wh_fold_time, wh_fold_watermark,
)

PUT = 1
DELETE = 2
PATCH = 3


cdef int _raise_code(int code, size_t error_at) except -1:
    if code == 0:
        return 0
    if code == WH_FOLD_NO_MEMORY:
        raise MemoryError("the fold could not grow")
    if code == WH_FOLD_UNKNOWN_KIND:
        reason = "is of a kind that this version does not know"
    elif code == WH_FOLD_BAD_SHARD:
        reason = "names a shard that the store does not have"
    elif code == WH_FOLD_JOB_ENDED:
        reason = "cannot follow what earlier entries did to its job"
    else:
        reason = "has lengths or fields that contradict each other"
    raise ValueError(f"the entry at byte {error_at} {reason}")


cdef inline bytes _bytes(const uint8_t *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, length)


cdef int _require_key(bytes key) except -1:
    if len(key) != 16:
        raise ValueError(f"the key {key.hex()} of a block of jobs is no id")
    return 0


cdef int _bad_block(bytes key) except -1:
    raise ValueError(f"the block of jobs {key.hex()} is cut, of an unknown version or contradicts itself")


cdef class Fold:
    """Folds group payloads into sorted puts, deletes and patches for each table (`layout.Table` numbers)."""

    cdef wh_fold *_fold
    cdef uint32_t _shards
    cdef bint _finished

    def __cinit__(self, uint32_t shards, uint64_t bucket_width_ms):
        if shards == 0 or bucket_width_ms == 0:
            raise ValueError("a store has at least one shard and buckets of at least 1 ms")
        self._shards = shards
        self._fold = wh_fold_new(shards, bucket_width_ms)
        if self._fold == NULL:
            raise MemoryError("the fold could not be made")

    def __dealloc__(self):
        wh_fold_free(self._fold)

    cdef int _require_finished(self) except -1:
        if not self._finished:
            raise RuntimeError("the fold is not finished")
        return 0

    def apply(self, const uint8_t[::1] payload):
        """Folds one group. ValueError names the entry that cannot be folded; then only `reset` makes sense."""
        cdef size_t error_at = 0
        cdef size_t length = payload.shape[0]
        cdef int code
        if self._finished:
            raise RuntimeError("the fold is finished: reset it first")
        if length == 0:
            return
        with nogil:
            code = wh_fold_apply(self._fold, &payload[0], length, &error_at)
        _raise_code(code, error_at)

    def finish(self):
        """Sorts the operations; once, after the last `apply`."""
        cdef int code
        if self._finished:
            raise RuntimeError("the fold is finished already")
        with nogil:
            code = wh_fold_finish(self._fold)
        self._finished = True
        _raise_code(code, 0)

    def reset(self):
        """Forgets everything folded."""
        wh_fold_reset(self._fold)
        self._finished = False

    def count(self, int table):
        """How many operations the table has."""
        cdef size_t count = 0
        if table < 0 or table >= WH_FOLD_TABLES:
            raise IndexError(table)
        wh_fold_ops(self._fold, table, &count)
        return count if self._finished else 0

    def take(self, int table, int kind, size_t start, size_t limit):
        """Up to `limit` operations of one kind from number `start` on: ([(key, value)], number to go on with)."""
        cdef size_t count = 0, at = start
        cdef list found = []
        cdef const wh_fold_op *ops
        if table < 0 or table >= WH_FOLD_TABLES:
            raise IndexError(table)
        self._require_finished()
        ops = wh_fold_ops(self._fold, table, &count)
        while at < count and limit > 0:
            if ops[at].kind == kind:
                found.append((_bytes(ops[at].key, ops[at].key_len), _bytes(ops[at].value, ops[at].value_len)))
                limit -= 1
            at += 1
        return found, at

    def next_key(self, int table, int kind, size_t start):
        """(number, key) of the table's next operation of one kind from number `start` on, or None."""
        cdef size_t count = 0, at
        cdef const wh_fold_op *ops
        if table < 0 or table >= WH_FOLD_TABLES:
            raise IndexError(table)
        self._require_finished()
        ops = wh_fold_ops(self._fold, table, &count)
        at = wh_fold_next(self._fold, table, kind, start)
        return (at, _bytes(ops[at].key, ops[at].key_len)) if at < count else None

    def pack_blocks(self, size_t start, bytes key, bytes value, bytes end_key, size_t block_bytes_max, size_t blocks_max):
        """The changed blocks that the new jobs from number `start` on make of the block that the first of them belongs into (`key`
        None: of no block), up to the end of the bucket or to `end_key`, where the next block begins (None: it is the bucket's
        last), and about `blocks_max` at most. ([(key, block)], number to go on with, how many jobs the store did not have).
        """
        cdef wh_fold_packer packer
        cdef uint8_t made[16]
        cdef const uint8_t *old_key = NULL
        cdef const uint8_t *old_value = NULL
        cdef const uint8_t *end = NULL
        cdef size_t capacity = 0, room, old_length = 0
        cdef uint8_t *out = NULL
        cdef uint8_t *grown
        cdef ptrdiff_t length
        cdef int changed = 0
        cdef list found = []
        self._require_finished()
        if key is not None:
            _require_key(key)
            old_key, old_value = <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(value)
            old_length = PyBytes_GET_SIZE(value)
        if end_key is not None:
            _require_key(end_key)
            end = <const uint8_t *>PyBytes_AS_STRING(end_key)
        length = wh_fold_pack_begin(&packer, self._fold, start, old_key, old_value, old_length, end, block_bytes_max)
        try:
            while length >= 0:
                if <size_t>len(found) >= blocks_max and not packer.has_old:
                    return found, packer.at, packer.added
                room = wh_fold_pack_room(&packer)
                if room > capacity:
                    grown = <uint8_t *>realloc(out, room)
                    if grown == NULL:
                        raise MemoryError
                    out, capacity = grown, room
                length = wh_fold_pack_next(&packer, out, capacity, made, &changed)
                if length == 0:
                    return found, packer.at, packer.added
                if length > 0 and changed:
                    found.append((_bytes(made, 16), _bytes(out, length)))
        finally:
            free(out)
        _bad_block(key)

    def remove_rows(self, size_t start, bytes key, bytes value):
        """The block without the ended jobs from number `start` on, the first of which belongs into it, if anywhere: (b"" when none
        is left, number to go on with, how many were in it).
        """
        cdef uint32_t removed = 0
        cdef ptrdiff_t length
        cdef uint8_t *out
        self._require_finished()
        _require_key(key)
        out = <uint8_t *>malloc(PyBytes_GET_SIZE(value) + 1)
        if out == NULL:
            raise MemoryError
        try:
            length = wh_fold_remove(
                self._fold, &start, <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(value),
                PyBytes_GET_SIZE(value), out, &removed,
            )
            if length < 0:
                _bad_block(key)
            return _bytes(out, length), start, removed
        finally:
            free(out)

    def shards(self):
        """[(shard, next_seq, index, epoch)] of the shards that entries named."""
        cdef const wh_fold_shard *shard
        cdef uint32_t number
        found = []
        for number in range(self._shards):
            shard = wh_fold_shard_at(self._fold, number)
            if shard.touched:
                found.append((number, shard.next_seq, shard.index, shard.epoch))
        return found

    @property
    def bytes_used(self):
        """Memory that the fold's contents take."""
        return wh_fold_bytes(self._fold)

    @property
    def entries(self):
        """Entries folded since the reset."""
        return wh_fold_entries(self._fold)

    @property
    def watermark_ms(self):
        """The highest watermark of a CLOSE entry, or 0."""
        return wh_fold_watermark(self._fold)

    @property
    def time_ms(self):
        """The latest time of any entry, or 0."""
        return wh_fold_time(self._fold)
