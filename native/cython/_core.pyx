# cython: language_level=3
"""The thin Cython door to the C core: buffers in, one bytes object per answer or message out, the GIL released.

Owns one C core and turns its codes into exceptions (`_raise_code`, the only place). Does not own any rule. Invariant: one thread at a
time is inside; a second one gets RuntimeError, not a race.
"""
from cython cimport view
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from c_core cimport *


cdef int64_t _raise_code(int64_t code) except -1:
    if code >= 0:
        return code
    if code == WH_CORE_MALFORMED:
        raise ValueError("the bytes are not a batch, row or record of the published layout, or a number is out of range")
    if code == WH_CORE_MISUSED:
        raise ValueError("another session uses this stream number")
    raise MemoryError("the core ran out of memory")


cdef inline wh_bytes _view(bytes data) noexcept:
    cdef wh_bytes view
    view.data = <const uint8_t *>PyBytes_AS_STRING(data)
    view.length = <size_t>PyBytes_GET_SIZE(data)
    return view


cdef inline bytes _copy(wh_bytes view):
    return PyBytes_FromStringAndSize(<const char *>view.data, <Py_ssize_t>view.length)


cdef const uint8_t *_sixteen(bytes data) except NULL:
    if PyBytes_GET_SIZE(data) != 16:
        raise ValueError("an id, session or uuid has 16 bytes")
    return <const uint8_t *>PyBytes_AS_STRING(data)


