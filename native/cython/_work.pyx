# cython: language_level=3
"""The SDK's worker, native: what its stream brings to light objects, acks to bytes.

Owns: `Lease`, one job of a frame, whose fields are read when they are asked for. Does not own: what a worker does with it. Invariant:
bytes that are no message raise ValueError; a lease that was made can be read to its end.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from c_client cimport (
    bytes_of, room_of, span_of, text_of, wh_ack_put, wh_ack_size, wh_client_lease, wh_label_next, wh_lease_frame_next,
    wh_lease_frame_scan, wh_lease_read, wh_pb_over, wh_pb_reader, wh_settled_item, wh_settled_next, wh_stream_member,
    wh_stream_member_of,
)
from c_wire cimport wh_span

cdef uint32_t RENEW = 4  # SETTLE_OPERATION_RENEW


cdef class Lease:
    """One job of a frame, with the fields of the message Lease. It keeps its own bytes, not its frame's."""

    cdef bytes data
    cdef wh_client_lease found
    cdef readonly bytes lease_token

    @property
    def job_id(self):
        return text_of(self.found.job_id)

    @property
    def type(self):
        return text_of(self.found.type)

    @property
    def payload(self):
        return bytes_of(self.found.payload)

    @property
    def queue(self):
        return text_of(self.found.queue)

    @property
    def namespace(self):
        return text_of(self.found.name_space)

    @property
    def attempt(self):
        return self.found.attempt

    @property
    def max_attempts(self):
        return self.found.max_attempts

    @property
    def schedule_time_ms(self):
        return self.found.schedule_ms

    @property
    def lease_expire_time_ms(self):
        return self.found.expire_ms

    @property
    def lease_duration_ms(self):
        return self.found.lease_ms

    @property
    def fencing_token(self):
        return self.found.fencing

    @property
    def priority(self):
        return self.found.priority

    @property
    def labels(self):
        cdef wh_pb_reader reader
        cdef wh_span key, value
        labels = {}
        if self.found.label_count:
            reader = wh_pb_over(span_of(self.data))
            while wh_label_next(&reader, &key, &value) == 1:
                labels[text_of(key)] = text_of(value)
        return labels

    @property
    def trace_context(self):
        return text_of(self.found.trace)

    @property
    def redelivery(self):
        return bool(self.found.redelivery)


def stream_member(bytes message not None):
    """The number of a StreamLeasesResponse's one member; 0 for none, or when they are several."""
    cdef wh_stream_member member
    if not wh_stream_member_of(span_of(message), &member):
        raise ValueError(f"{len(message)} bytes that are no message of a lease stream")
    return member.field


cdef wh_span member_body(bytes message) except *:
    cdef wh_stream_member member
    if not wh_stream_member_of(span_of(message), &member) or not member.field:
        raise ValueError(f"{len(message)} bytes that are no message of a lease stream")
    return member.body


def read_frame(bytes message not None):
    """(fire time in us, leases) of a StreamLeasesResponse that holds `leases`."""
    cdef wh_span frame = member_body(message)
    cdef wh_span span
    cdef wh_pb_reader reader = wh_pb_over(frame)
    cdef int64_t fire_time_us = 0
    cdef uint32_t count = 0
    cdef Lease lease
    leases = []
    if not wh_lease_frame_scan(frame, &fire_time_us, &count):
        raise ValueError(f"{len(message)} bytes that are no lease frame")
    while wh_lease_frame_next(&reader, &span) == 1:
        lease = Lease.__new__(Lease)
        lease.data = bytes_of(span)
        if not wh_lease_read(span_of(lease.data), &lease.found):
            raise ValueError(f"{len(message)} bytes that are no lease frame")
        lease.lease_token = bytes_of(lease.found.token)
        leases.append(lease)
    return fire_time_us, leases


def read_settled(bytes message not None):
    """Of a StreamLeasesResponse that holds `settled`: (tokens settled well, (token, operation, code) of all others).

    Renewals are among the others.
    """
    cdef wh_pb_reader reader = wh_pb_over(member_body(message))
    cdef wh_settled_item item
    cdef int found = wh_settled_next(&reader, &item)
    settled, others = [], []
    while found == 1:
        if item.code or item.operation == RENEW:
            others.append((bytes_of(item.token), <int32_t>item.operation, <int32_t>item.code))
        else:
            settled.append(bytes_of(item.token))
        found = wh_settled_next(&reader, &item)
    if found < 0:
        raise ValueError(f"{len(message)} bytes that are no answer to a settle")
    return settled, others


def ack_element(bytes token not None, bytes result not None, uint64_t receive_time_us):
    """An Ack as one element of Settle."""
    cdef wh_span token_span = span_of(token)
    cdef wh_span result_span = span_of(result)
    element = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>wh_ack_size(token_span.length, result_span.length, receive_time_us))
    wh_ack_put(room_of(element), token_span, result_span, receive_time_us)
    return element
