"""C declarations of the client's half of native/wire, and how its spans become Python objects."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from c_wire cimport wh_span

cdef extern from "wh_pb.h" nogil:
    ctypedef struct wh_pb_reader:
        const uint8_t *at
        const uint8_t *end

    wh_pb_reader wh_pb_over(wh_span span)

cdef extern from "wh_client.h" nogil:
    ctypedef struct wh_job_words:
        wh_span queue, type, key, routing_key, trace, name_space
        uint32_t priority
        bint has_priority

    ctypedef struct wh_job_result:
        wh_span job_id, field
        uint32_t code
        bint duplicate

    ctypedef struct wh_submit_answer:
        uint64_t batch_number, retry_delay_ms
        uint32_t code

    ctypedef struct wh_client_lease:
        wh_span token, job_id, type, payload, queue, name_space, trace
        int64_t schedule_ms, expire_ms
        uint64_t fencing
        uint32_t attempt, max_attempts, lease_ms, priority, label_count
        bint redelivery

    ctypedef struct wh_stream_member:
        uint32_t field
        wh_span body

    ctypedef struct wh_settled_item:
        wh_span token
        uint32_t operation, code

    size_t wh_job_words_size(const wh_job_words *words)
    uint8_t *wh_job_words_put(uint8_t *out, const wh_job_words *words)
    size_t wh_label_size(wh_span key, wh_span value)
    uint8_t *wh_label_put(uint8_t *out, wh_span key, wh_span value)
    size_t wh_job_element_size(size_t head, size_t payload, uint32_t when, int64_t seconds, int32_t nanos)
    uint8_t *wh_job_element_put(uint8_t *out, wh_span head, wh_span payload, uint32_t when, int64_t seconds, int32_t nanos)
    bint wh_submit_answer_of(wh_span message, wh_submit_answer *answer)
    int wh_results_next(wh_pb_reader *reader, wh_job_result *result)
    bint wh_stream_member_of(wh_span message, wh_stream_member *member)
    bint wh_lease_frame_scan(wh_span frame, int64_t *fire_time_us, uint32_t *count)
    int wh_lease_frame_next(wh_pb_reader *reader, wh_span *message)
    bint wh_lease_read(wh_span message, wh_client_lease *lease)
    int wh_label_next(wh_pb_reader *reader, wh_span *key, wh_span *value)
    int wh_settled_next(wh_pb_reader *reader, wh_settled_item *item)
    size_t wh_ack_size(size_t token, size_t result, uint64_t receive_us)
    uint8_t *wh_ack_put(uint8_t *out, wh_span token, wh_span result, uint64_t receive_us)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef inline wh_span span_of(bytes data) noexcept:
    return wh_span(<const uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))


cdef inline wh_span text_span(object text) except *:
    cdef Py_ssize_t size = 0
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &size)
    return wh_span(<const uint8_t *>data, <size_t>size)


cdef inline bytes bytes_of(wh_span span):
    return PyBytes_FromStringAndSize(<const char *>span.data, <Py_ssize_t>span.length)


cdef inline str text_of(wh_span span):
    return PyUnicode_DecodeUTF8(<const char *>span.data, <Py_ssize_t>span.length, NULL)


cdef inline uint8_t *room_of(bytes data) noexcept:
    return <uint8_t *>PyBytes_AS_STRING(data)
