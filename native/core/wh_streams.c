/* Worker sessions and their streams: attach, resume, credit, detach. */
#include "wh_core_internal.h"

static inline wh_stream *stream_at(const wh_core *core, uint32_t reference) {
    wh_stream **slot = wh_pool_at(&core->streams, reference);
    return *slot;
}

wh_stream *wh_stream_find(const wh_core *core, uint64_t number) {
    uint32_t at = wh_index_first(&core->stream_index, (uint32_t)wh_mix64(number));
    while (at != WH_NONE && stream_at(core, at)->number != number)
        at = wh_index_next(&core->stream_index, at);
    return at == WH_NONE ? NULL : stream_at(core, at);
}

static void free_stream(wh_stream *stream) {
    while (stream->first_frame != NULL) {
        wh_frame *frame = stream->first_frame;
        stream->first_frame = frame->next;
        wh_frame_free(frame);
    }
    free(stream->queues);
    free(stream->revoked);
    free(stream);
}

static bool listens(const wh_stream *stream, uint32_t queue) {
    for (size_t at = 0; at < stream->queue_count; at++)
        if (stream->queues[at] == queue)
            return true;
    return false;
}

/* Resolves the paths, each queue once, in order. */
static bool resolve_queues(wh_core *core, wh_stream *stream, const wh_stream_options *options) {
    stream->queues = wh_malloc((options->queue_count + 1) * sizeof *stream->queues);
    if (stream->queues == NULL)
        return false;
    for (size_t at = 0; at < options->queue_count; at++) {
        uint32_t queue = wh_queue_intern(core, options->queues[at].data, options->queues[at].length);
        if (queue == WH_NONE)
            return false;
        if (!listens(stream, queue))
            stream->queues[stream->queue_count++] = queue;
    }
    for (size_t at = 0; at < stream->queue_count; at++) {
        wh_queue *queue = core->queues[stream->queues[at]];
        if (queue->stream_count < queue->stream_capacity)
            continue;
        size_t capacity = queue->stream_capacity * 2 + 4;
        wh_stream **streams = wh_realloc(queue->streams, capacity * sizeof *streams);
        if (streams == NULL)
            return false;
        queue->streams = streams;
        queue->stream_capacity = capacity;
    }
    return true;
}

/* Builds the stream with room for it everywhere; nothing that decides has changed. NULL: no memory. */
static wh_stream *make_stream(wh_core *core, const wh_stream_options *options) {
    wh_stream *stream = wh_calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->number = options->number;
    stream->max_jobs = options->max_jobs;
    stream->max_bytes = options->max_bytes;
    stream->lease_ms = options->lease_ms;
    if (resolve_queues(core, stream, options) && wh_pool_reserve(&core->streams, 1) &&
        wh_index_reserve(&core->stream_index, core->streams.capacity) &&
        wh_buffer_reserve(&core->scratch, options->held.length / WH_TOKEN_SIZE * WH_REVOKED_SIZE + 1))
        return stream;
    free_stream(stream);
    return NULL;
}

static void attach(wh_core *core, wh_stream *stream, wh_session *session) {
    stream->session = session;
    session->stream = stream;
    stream->reference = wh_pool_take(&core->streams);
    *(wh_stream **)wh_pool_at(&core->streams, stream->reference) = stream;
    wh_index_add(&core->stream_index, stream->reference, (uint32_t)wh_mix64(stream->number));
    stream->previous = core->last_stream;
    if (core->last_stream == NULL)
        core->first_stream = stream;
    else
        core->last_stream->next = stream;
    core->last_stream = stream;
    for (size_t at = 0; at < stream->queue_count; at++) {
        wh_queue *queue = wh_queue_meet(core, stream->queues[at]);
        queue->streams[queue->stream_count++] = stream;
    }
}

/* Why a token that a worker claims to hold is not its lease any more. */
static uint8_t code_of_gone(const wh_core *core, wh_id id, uint64_t fencing) {
    const wh_settled *known = wh_settled_find(core, fencing);
    if (known == NULL || !wh_same_id(known->id, id))
        return WH_ERROR_TOKEN_UNKNOWN;
    return known->code ? known->code : WH_ERROR_LEASE_EXPIRED;
}

/* Marks the session's leases that the worker holds; the others of its tokens go to the scratch buffer. Returns how many it resumes. */
static uint64_t resume(wh_core *core, const wh_session *session, wh_bytes held) {
    uint64_t resumed = 0;
    uint8_t *out = core->scratch.data;
    for (size_t at = 0; at < held.length; at += WH_TOKEN_SIZE) {
        wh_id id = wh_get_id(held.data + at);
        uint64_t fencing = wh_get64(held.data + at + 16);
        uint32_t reference = wh_lease_find(core, fencing);
        wh_lease *lease = reference == WH_NONE ? NULL : wh_lease_at(core, reference);
        bool ours = lease != NULL && lease->session == session->reference;
        if (ours)
            lease->held = true;
        if (ours && wh_same_id(wh_job_at(core, lease->job)->id, id)) {
            resumed++;
            continue;
        }
        wh_put_id(out, id);
        wh_put64(out + 16, fencing);
        wh_put64(out + 24, code_of_gone(core, id, fencing));
        out += WH_REVOKED_SIZE;
    }
    core->scratch.length = (size_t)(out - core->scratch.data);
    return resumed;
}

