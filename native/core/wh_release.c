/* From granted to delivered: frames of leases, given out once durable and due; revoked tokens, once durable. */
#include "wh_core_internal.h"

enum { WH_FRAME_FIRST = 32 };

void wh_frame_free(wh_frame *frame) {
    free(frame->leases);
    free(frame);
}

static wh_frame *new_frame(wh_stream *stream, uint64_t release_ms, uint64_t group) {
    wh_frame *frame = wh_calloc(1, sizeof *frame);
    if (frame == NULL)
        return NULL;
    frame->release_ms = release_ms;
    frame->group = group;
    if (stream->last_frame == NULL)
        stream->first_frame = frame;
    else
        stream->last_frame->next = frame;
    stream->last_frame = frame;
    return frame;
}

static bool grow_frame(wh_frame *frame) {
    uint32_t capacity = frame->capacity ? frame->capacity * 2 : WH_FRAME_FIRST;
    wh_frame_lease *leases = wh_realloc(frame->leases, capacity * sizeof *leases);
    if (leases == NULL)
        return false;
    frame->leases = leases;
    frame->capacity = capacity;
    return true;
}

/* Puts the lease into the stream's last frame when it fits there, else into a new one. */
void wh_add_to_frame(wh_core *core, uint64_t now_ms, wh_stream *stream, uint32_t reference) {
    const wh_lease *lease = wh_lease_at(core, reference);
    const wh_job *job = wh_job_at(core, lease->job);
    uint64_t release_ms = wh_max64(now_ms, job->due_ms);
    size_t bytes = (size_t)WH_GRANT_HEAD + wh_spec_size(job->spec);
    wh_frame *frame = stream->last_frame;
    if (frame == NULL || frame->release_ms != release_ms || frame->group != core->group || frame->count >= WH_FRAME_JOBS_MAX ||
        frame->bytes + bytes > WH_FRAME_BYTES_MAX)
        frame = new_frame(stream, release_ms, core->group);
    if (frame == NULL || (frame->count == frame->capacity && !grow_frame(frame))) {
        core->broken = true;
        return;
    }
    frame->leases[frame->count++] = (wh_frame_lease){.lease = reference, .fencing = lease->fencing};
    frame->bytes += bytes;
}

bool wh_revoke(wh_stream *stream, uint64_t group, wh_id id, uint64_t fencing, uint8_t code) {
    if (stream->revoked_count == stream->revoked_capacity) {
        size_t capacity = stream->revoked_capacity * 2 + 8;
        wh_revoked *revoked = wh_realloc(stream->revoked, capacity * sizeof *revoked);
        if (revoked == NULL)
            return false;
        stream->revoked = revoked;
        stream->revoked_capacity = capacity;
    }
    stream->revoked[stream->revoked_count++] = (wh_revoked){.group = group, .id = id, .fencing = fencing, .code = code};
    return true;
}

static size_t durable_revoked(const wh_stream *stream, uint64_t durable) {
    size_t count = 0;
    for (size_t at = 0; at < stream->revoked_count; at++)
        count += stream->revoked[at].group <= durable;
    return count;
}

void wh_core_release_begin(wh_core *core, uint64_t now_us, uint64_t durable_group, int64_t jobs_max) {
    core->cursor = (wh_release_cursor){.now_us = now_us, .durable = durable_group, .budget = jobs_max, .stream = core->first_stream};
}

/* Takes the found frame out of the stream's list. */
static void unlink_frame(wh_release_cursor *cursor) {
    wh_stream *stream = cursor->stream;
    wh_frame *frame = cursor->frame;
    if (cursor->before == NULL)
        stream->first_frame = frame->next;
    else
        cursor->before->next = frame->next;
    if (stream->last_frame == frame)
        stream->last_frame = cursor->before;
    cursor->frame = NULL;
    wh_frame_free(frame);
}

/* Finds the stream's next frame that may leave. */
static bool next_frame(wh_release_cursor *cursor) {
    wh_frame *frame = cursor->before ? cursor->before->next : cursor->stream->first_frame;
    for (; frame != NULL && cursor->budget > 0; cursor->before = frame, frame = frame->next) {
        if (frame->group <= cursor->durable && frame->release_ms <= cursor->now_us / 1000) {
            cursor->frame = frame;
            return true;
        }
    }
    return false;
}

int wh_core_release_next(wh_core *core, wh_message *message) {
    wh_release_cursor *cursor = &core->cursor;
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    while (cursor->stream != NULL) {
        wh_stream *stream = cursor->stream;
        size_t revoked = cursor->revoked_seen ? 0 : durable_revoked(stream, cursor->durable);
        cursor->revoked_seen = true;
        if (revoked) {
            cursor->kind = WH_MESSAGE_REVOKED;
            *message = (wh_message){.stream = stream->number, .kind = WH_MESSAGE_REVOKED, .bytes_max = revoked * WH_REVOKED_SIZE};
            return 1;
        }
        if (next_frame(cursor)) {
            cursor->kind = WH_MESSAGE_LEASES;
            *message = (wh_message){.stream = stream->number, .kind = WH_MESSAGE_LEASES, .bytes_max = cursor->frame->bytes};
            return 1;
        }
        cursor->stream = stream->next;
        cursor->before = NULL;
        cursor->revoked_seen = false;
    }
    return 0;
}

