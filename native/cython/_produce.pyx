# cython: language_level=3
"""The SDK's producer, native: jobs to bytes, and the answer to a batch to those who wait for its jobs.

Owns: `Waiter`, what a coroutine awaits for one job of a batch. Does not own: when a batch is sent. Invariants: bytes that are no message
raise ValueError before anything changed; a waiter is answered once, and its task goes on in a turn of its own loop.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from c_client cimport (
    room_of, span_of, text_of, text_span, wh_job_element_put, wh_job_element_size, wh_job_result, wh_job_words, wh_job_words_put,
    wh_job_words_size, wh_label_put, wh_label_size, wh_pb_over, wh_pb_reader, wh_results_next, wh_submit_answer,
    wh_submit_answer_of,
)
from c_wire cimport wh_span

from asyncio import CancelledError, InvalidStateError

cdef enum:
    PENDING = 0
    ANSWERED = 1
    FAILED = 2
    CANCELLED = 3


def job_head(type, queue="", priority=None, key="", routing_key="", labels=None, trace_context="", namespace=""):
    """A NewJob without payload, time and what needs a message of its own. `labels`: a mapping of texts."""
    cdef wh_job_words words
    cdef size_t size
    cdef uint8_t *out
    words.queue, words.type, words.key = text_span(queue), text_span(type), text_span(key)
    words.routing_key, words.trace, words.name_space = text_span(routing_key), text_span(trace_context), text_span(namespace)
    words.has_priority = priority is not None
    words.priority = <uint32_t>priority if words.has_priority else 0
    size = wh_job_words_size(&words)
    entries = list(labels.items()) if labels else []
    for name, value in entries:
        size += wh_label_size(text_span(name), text_span(value))
    head = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    out = wh_job_words_put(room_of(head), &words)
    for name, value in entries:
        out = wh_label_put(out, text_span(name), text_span(value))
    return head


def job_element(bytes head not None, bytes payload not None, uint32_t when = 0, int64_t seconds = 0, int32_t nanos = 0):
    """A job as one `jobs` element of a batch; `when`: the field of its time, 0 for none."""
    cdef wh_span head_span = span_of(head)
    cdef wh_span payload_span = span_of(payload)
    cdef size_t size = wh_job_element_size(head_span.length, payload_span.length, when, seconds, nanos)
    element = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    wh_job_element_put(room_of(element), head_span, payload_span, when, seconds, nanos)
    return element


cdef class Handle:
    """What stands behind `JobHandle`."""

    cdef readonly object _client
    cdef readonly str job_id
    cdef readonly bint duplicate

    def __init__(self, client, str job_id not None, bint duplicate):
        self._client, self.job_id, self.duplicate = client, job_id, duplicate


cdef class Waiter:
    """The answer to one job of a batch, as far as asyncio's tasks look at a future. One task awaits it, once.

    A future would cost its task a turn through the loop's queue for each job; `wake` lets those of a whole batch go on in one.
    """

    cdef object loop, callback, context, outcome
    cdef int state
    cdef public bint _asyncio_future_blocking

    def __cinit__(self, loop):
        self.loop = loop
        self.state = PENDING

    def get_loop(self):
        """The loop that it belongs to."""
        return self.loop

    def done(self):
        """Whether it is answered, failed or given up."""
        return self.state != PENDING

    def cancelled(self):
        """Whether its task gave it up."""
        return self.state == CANCELLED

    def add_done_callback(self, callback, *, context=None):
        """The task's: how to go on."""
        if self.callback is not None:
            raise InvalidStateError("somebody waits for it already")
        self.callback, self.context = callback, context
        if self.state != PENDING:
            self.loop.call_soon(self.go_on)

    def cancel(self, msg=None):
        """The task's: nobody waits any more. False when it was answered before."""
        if self.state != PENDING:
            return False
        self.state, self.outcome = CANCELLED, msg
        if self.callback is not None:
            self.loop.call_soon(self.go_on)
        return True

    def result(self):
        """The handle; raises what became of the job otherwise."""
        if self.state == ANSWERED:
            return self.outcome
        if self.state == FAILED:
            # One error may be that of a whole batch: it must not gather the frames of all who waited.
            raise self.outcome.with_traceback(None)
        if self.state == CANCELLED:
            raise CancelledError() if self.outcome is None else CancelledError(self.outcome)
        raise InvalidStateError("not answered yet")

    def fail(self, error):
        """Nothing became of it. Its task goes on by `wake`."""
        if self.state == PENDING:
            self.state, self.outcome = FAILED, error

    def go_on(self):
        """Run its task; for the loop."""
        callback, context = self.callback, self.context
        self.callback = self.context = None
        if callback is None:
            return
        if context is None:
            callback(self)
        else:
            context.run(callback, self)

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.state == PENDING:
            self._asyncio_future_blocking = True
            return self
        raise StopIteration(self.result())