cdef class RawCore:
    """One C core; times are unsigned 64-bit milliseconds unless named otherwise."""

    cdef wh_core *_core
    cdef bint _busy

    def __cinit__(self, bytes store_uuid, uint64_t shards, uint64_t bucket_width_ms, uint64_t resident_bytes_max, uint64_t recent_keys_max,
                  uint64_t departed_max, uint64_t group, uint64_t next_seq, const uint64_t[::1] index, uint64_t epoch,
                  uint64_t watermark_ms, bint has_keys, uint64_t now_ms, uint64_t boot_ms):
        cdef wh_core_options options
        if shards == 0 or shards > WH_SHARDS_MAX or bucket_width_ms == 0 or <uint64_t>index.shape[0] != shards:
            raise ValueError("shards, bucket width or the index of each shard is out of range")
        memcpy(options.store_uuid, _sixteen(store_uuid), 16)
        options.shards = <unsigned int>shards
        options.bucket_width_ms, options.resident_bytes_max = bucket_width_ms, resident_bytes_max
        options.recent_keys_max, options.departed_max = recent_keys_max, departed_max
        options.group, options.next_seq, options.index = group, next_seq, &index[0]
        options.epoch, options.watermark_ms, options.has_keys, options.now_ms, options.boot_ms = epoch, watermark_ms, has_keys, now_ms, boot_ms
        self._core = wh_core_new(&options)
        if self._core == NULL:
            raise MemoryError("the core could not be made")

    def __dealloc__(self):
        wh_core_free(self._core)

    # The flag is read and written with the GIL held, so it needs no atomics.
    cdef wh_core *_enter(self) except NULL:
        if self._busy:
            raise RuntimeError("the core is in use by another thread")
        self._busy = True
        return self._core

    cdef int64_t _leave(self, int64_t code) except -1:
        self._busy = False
        return _raise_code(code)

    # What a decision answers with: its code, the group to wait for, the row after it.
    cdef tuple _decided(self, int64_t code, const wh_bytes *after):
        return _raise_code(code), wh_core_barrier_group(self._core), b"" if code else _copy(after[0])

    def restore_queue(self, bytes path, bint paused, bint backlog):
        cdef wh_bytes view = _view(path)
        _raise_code(wh_core_restore_queue(self._core, view.data, view.length, paused, backlog))

    def restore_producers(self, bytes bodies):
        cdef wh_bytes view = _view(bodies)
        _raise_code(wh_core_restore_producers(self._core, view.data, view.length))

    def start(self, uint64_t now_ms):
        _raise_code(wh_core_start(self._core, now_ms))

    def submit(self, uint64_t now_ms, const unsigned char[::1] batch):
        cdef size_t length = <size_t>batch.shape[0], written = 0
        cdef const uint8_t *data = &batch[0] if length else NULL
        cdef int64_t code = _raise_code(wh_core_submit_count(data, length))
        cdef bytes out = PyBytes_FromStringAndSize(NULL, max(code * 24, 1))
        cdef uint8_t *target = <uint8_t *>PyBytes_AS_STRING(out)
        cdef uint64_t group = 0
        self._enter()
        with nogil:
            code = wh_core_submit(self._core, now_ms, data, length, target, &written, &group)
        return self._leave(code), group, out[:written]

    def settle(self, uint64_t now_ms, uint64_t boot_ms, bytes session, const unsigned char[::1] batch):
        cdef size_t length = <size_t>batch.shape[0]
        cdef const uint8_t *data = &batch[0] if length else NULL
        cdef const uint8_t *name = _sixteen(session)
        cdef int64_t code = _raise_code(wh_core_settle_count(data, length))
        cdef bytes out = PyBytes_FromStringAndSize(NULL, code * 16)
        cdef uint8_t *target = <uint8_t *>PyBytes_AS_STRING(out)
        cdef uint64_t group = 0
        self._enter()
        with nogil:
            code = wh_core_settle(self._core, now_ms, boot_ms, name, data, length, target, &group)
        self._leave(code)
        return group, out

    def tick(self, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, bint grants_allowed):
        cdef int64_t code = 0
        self._enter()
        with nogil:
            code = wh_core_tick(self._core, now_ms, boot_ms, lead_ms, grants_allowed)
        return bool(self._leave(code))

    def release(self, uint64_t now_us, uint64_t durable_group, int64_t jobs_max, make):
        cdef wh_message message
        cdef bytes data
        cdef uint8_t *target
        cdef size_t written = 0, count = 0
        found = []
        self._enter()
        try:
            wh_core_release_begin(self._core, now_us, durable_group, jobs_max)
            while _raise_code(wh_core_release_next(self._core, &message)):
                data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>message.bytes_max)
                target = <uint8_t *>PyBytes_AS_STRING(data)
                with nogil:
                    count = wh_core_release_write(self._core, target, &written)
                if count:
                    found.append(make(message.stream, message.kind, count, data[:written]))
        finally:
            self._busy = False
        return found

    def next_wake_ms(self, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, uint64_t durable_group):
        return wh_core_next_wake_ms(self._core, now_ms, boot_ms, lead_ms, durable_group)

    def take_group(self):
        cdef size_t length = wh_core_open_group_bytes(self._core)
        cdef wh_bytes taken
        cdef uint64_t group = 0
        if length == 0:
            return None
        cdef view.array held = view.array((length,), 1, "B", "c", False)
        self._enter()
        self._leave(wh_core_take_group(self._core, &taken, &group))
        # The core's own memory, which gets it back when the last view of it is gone.
        held.data, held.callback_free_data = <char *>taken.data, wh_group_free
        return group, memoryview(held).toreadonly()

    def open_group_bytes(self):
        return wh_core_open_group_bytes(self._core)

    def barrier_group(self):
        return wh_core_barrier_group(self._core)

    def open_stream(self, uint64_t now_ms, uint64_t boot_ms, uint64_t stream, bytes session, bytes worker, list queues, int64_t max_jobs,
                    int64_t max_bytes, uint64_t lease_ms, bytes held):
        cdef wh_stream_options options
        cdef wh_bytes gone
        cdef uint64_t resumed = 0
        cdef size_t count = <size_t>len(queues), at
        options.session = _sixteen(session)
        options.number, options.worker, options.held = stream, _view(worker), _view(held)
        options.max_jobs, options.max_bytes, options.lease_ms = max_jobs, max_bytes, lease_ms
        cdef wh_bytes *views = <wh_bytes *>malloc((count + 1) * sizeof(wh_bytes))
        if views == NULL:
            raise MemoryError("no room for the queues of a stream")
        try:
            for at in range(count):
                views[at] = _view(<bytes?>queues[at])
            options.queues, options.queue_count = views, count
            _raise_code(wh_core_open_stream(self._core, now_ms, boot_ms, &options, &resumed, &gone))
        finally:
            free(views)
        return wh_core_barrier_group(self._core), resumed, _copy(gone)

    def set_credit(self, uint64_t stream, int64_t max_jobs, int64_t max_bytes):
        wh_core_set_credit(self._core, stream, max_jobs, max_bytes)

    def close_stream(self, uint64_t now_ms, uint64_t stream):
        _raise_code(wh_core_close_stream(self._core, now_ms, stream))
        return wh_core_barrier_group(self._core)

    def get(self, uint64_t now_ms, bytes job_id):
        cdef wh_bytes row
        return _copy(row) if _raise_code(wh_core_get(self._core, now_ms, _sixteen(job_id), &row)) else None

    def cancel(self, uint64_t now_ms, bytes job_id, bytes row, uint64_t load):
        cdef wh_bytes after
        return self._decided(wh_core_cancel(self._core, now_ms, _sixteen(job_id), _view(row), load, &after), &after)

    def reschedule(self, uint64_t now_ms, bytes job_id, uint64_t due_ms, bytes row, uint64_t load):
        cdef wh_bytes after
        return self._decided(wh_core_reschedule(self._core, now_ms, _sixteen(job_id), due_ms, _view(row), load, &after), &after)

    def set_queue(self, uint64_t now_ms, bytes path, bint paused):
        cdef wh_bytes view = _view(path)
        _raise_code(wh_core_set_queue(self._core, now_ms, view.data, view.length, paused))
        return wh_core_barrier_group(self._core)

    def begin_load(self):
        cdef uint64_t number = 0, group = 0
        _raise_code(wh_core_begin_load(self._core, &number, &group))
        return number, group

    def open_horizon(self, uint64_t due_ms, bytes job_id):
        cdef uint64_t number = 0, group = 0
        _raise_code(wh_core_open_horizon(self._core, due_ms, _sixteen(job_id), &number, &group))
        return number, group

    def load(self, uint64_t now_ms, uint64_t boot_ms, uint64_t number, const unsigned char[::1] rows):
        cdef size_t length = <size_t>rows.shape[0]
        cdef const uint8_t *data = &rows[0] if length else NULL
        cdef uint64_t taken = 0
        cdef int64_t code = 0
        self._enter()
        with nogil:
            code = wh_core_load(self._core, now_ms, boot_ms, number, data, length, &taken)
        return -1 if self._leave(code) else taken

    def end_load(self, uint64_t number):
        wh_core_end_load(self._core, number)

    def provide_keys(self, bytes records):
        cdef wh_bytes view = _view(records)
        _raise_code(wh_core_provide_keys(self._core, view.data, view.length))

    def checkpointed(self, uint64_t group):
        wh_core_checkpointed(self._core, group)

    def close_before(self, uint64_t now_ms, uint64_t watermark_ms, uint64_t entries_max):
        cdef int64_t code = 0
        self._enter()
        with nogil:
            code = wh_core_close_before(self._core, now_ms, watermark_ms, entries_max)
        return bool(self._leave(code))

    def backlog_drained(self, bytes path, uint64_t spills):
        cdef wh_bytes view = _view(path)
        return bool(_raise_code(wh_core_backlog_drained(self._core, view.data, view.length, spills)))

    def rebase(self, uint64_t now_ms):
        cdef int64_t code = 0
        self._enter()
        with nogil:
            code = wh_core_rebase(self._core, now_ms)
        self._leave(code)

    def horizon(self):
        cdef uint8_t job_id[16]
        cdef uint64_t due_ms = 0
        wh_core_horizon(self._core, &due_ms, job_id)
        return due_ms, PyBytes_FromStringAndSize(<char *>job_id, 16)

    def watermark_ms(self):
        return wh_core_watermark_ms(self._core)

    def queues(self):
        cdef wh_queue_view view
        cdef size_t at
        cdef Py_ssize_t size = WH_HISTOGRAM_BUCKETS * 8
        found = []
        for at in range(wh_core_queue_count(self._core)):
            wh_core_queue_view(self._core, at, &view)
            found.append((
                PyBytes_FromStringAndSize(<const char *>view.path, <Py_ssize_t>view.path_len), bool(view.paused), view.ready, view.running,
                bool(view.backlog), view.spills, view.streams, view.credit, view.oldest_due_ms,
                bytes(size) if view.release_skew == NULL else PyBytes_FromStringAndSize(<const char *>view.release_skew, size),
                bytes(size) if view.receive_skew == NULL else PyBytes_FromStringAndSize(<const char *>view.receive_skew, size),
            ))
        return found

    def counters(self):
        cdef wh_counters counters
        cdef const uint64_t *values = <const uint64_t *>&counters
        wh_core_counters(self._core, &counters)
        return [values[at] for at in range(sizeof(wh_counters) // sizeof(uint64_t))]

    def state_hash(self):
        return wh_core_state_hash(self._core)

    def memory_bytes(self):
        cdef size_t records = 0
        cdef size_t tables = wh_core_memory_bytes(self._core, &records)
        return tables, records