static void put_revoked(uint8_t *out, wh_id id, uint64_t fencing, uint8_t code) {
    wh_put_id(out, id);
    wh_put64(out + 16, fencing);
    wh_put64(out + 24, code);
}

static uint32_t write_revoked(wh_release_cursor *cursor, uint8_t *out) {
    wh_stream *stream = cursor->stream;
    size_t kept = 0;
    uint32_t gone = 0;
    for (size_t at = 0; at < stream->revoked_count; at++) {
        const wh_revoked *token = &stream->revoked[at];
        if (token->group <= cursor->durable)
            put_revoked(out + (size_t)gone++ * WH_REVOKED_SIZE, token->id, token->fencing, token->code);
        else
            stream->revoked[kept++] = *token;
    }
    stream->revoked_count = kept;
    return gone;
}

/* Writes one lease, delivered from now on; returns the end of what was written. */
static uint8_t *write_lease(wh_core *core, wh_lease *lease, uint8_t *out) {
    const wh_job *job = wh_job_at(core, lease->job);
    uint64_t now_us = core->cursor.now_us;
    uint32_t spec_len = wh_spec_size(job->spec);
    /* The lease's time runs since the grant: the worker must not believe in more than the timer gives. */
    uint64_t expire_ms = lease->fire_ms + lease->lease_ms;
    lease->delivered = true;
    lease->fire_ms = wh_max64(now_us / 1000, job->due_ms);
    if (!lease->redelivery)
        wh_skew_add(&core->queues[job->queue]->release_skew, wh_late_us(now_us, job->due_ms));
    wh_put32(out, WH_GRANT_HEAD - 4 + spec_len);
    wh_put_id(out + 4, job->id);
    wh_put64(out + 20, lease->fencing);
    wh_put64(out + 28, job->due_ms);
    wh_put64(out + 36, expire_ms);
    wh_put32(out + 44, lease->lease_ms);
    wh_put16(out + 48, job->attempt);
    wh_put16(out + 50, lease->redelivery ? WH_GRANT_REDELIVERY : 0);
    wh_put32(out + 52, spec_len);
    memcpy(out + WH_GRANT_HEAD, job->spec, spec_len);
    return out + WH_GRANT_HEAD + spec_len;
}

/* Fetches for an entry that comes soon: its lease, then the job, then the record, which is read whole. */
static void look(const wh_core *core, const wh_frame_lease *entry, int which) {
    enum { LINE = 64, LINES = 4 };
    const wh_lease *lease = wh_lease_at(core, entry->lease);
    if (which == 0) {
        __builtin_prefetch(lease, 1);
        return;
    }
    if (lease->fencing != entry->fencing)
        return;
    const wh_job *job = wh_job_at(core, lease->job);
    if (which == 1) {
        __builtin_prefetch(job);
        return;
    }
    for (int line = 0; line < LINES; line++)
        __builtin_prefetch(job->spec + line * LINE);
}

static uint32_t write_frame(wh_core *core, uint8_t *out, size_t *written) {
    enum { LOOKS = 3, STEP = 5 };
    const wh_frame *frame = core->cursor.frame;
    uint8_t *at = out;
    uint32_t count = 0;
    uint32_t looked[LOOKS] = {0};
    for (uint32_t number = 0; number < frame->count; number++) {
        const wh_frame_lease *entry = &frame->leases[number];
        wh_lease *lease = wh_lease_at(core, entry->lease);
        for (uint32_t which = 0; which < LOOKS; which++)
            for (; looked[which] < frame->count && looked[which] < number + (LOOKS - which) * STEP; looked[which]++)
                look(core, &frame->leases[looked[which]], (int)which);
        if (lease->fencing != entry->fencing)
            continue;
        at = write_lease(core, lease, at);
        count++;
    }
    *written = (size_t)(at - out);
    core->cursor.budget -= frame->count;
    core->counters.released_leases += count;
    core->counters.released_frames += count != 0;
    unlink_frame(&core->cursor);
    return count;
}

uint32_t wh_core_release_write(wh_core *core, uint8_t *out, size_t *written) {
    if (core->cursor.kind == WH_MESSAGE_LEASES)
        return write_frame(core, out, written);
    uint32_t count = write_revoked(&core->cursor, out);
    *written = (size_t)count * WH_REVOKED_SIZE;
    return count;
}

uint64_t wh_core_next_wake_ms(const wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, uint64_t durable_group) {
    uint64_t wake = UINT64_MAX;
    if (wh_wheel_count(core->wheel)) {
        uint64_t next = wh_wheel_next(core->wheel);
        wake = next > lead_ms ? next - lead_ms : 0;
    }
    if (wh_wheel_count(core->lease_wheel)) {
        uint64_t next = wh_wheel_next(core->lease_wheel), ends_ms = now_ms + (next > boot_ms ? next - boot_ms : 0);
        wake = ends_ms < wake ? ends_ms : wake;
    }
    for (const wh_stream *stream = core->first_stream; stream != NULL; stream = stream->next) {
        for (const wh_frame *frame = stream->first_frame; frame != NULL; frame = frame->next)
            if (frame->group <= durable_group && frame->release_ms < wake)
                wake = frame->release_ms;
        if (now_ms < wake && durable_revoked(stream, durable_group))
            wake = now_ms;
    }
    return wake;
}