/* The session lost sight of a lease: the same attempt goes out again under a higher fencing token. */
static void redeliver(wh_core *core, uint64_t now_ms, uint64_t boot_ms, wh_stream *stream, uint32_t reference) {
    const wh_lease *lease = wh_lease_at(core, reference);
    uint32_t job = lease->job, lease_ms = lease->lease_ms;
    wh_lease_drop(core, reference, WH_ERROR_LEASE_FENCED, WH_STATE_RUNNING);
    uint32_t again = wh_start_lease(core, now_ms, boot_ms, stream->session, job, lease_ms, true);
    core->counters.redelivered++;
    if (again != WH_NONE)
        wh_add_to_frame(core, now_ms, stream, again);
}

static void redeliver_unheld(wh_core *core, uint64_t now_ms, uint64_t boot_ms, wh_stream *stream) {
    uint32_t at = stream->session->first, last = stream->session->last;
    while (at != WH_NONE && !core->broken) {
        wh_lease *lease = wh_lease_at(core, at);
        uint32_t next = at == last ? WH_NONE : lease->next; /* new leases come behind `last`, maybe in a slot given back here */
        if (lease->held)
            lease->held = false;
        else
            redeliver(core, now_ms, boot_ms, stream, at);
        at = next;
    }
}

int wh_core_open_stream(wh_core *core, uint64_t now_ms, uint64_t boot_ms, const wh_stream_options *options, uint64_t *resumed, wh_bytes *gone) {
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    if (options->held.length % WH_TOKEN_SIZE || options->worker.length > UINT8_MAX || options->lease_ms > UINT32_MAX)
        return WH_CORE_MALFORMED;
    for (size_t at = 0; at < options->queue_count; at++)
        if (options->queues[at].length > WH_PATH_BYTES_MAX)
            return WH_CORE_MALFORMED;
    const wh_stream *same = wh_stream_find(core, options->number);
    if (same != NULL && memcmp(same->session->name, options->session, 16) != 0)
        return WH_CORE_MISUSED;
    wh_stream *stream = make_stream(core, options);
    wh_session *session = stream ? wh_session_get(core, options->session, options->worker.data, options->worker.length) : NULL;
    if (session == NULL) {
        if (stream != NULL)
            free_stream(stream);
        return WH_CORE_NO_MEMORY;
    }
    if (session->stream != NULL)
        wh_detach(core, now_ms, session->stream, true);
    session->worker_len = (uint8_t)options->worker.length;
    wh_append(session->worker, options->worker.data, options->worker.length);
    attach(core, stream, session);
    *resumed = resume(core, session, options->held);
    redeliver_unheld(core, now_ms, boot_ms, stream);
    *gone = (wh_bytes){core->scratch.data, core->scratch.length};
    core->scratch.length = 0;
    return core->broken ? WH_CORE_NO_MEMORY : 0;
}

/* Takes the stream out of a queue; those behind it move up, and whose turn it is stays so. */
static void leave_queue(wh_queue *queue, const wh_stream *stream) {
    size_t at = 0;
    while (queue->streams[at] != stream)
        at++;
    queue->stream_count--;
    memmove(queue->streams + at, queue->streams + at + 1, (queue->stream_count - at) * sizeof *queue->streams);
    if (queue->turn > at)
        queue->turn--;
    if (queue->turn >= queue->stream_count)
        queue->turn = 0;
}

void wh_detach(wh_core *core, uint64_t now_ms, wh_stream *stream, bool keep_session) {
    wh_session *session = stream->session;
    for (size_t at = 0; at < stream->queue_count; at++)
        leave_queue(core->queues[stream->queues[at]], stream);
    if (stream->previous == NULL)
        core->first_stream = stream->next;
    else
        stream->previous->next = stream->next;
    if (stream->next == NULL)
        core->last_stream = stream->previous;
    else
        stream->next->previous = stream->previous;
    wh_index_remove(&core->stream_index, stream->reference);
    wh_pool_give(&core->streams, stream->reference);
    /* The session names the stream until the last lease is back: so it stays alive on the way. */
    for (const wh_frame *frame = stream->first_frame; frame != NULL; frame = frame->next)
        for (uint32_t at = 0; at < frame->count; at++)
            if (wh_lease_at(core, frame->leases[at].lease)->fencing == frame->leases[at].fencing)
                wh_take_back(core, now_ms, frame->leases[at].lease);
    session->stream = NULL;
    if (!keep_session)
        wh_session_drop_if_idle(core, session);
    free_stream(stream);
}

int wh_core_close_stream(wh_core *core, uint64_t now_ms, uint64_t number) {
    wh_stream *stream = wh_stream_find(core, number);
    if (stream != NULL && !core->broken)
        wh_detach(core, now_ms, stream, false);
    return core->broken ? WH_CORE_NO_MEMORY : 0;
}

void wh_core_set_credit(wh_core *core, uint64_t number, int64_t max_jobs, int64_t max_bytes) {
    wh_stream *stream = wh_stream_find(core, number);
    if (stream == NULL)
        return;
    stream->max_jobs = max_jobs;
    stream->max_bytes = max_bytes;
}