def wake(list waiters not None):
    """Let the tasks of these go on, one after another; for the loop, outside of any task."""
    cdef Py_ssize_t at = 0
    cdef Waiter waiter
    try:
        while at < len(waiters):
            waiter = <Waiter>waiters[at]
            at += 1
            waiter.go_on()
    except BaseException:
        # A task that ends the program: the others belong to the loop all the same.
        if at < len(waiters):
            waiter.loop.call_soon(wake, waiters[at:])
        raise


cdef class Queue:
    """Jobs that wait to be sent, each with who waits for it. `pump` is called soon after a job came, once for all of a turn."""

    cdef object loop, pump
    cdef list jobs, waiters
    cdef readonly Py_ssize_t size_bytes
    cdef public bint pump_due

    def __cinit__(self, loop, pump):
        self.loop, self.pump = loop, pump
        self.jobs, self.waiters = [], []

    def __len__(self):
        return len(self.jobs)

    def submit(self, bytes job not None):
        """To be awaited at once: what becomes of one encoded job."""
        cdef Waiter waiter = Waiter.__new__(Waiter, self.loop)
        self.jobs.append(job)
        self.waiters.append(waiter)
        self.size_bytes += PyBytes_GET_SIZE(job)
        if not self.pump_due:
            self.pump_due = True
            self.loop.call_soon(self.pump)
        return waiter

    def cut(self, Py_ssize_t jobs_max, Py_ssize_t bytes_max):
        """Takes the next batch: (its jobs, joined; those who wait for them).

        One job goes whatever its size. A job whose task gave it up is taken and left out.
        """
        cdef Py_ssize_t at = 0, size = 0
        cdef bytes job
        cdef Waiter waiter
        kept, kept_waiters = [], []
        while at < len(self.jobs) and len(kept) < jobs_max:
            job, waiter = <bytes>self.jobs[at], <Waiter>self.waiters[at]
            if waiter.state == PENDING:
                if kept and size + PyBytes_GET_SIZE(job) > bytes_max:
                    break
                size += PyBytes_GET_SIZE(job)
                kept.append(job)
                kept_waiters.append(waiter)
            self.size_bytes -= PyBytes_GET_SIZE(job)
            at += 1
        del self.jobs[:at]
        del self.waiters[:at]
        return b"".join(kept), kept_waiters


cdef object outcome_of(wh_job_result *result, client, type handle_type, refused):
    """A handle, or what `refused` makes."""
    cdef Handle handle
    if result.code:
        return refused(<int32_t>result.code, text_of(result.field))
    handle = <Handle?>handle_type.__new__(handle_type)
    handle._client, handle.job_id, handle.duplicate = client, text_of(result.job_id), result.duplicate
    return handle


cdef int check_results(bytes response, Py_ssize_t jobs) except -1:
    cdef wh_pb_reader reader = wh_pb_over(span_of(response))
    cdef wh_job_result result
    cdef Py_ssize_t count = 0
    cdef int found = wh_results_next(&reader, &result)
    while found == 1:
        count += 1
        found = wh_results_next(&reader, &result)
    if found < 0 or count != jobs:
        raise ValueError(f"{len(response)} bytes with {count} whole results for a batch of {jobs} jobs")
    return 0


def read_answer_head(bytes response not None):
    """What a SubmitJobsResponse says as a whole: (batch number, code, retry delay in milliseconds)."""
    cdef wh_submit_answer found
    if not wh_submit_answer_of(span_of(response), &found):
        raise ValueError(f"{len(response)} bytes that are no answer to a batch")
    return found.batch_number, <int32_t>found.code, found.retry_delay_ms


def read_results(bytes response not None, Py_ssize_t jobs, client, type handle_type not None, refused):
    """What a SubmitJobsResponse says of each of `jobs` jobs: a handle, or the error that `refused(code, field)` makes."""
    cdef wh_pb_reader reader = wh_pb_over(span_of(response))
    cdef wh_job_result result
    check_results(response, jobs)
    outcomes = []
    while wh_results_next(&reader, &result) == 1:
        outcomes.append(outcome_of(&result, client, handle_type, refused))
    return outcomes


def answer(bytes response not None, list waiters not None, client, type handle_type not None, refused):
    """Give each waiter its result of a SubmitJobsResponse; as `read_results`. Their tasks go on by `wake`."""
    cdef wh_pb_reader reader = wh_pb_over(span_of(response))
    cdef wh_job_result result
    cdef Waiter waiter
    check_results(response, len(waiters))
    for waiter in waiters:
        wh_results_next(&reader, &result)
        if waiter.state == PENDING:
            waiter.outcome = outcome_of(&result, client, handle_type, refused)
            waiter.state = FAILED if result.code else ANSWERED
