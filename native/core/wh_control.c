/*
 * Decisions about single jobs and queues: get, cancel, reschedule, pause. A job that is not resident is decided on the row that the
 * store gave, provided that nothing happened to it since that was read.
 */
#include "wh_core_internal.h"

bool wh_row_of(wh_core *core, const wh_job *job, const wh_lease *lease, uint16_t attempt, uint8_t state, wh_bytes *row) {
    const wh_session *session = lease ? wh_session_at(core, lease->session) : NULL;
    uint8_t worker_len = session ? session->worker_len : 0;
    uint32_t spec_len = wh_spec_size(job->spec);
    size_t length = (size_t)WH_ROW_HEAD + worker_len + spec_len;
    core->scratch.length = 0;
    if (!wh_buffer_reserve(&core->scratch, length))
        return false;
    uint8_t *out = core->scratch.data;
    memset(out, 0, WH_ROW_HEAD);
    wh_put32(out, (uint32_t)length);
    wh_put_id(out + 4, job->id);
    wh_put64(out + 20, job->due_ms);
    wh_put16(out + 36, attempt);
    out[38] = state;
    out[39] = (uint8_t)((job->flags & WH_JOB_BACKLOG ? WH_ROW_BACKLOG : 0) | (lease ? WH_ROW_LEASED : 0));
    if (lease != NULL) {
        wh_put64(out + 28, lease->fencing);
        wh_put32(out + 40, lease->lease_ms);
        wh_put64(out + 44, lease->fire_ms);
        memcpy(out + 52, session->name, 16);
    }
    out[68] = worker_len;
    wh_put32(out + 72, spec_len);
    uint8_t *at = wh_append(out + WH_ROW_HEAD, session ? session->worker : NULL, worker_len);
    memcpy(at, job->spec, spec_len);
    *row = (wh_bytes){out, length};
    return true;
}

int wh_core_get(wh_core *core, uint64_t now_ms, const uint8_t *id, wh_bytes *row) {
    uint32_t at = wh_job_find(core, wh_get_id(id));
    if (at == WH_NONE)
        return 0;
    const wh_job *job = wh_job_at(core, at);
    const wh_lease *lease = wh_job_lease(core, job);
    uint16_t attempt = job->attempt;
    if (lease != NULL && !lease->delivered && job->due_ms > now_ms) {
        /* Granted ahead of its time: for a user it has not begun. */
        lease = NULL;
        attempt = (uint16_t)(attempt - (attempt != 0));
    }
    uint8_t state = lease ? WH_STATE_RUNNING : wh_waiting_state(attempt, job->due_ms, now_ms);
    return wh_row_of(core, job, lease, attempt, state, row) ? 1 : WH_CORE_NO_MEMORY;
}

/* A job to decide about: the resident one, or one made of the store's row, which is not in the table (`reference` WH_NONE). */
typedef struct {
    uint32_t reference;
    wh_job stored;
} wh_found;

static int find(const wh_core *core, wh_id id, wh_bytes bytes, uint64_t load, wh_found *found) {
    wh_row row;
    found->reference = wh_job_find(core, id);
    if (found->reference != WH_NONE)
        return WH_ERROR_OK;
    if (bytes.length == 0)
        return WH_ERROR_JOB_NOT_FOUND;
    if (wh_load_is_stale(core, id, load))
        return WH_ERROR_STORE_BUSY;
    if (!wh_row_read(core, bytes.data, bytes.length, &row) || wh_id_shard(id) >= core->shards)
        return WH_CORE_MALFORMED;
    if (row.flags & WH_ROW_LEASED || (row.state != WH_STATE_SCHEDULED && row.state != WH_STATE_RETRYING))
        return row.state == WH_STATE_FAILED ? WH_ERROR_JOB_FINISHED : WH_ERROR_STORE_BUSY;
    found->stored = (wh_job){
        .id = id,
        .due_ms = row.due_ms,
        .spec = (uint8_t *)(uintptr_t)row.spec,
        .attempt = row.attempt,
        .flags = row.flags & WH_ROW_BACKLOG ? WH_JOB_BACKLOG : 0,
    };
    return WH_ERROR_OK;
}

/* A job that was decided upon without being resident: rows read before are out of date. */
static void note_departure(wh_core *core, wh_id id) {
    if (core->load_count)
        (void)wh_departed_add(core, id);
}

int wh_core_cancel(wh_core *core, uint64_t now_ms, const uint8_t *id_bytes, wh_bytes row, uint64_t load, wh_bytes *after) {
    wh_found found;
    wh_id id = wh_get_id(id_bytes);
    int code = core->broken ? WH_CORE_NO_MEMORY : find(core, id, row, load, &found);
    if (code != WH_ERROR_OK)
        return code;
    bool resident = found.reference != WH_NONE;
    wh_job *job = resident ? wh_job_at(core, found.reference) : &found.stored;
    const wh_lease *lease = wh_job_lease(core, job);
    wh_outcome outcome = {.kind = WH_ENTRY_CANCEL, .after = WH_STATE_CANCELLED};
    wh_stage_outcome(core, now_ms, job, lease, &outcome);
    core->counters.cancelled++;
    if (!wh_row_of(core, job, lease, job->attempt, WH_STATE_CANCELLED, after))
        core->broken = true;
    if (lease != NULL) {
        wh_stream *stream = wh_session_at(core, lease->session)->stream;
        if (lease->delivered && stream != NULL && !wh_revoke(stream, wh_barrier(core), id, lease->fencing, WH_ERROR_CANCELLED))
            core->broken = true;
        wh_lease_drop(core, (uint32_t)job->stamp, WH_ERROR_CANCELLED, WH_STATE_CANCELLED);
    }
    if (resident)
        wh_job_remove(core, found.reference);
    else
        note_departure(core, id);
    return core->broken ? WH_CORE_NO_MEMORY : WH_ERROR_OK;
}

