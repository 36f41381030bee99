/* The open group: entries as wheeld.model.entry lays them out. */
#include "wh_core_internal.h"

enum { WH_BUFFER_FIRST = 1 << 16 };

bool wh_buffer_reserve(wh_buffer *buffer, size_t extra) {
    if (extra <= buffer->capacity - buffer->length)
        return true;
    size_t wanted = buffer->length + extra, capacity = buffer->capacity * 2;
    if (capacity < WH_BUFFER_FIRST)
        capacity = WH_BUFFER_FIRST;
    if (capacity < wanted)
        capacity = wanted;
    uint8_t *data = wh_realloc(buffer->data, capacity);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

uint8_t *wh_stage(wh_core *core, uint8_t kind, uint8_t flags, uint32_t shard, uint64_t now_ms, size_t body_len) {
    size_t length = WH_ENTRY_HEAD + body_len;
    if (core->broken || !wh_group_reserve(core->shelf, &core->open, length)) {
        core->broken = true;
        return NULL;
    }
    uint8_t *head = core->open.data + core->open.length;
    core->open.length += length;
    wh_put32(head, (uint32_t)length);
    head[4] = kind;
    head[5] = flags;
    wh_put16(head + 6, (uint16_t)shard);
    wh_put32(head + 8, core->epoch);
    wh_put32(head + 12, 0);
    wh_put64(head + 16, ++core->index[shard]);
    wh_put64(head + 24, now_ms);
    return head + WH_ENTRY_HEAD;
}

static size_t tail_size(const uint8_t *spec, uint8_t flags) {
    return flags ? (size_t)WH_TAIL_HEAD + spec[WH_SPEC_QUEUE_LEN_AT] : 0;
}

static void put_tail(uint8_t *at, const uint8_t *spec, uint8_t flags) {
    if (flags == 0)
        return;
    at[0] = spec[WH_SPEC_PRIORITY_AT];
    at[1] = spec[WH_SPEC_QUEUE_LEN_AT];
    wh_append(at + WH_TAIL_HEAD, wh_spec_queue(spec), at[1]);
}

void wh_stage_outcome(wh_core *core, uint64_t now_ms, wh_job *job, const wh_lease *lease, const wh_outcome *outcome) {
    const uint8_t *spec = job->spec;
    const wh_session *session = lease ? wh_session_at(core, lease->session) : NULL;
    uint8_t flags = job->flags & WH_JOB_BACKLOG ? WH_WAS_BACKLOG : 0;
    if (outcome->after == WH_STATE_RETRYING && outcome->new_due_ms < core->watermark_ms)
        flags |= WH_TO_BACKLOG;
    uint8_t queue_len = spec[WH_SPEC_QUEUE_LEN_AT], type_len = spec[WH_SPEC_TYPE_LEN_AT];
    uint8_t worker_len = session ? session->worker_len : 0;
    uint16_t labels_len = wh_get16(spec + WH_SPEC_LABELS_LEN_AT);
    size_t length = (size_t)WH_OUTCOME_BODY + queue_len + type_len + worker_len + labels_len + outcome->error.length + outcome->result.length;
    uint8_t *body = wh_stage(core, outcome->kind, flags, wh_id_shard(job->id), now_ms, length);
    if (body == NULL)
        return;
    wh_put_id(body, job->id);
    wh_put64(body + 16, lease ? lease->fencing : 0);
    wh_put64(body + 24, job->due_ms);
    wh_put64(body + 32, outcome->new_due_ms);
    wh_put64(body + 40, lease ? lease->fire_ms : 0);
    wh_put64(body + 48, wh_get64(spec + WH_SPEC_SCHEDULE_AT));
    wh_put32(body + 56, (uint32_t)outcome->result.length);
    wh_put16(body + 60, job->attempt);
    body[62] = outcome->after;
    body[63] = spec[WH_SPEC_PRIORITY_AT];
    wh_put16(body + 64, (uint16_t)outcome->error.length);
    wh_put16(body + 66, labels_len);
    body[68] = worker_len;
    body[69] = queue_len;
    body[70] = type_len;
    body[71] = outcome->kind;
    const uint8_t *labels = wh_spec_queue(spec) + queue_len + type_len + spec[WH_SPEC_KEY_LEN_AT] + wh_get16(spec + WH_SPEC_ROUTING_LEN_AT);
    uint8_t *at = wh_append(body + WH_OUTCOME_BODY, wh_spec_queue(spec), (size_t)queue_len + type_len);
    at = wh_append(at, session ? session->worker : NULL, worker_len);
    at = wh_append(at, labels, labels_len);
    at = wh_append(at, outcome->error.data, outcome->error.length);
    wh_append(at, outcome->result.data, outcome->result.length);
    job->flags = (uint8_t)((job->flags & ~WH_JOB_BACKLOG) | (flags & WH_TO_BACKLOG ? WH_JOB_BACKLOG : 0));
}

void wh_stage_grant(wh_core *core, uint64_t now_ms, const wh_job *job, const wh_lease *lease, uint64_t expire_ms) {
    const wh_session *session = wh_session_at(core, lease->session);
    uint8_t flags = job->flags & WH_JOB_BACKLOG ? WH_WAS_BACKLOG : 0;
    size_t length = (size_t)WH_GRANT_BODY + session->worker_len + tail_size(job->spec, flags);
    uint8_t *body = wh_stage(core, WH_ENTRY_GRANT, flags, wh_id_shard(job->id), now_ms, length);
    if (body == NULL)
        return;
    wh_put_id(body, job->id);
    wh_put64(body + 16, lease->fencing);
    wh_put64(body + 24, job->due_ms);
    wh_put64(body + 32, expire_ms);
    wh_put32(body + 40, lease->lease_ms);
    wh_put16(body + 44, job->attempt);
    body[46] = session->worker_len;
    body[47] = lease->redelivery;
    memcpy(body + 48, session->name, 16);
    put_tail(wh_append(body + WH_GRANT_BODY, session->worker, session->worker_len), job->spec, flags);
}

void wh_stage_release(wh_core *core, uint64_t now_ms, const wh_job *job, const wh_lease *lease, uint8_t flags) {
    uint8_t *body = wh_stage(core, WH_ENTRY_RELEASE, flags, wh_id_shard(job->id), now_ms, WH_RELEASE_BODY + tail_size(job->spec, flags));
    if (body == NULL)
        return;
    wh_put_id(body, job->id);
    wh_put64(body + 16, lease->fencing);
    wh_put64(body + 24, job->due_ms);
    wh_put64(body + 32, job->attempt);
    put_tail(body + WH_RELEASE_BODY, job->spec, flags);
}

void wh_stage_renew(wh_core *core, uint64_t now_ms, const wh_job *job, const wh_lease *lease, uint64_t expire_ms) {
    uint8_t *body = wh_stage(core, WH_ENTRY_RENEW, 0, wh_id_shard(job->id), now_ms, WH_RENEW_BODY);
    if (body == NULL)
        return;
    wh_put_id(body, job->id);
    wh_put64(body + 16, lease->fencing);
    wh_put64(body + 24, expire_ms);
    wh_put64(body + 32, lease->lease_ms);
}

void wh_stage_reschedule(wh_core *core, uint64_t now_ms, const wh_job *job, uint64_t due_ms, uint8_t flags) {
    size_t length = WH_RESCHEDULE_BODY + tail_size(job->spec, flags);
    uint8_t *body = wh_stage(core, WH_ENTRY_RESCHEDULE, flags, wh_id_shard(job->id), now_ms, length);
    if (body == NULL)
        return;
    wh_put_id(body, job->id);
    wh_put64(body + 16, job->due_ms);
    wh_put64(body + 24, due_ms);
    wh_put64(body + 32, job->attempt);
    put_tail(body + WH_RESCHEDULE_BODY, job->spec, flags);
}

void wh_stage_backlog(wh_core *core, uint64_t now_ms, wh_job *job) {
    size_t length = WH_BACKLOG_BODY + tail_size(job->spec, WH_TO_BACKLOG);
    uint8_t *body = wh_stage(core, WH_ENTRY_BACKLOG, 0, wh_id_shard(job->id), now_ms, length);
    if (body == NULL)
        return;
    wh_put_id(body, job->id);
    wh_put64(body + 16, job->due_ms);
    put_tail(body + WH_BACKLOG_BODY, job->spec, WH_TO_BACKLOG);
    job->flags |= WH_JOB_BACKLOG;
}

size_t wh_core_open_group_bytes(const wh_core *core) {
    return core->open.length;
}

uint64_t wh_core_barrier_group(const wh_core *core) {
    return wh_barrier(core);
}

int wh_core_take_group(wh_core *core, wh_bytes *taken, uint64_t *group) {
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    taken->length = core->open.length;
    taken->data = wh_group_take(core->shelf, &core->open);
    *group = core->group++;
    return 0;
}
