# cython: language_level=3
"""The hot codec, native: see `wheeld.wire.codec` for what each function does, native/wire/wh_wire.h for how.

Owns: the bounds and words as C sees them, filled once at import. Does not own: the messages. Invariant: the C code writes into the
bytes object that is returned, without the GIL; the object is sized before and cut after.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from c_wire cimport (
    WH_LABELS_CAP, WH_SIZE_INVALID, WH_WORD_BYTES_MAX, wh_leases_encode, wh_leases_size, wh_revoked_encode, wh_revoked_size,
    wh_settle_decode, wh_settle_scan, wh_settled_encode, wh_settled_encode_bound, wh_span, wh_stream_peek, wh_submit_decode,
    wh_submit_encode, wh_submit_encode_bound, wh_submit_scan, wh_wire_rules, wh_wire_scan,
)

from wheeld.model import errors as _errors
from wheeld.model import limits as _limits
from wheeld.model.batch import NO_SESSION as _NO_SESSION
from wheeld.wire.codec import session_digest as _session_digest

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **holder, Py_ssize_t size) except -1
    char *PyBytes_AS_STRING(PyObject *holder) nogil
    Py_ssize_t PyBytes_GET_SIZE(PyObject *holder) nogil

cdef wh_wire_rules RULES
_WORDS = []


cdef inline wh_span span_of(bytes data) noexcept:
    return wh_span(<const uint8_t *>PyBytes_AS_STRING(<PyObject *>data), <size_t>PyBytes_GET_SIZE(<PyObject *>data))


cdef inline uint8_t *room_of(PyObject *holder) noexcept nogil:
    return <uint8_t *>PyBytes_AS_STRING(holder)


cdef bytes take(PyObject *holder, size_t size):
    """The bytes object with its first `size` bytes; takes over the reference."""
    if <size_t>PyBytes_GET_SIZE(holder) != size:
        _PyBytes_Resize(&holder, <Py_ssize_t>size)
    result = <bytes>holder
    Py_DECREF(result)
    return result


cdef wh_span word(str text):
    raw = text.encode()
    if len(raw) > WH_WORD_BYTES_MAX:
        raise RuntimeError(f"{text} is longer than the codec's words may be")
    _WORDS.append(raw)
    return span_of(raw)


cdef void fill_rules():
    RULES.schedule_ahead_ms_max = _limits.SCHEDULE_AHEAD_MS_MAX
    RULES.name_bytes_max = _limits.NAME_BYTES_MAX
    RULES.type_bytes_max = _limits.TYPE_BYTES_MAX
    RULES.key_bytes_max = _limits.KEY_BYTES_MAX
    RULES.routing_key_bytes_max = _limits.ROUTING_KEY_BYTES_MAX
    RULES.labels_max = _limits.LABELS_MAX
    RULES.label_key_bytes_max = _limits.LABEL_KEY_BYTES_MAX
    RULES.label_value_bytes_max = _limits.LABEL_VALUE_BYTES_MAX
    RULES.labels_bytes_max = _limits.LABELS_BYTES_MAX
    RULES.trace_bytes_max = _limits.TRACE_BYTES_MAX
    RULES.payload_bytes_max = _limits.PAYLOAD_BYTES_MAX
    RULES.priority_max = _limits.PRIORITY_MAX
    RULES.priority_default = _limits.PRIORITY_DEFAULT
    RULES.attempts_default = _limits.ATTEMPTS_DEFAULT
    RULES.attempts_max = _limits.ATTEMPTS_MAX
    RULES.backoff_initial_ms_default = _limits.BACKOFF_INITIAL_MS_DEFAULT
    RULES.backoff_ms_max_default = _limits.BACKOFF_MS_MAX_DEFAULT
    RULES.backoff_ms_limit = _limits.BACKOFF_MS_LIMIT
    RULES.backoff_percent_default = _limits.BACKOFF_PERCENT_DEFAULT
    RULES.backoff_percent_min = _limits.BACKOFF_PERCENT_MIN
    RULES.backoff_percent_max = _limits.BACKOFF_PERCENT_MAX
    RULES.jitter_percent_default = _limits.BACKOFF_JITTER_PERCENT_DEFAULT
    RULES.lease_ms_min = _limits.LEASE_MS_MIN
    RULES.lease_ms_max = _limits.LEASE_MS_MAX
    RULES.error_bytes_max = _limits.ERROR_BYTES_MAX
    RULES.result_bytes_max = _limits.RESULT_BYTES_MAX
    RULES.settles_max = _limits.SETTLES_MAX
    RULES.batch_jobs_max = _limits.BATCH_JOBS_MAX


def _prepare():
    if _limits.LABELS_MAX > WH_LABELS_CAP:
        raise RuntimeError("limits.LABELS_MAX is above what the codec holds")
    fill_rules()
    for code, kind in _errors.REGISTRY.items():
        RULES.reasons[code] = word(kind.reason)
    for field, name in _errors.FIELD_NAMES.items():
        RULES.fields[field] = word(name)


_prepare()


def decode_submit(bytes message not None, int kind, bytes session not None = _NO_SESSION, uint64_t latest_ms = 0):
    """(code, submit batch)."""
    cdef wh_span span = span_of(message)
    cdef wh_wire_scan scan
    cdef PyObject *holder
    cdef size_t written = 0
    cdef const uint8_t *session16
    cdef int code
    if kind < 1 or kind > 3 or len(session) != 16:
        raise ValueError(f"kind {kind} or a session of {len(session)} bytes: not known")
    with nogil:
        scan = wh_submit_scan(&RULES, span, kind)
    if scan.code:
        return scan.code, b""
    if scan.session.length:
        session = _session_digest(scan.session.data[:scan.session.length])
    session16 = <const uint8_t *>PyBytes_AS_STRING(<PyObject *>session)
    holder = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>scan.bound)
    with nogil:
        code = wh_submit_decode(&RULES, span, kind, &scan, session16, latest_ms, room_of(holder), &written)
    return code, take(holder, written)


def encode_submit_results(int kind, uint64_t batch_number, bytes results not None, uint64_t schedule_ms = 0):
    """The response message."""
    cdef wh_span span = span_of(results)
    cdef size_t bound = wh_submit_encode_bound(span, kind)
    cdef PyObject *holder
    cdef size_t written
    if bound == WH_SIZE_INVALID:
        raise ValueError(f"submit results of {len(results)} bytes are not whole")
    holder = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>bound)
    with nogil:
        written = wh_submit_encode(&RULES, kind, batch_number, span, schedule_ms, room_of(holder))
    return take(holder, written)


def decode_settle(bytes message not None, int kind = 0):
    """(code, settle batch, worker id, session id)."""
    cdef wh_span span = span_of(message)
    cdef wh_wire_scan scan
    cdef PyObject *holder
    cdef size_t written = 0
    cdef int code
    if kind < 0 or kind > 4:
        raise ValueError(f"kind {kind}: not known")
    with nogil:
        scan = wh_settle_scan(&RULES, span, kind)
    if scan.code:
        return scan.code, b"", b"", b""
    holder = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>scan.bound)
    with nogil:
        code = wh_settle_decode(&RULES, span, kind, &scan, room_of(holder), &written)
    batch = take(holder, written)
    if code:
        return code, b"", b"", b""
    return code, batch, scan.worker.data[:scan.worker.length], scan.session.data[:scan.session.length]


def encode_settled(int kind, bytes batch not None, bytes results not None):
    """The answer to a settle batch."""
    cdef wh_span batch_span = span_of(batch)
    cdef wh_span result_span = span_of(results)
    cdef size_t bound, written
    cdef PyObject *holder
    with nogil:
        bound = wh_settled_encode_bound(batch_span, result_span)
    if bound == WH_SIZE_INVALID:
        raise ValueError(f"settle batch of {len(batch)} bytes does not fit {len(results)} bytes of results")
    holder = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>bound)
    with nogil:
        written = wh_settled_encode(&RULES, kind, batch_span, result_span, room_of(holder))
    return take(holder, written)


def encode_leases(int kind, bytes frame not None, int64_t fire_time_us):
    """A lease frame as a message."""
    cdef wh_span span = span_of(frame)
    cdef size_t size, body = 0
    cdef PyObject *holder
    with nogil:
        size = wh_leases_size(kind, span, fire_time_us, &body)
    if size == WH_SIZE_INVALID:
        raise ValueError(f"lease frame of {len(frame)} bytes is not whole")
    holder = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    with nogil:
        wh_leases_encode(kind, span, fire_time_us, body, room_of(holder))
    return take(holder, size)


def encode_revoked(bytes revoked not None):
    """Revocations as a stream message."""
    cdef wh_span span = span_of(revoked)
    cdef size_t size = wh_revoked_size(span)
    cdef PyObject *holder
    if size == WH_SIZE_INVALID:
        raise ValueError(f"revocations of {len(revoked)} bytes are not whole")
    holder = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    with nogil:
        wh_revoked_encode(span, room_of(holder))
    return take(holder, size)


def peek_stream_request(bytes message not None):
    """The member of a StreamLeasesRequest."""
    cdef wh_span span = span_of(message)
    return wh_stream_peek(span)