/*
 * A lease that was not yet given out is taken back. With the horizon lowered meanwhile the job may leave memory by that: then it is
 * decided upon as one of the store's, from a copy of its record.
 */
static bool take_back_found(wh_core *core, uint64_t now_ms, wh_found *found, uint8_t **copy) {
    const wh_job *job = wh_job_at(core, found->reference);
    uint32_t lease = (uint32_t)job->stamp, spec_len = wh_spec_size(job->spec);
    wh_id id = job->id;
    *copy = wh_malloc(spec_len);
    if (*copy == NULL)
        return false;
    memcpy(*copy, job->spec, spec_len);
    found->stored = *job;
    found->stored.spec = *copy;
    found->stored.flags = 0;
    found->stored.attempt = (uint16_t)(job->attempt - (job->attempt != 0));
    wh_take_back(core, now_ms, lease);
    found->reference = wh_job_find(core, id);
    return true;
}

/* Stages the new time and puts the job where it now belongs. */
static int move_job(wh_core *core, uint64_t now_ms, uint64_t due_ms, wh_found *found, wh_bytes *after) {
    bool resident = found->reference != WH_NONE;
    wh_job *job = resident ? wh_job_at(core, found->reference) : &found->stored;
    wh_id id = job->id;
    uint8_t to_backlog = due_ms < core->watermark_ms ? WH_TO_BACKLOG : 0;
    uint8_t flags = (uint8_t)((job->flags & WH_JOB_BACKLOG ? WH_WAS_BACKLOG : 0) | to_backlog);
    if (!resident && !wh_jobs_reserve(core, 1))
        return WH_CORE_NO_MEMORY;
    wh_stage_reschedule(core, now_ms, job, due_ms, flags);
    core->counters.rescheduled++;
    if (resident)
        wh_job_unplace(core, job);
    job->due_ms = due_ms;
    job->flags = (uint8_t)((job->flags & ~WH_JOB_BACKLOG) | (to_backlog ? WH_JOB_BACKLOG : 0));
    if (!wh_row_of(core, job, NULL, job->attempt, wh_waiting_state(job->attempt, due_ms, now_ms), after))
        core->broken = true;
    if (!resident && (to_backlog || wh_keeps(core, due_ms, id, job->spec))) {
        found->reference = wh_job_insert(core, id, due_ms, job->attempt, job->spec, wh_spec_size(job->spec), to_backlog);
        resident = found->reference != WH_NONE;
        core->broken |= !resident;
    }
    if (resident)
        wh_job_place(core, found->reference);
    else
        note_departure(core, id);
    return core->broken ? WH_CORE_NO_MEMORY : WH_ERROR_OK;
}

int wh_core_reschedule(wh_core *core, uint64_t now_ms, const uint8_t *id, uint64_t due_ms, wh_bytes row, uint64_t load, wh_bytes *after) {
    wh_found found;
    due_ms = wh_max64(due_ms, now_ms);
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    if (due_ms - now_ms > WH_SCHEDULE_AHEAD_MS_MAX)
        return WH_ERROR_SCHEDULE_TOO_FAR;
    int code = find(core, wh_get_id(id), row, load, &found);
    if (code != WH_ERROR_OK)
        return code;
    uint8_t *copy = NULL;
    const wh_lease *lease = found.reference == WH_NONE ? NULL : wh_job_lease(core, wh_job_at(core, found.reference));
    if (lease != NULL && lease->delivered)
        return WH_ERROR_JOB_RUNNING;
    if (lease != NULL && !take_back_found(core, now_ms, &found, &copy))
        return WH_CORE_NO_MEMORY;
    code = move_job(core, now_ms, due_ms, &found, after);
    free(copy);
    return code;
}

int wh_core_set_queue(wh_core *core, uint64_t now_ms, const uint8_t *path, size_t length, bool paused) {
    if (length > WH_PATH_BYTES_MAX)
        return WH_CORE_MALFORMED;
    uint32_t reference = core->broken ? WH_NONE : wh_queue_intern(core, path, length);
    if (reference == WH_NONE)
        return WH_CORE_NO_MEMORY;
    wh_queue_meet(core, reference)->paused = paused;
    uint8_t *body = wh_stage(core, WH_ENTRY_QUEUE, 0, 0, now_ms, WH_QUEUE_BODY + length);
    if (body == NULL)
        return WH_CORE_NO_MEMORY;
    body[0] = paused;
    body[1] = (uint8_t)length;
    wh_append(body + WH_QUEUE_BODY, path, length);
    if (!paused)
        return 0;
    for (const wh_stream *stream = core->first_stream; stream != NULL; stream = stream->next) {
        for (const wh_frame *frame = stream->first_frame; frame != NULL; frame = frame->next) {
            for (uint32_t at = 0; at < frame->count; at++) {
                const wh_lease *lease = wh_lease_at(core, frame->leases[at].lease);
                if (lease->fencing == frame->leases[at].fencing && wh_job_at(core, lease->job)->queue == reference)
                    wh_take_back(core, now_ms, frame->leases[at].lease);
            }
        }
    }
    return core->broken ? WH_CORE_NO_MEMORY : 0;
}
