/* What ends or changes a lease: ack, nack, release, renewal, expiry. Every way out of RUNNING passes through `finish` or take back. */
#include "wh_core_internal.h"

typedef struct {
    uint64_t now_ms, boot_ms;
    const uint8_t *session;
} wh_settle_call;

typedef struct {
    uint8_t op, flags;
    uint32_t delay_ms, extend_ms;
    uint64_t fencing, receive_us;
    wh_id id;
    wh_bytes error, result;
} wh_settle_item;

typedef struct {
    uint8_t code, flags, after;
    uint64_t expire_ms;
} wh_settle_answer;

static const wh_bytes no_bytes = {NULL, 0};

int64_t wh_core_settle_count(const uint8_t *batch, size_t length) {
    if (length < WH_SETTLE_BATCH_HEAD)
        return WH_CORE_MALFORMED;
    uint32_t count = wh_get32(batch);
    size_t at = WH_SETTLE_BATCH_HEAD;
    for (uint32_t item = 0; item < count; item++) {
        if (length - at < WH_SETTLE_HEAD)
            return WH_CORE_MALFORMED;
        size_t texts = (size_t)wh_get16(batch + at + 2) + wh_get32(batch + at + 4);
        at += WH_SETTLE_HEAD;
        if (texts > length - at)
            return WH_CORE_MALFORMED;
        at += texts;
    }
    return at == length ? (int64_t)count : WH_CORE_MALFORMED;
}

static size_t read_item(const uint8_t *at, wh_settle_item *item) {
    *item = (wh_settle_item){
        .op = at[0],
        .flags = at[1],
        .delay_ms = wh_get32(at + 8),
        .extend_ms = wh_get32(at + 12),
        .fencing = wh_get64(at + 16),
        .id = wh_get_id(at + 24),
        .receive_us = wh_get64(at + 40),
        .error = {at + WH_SETTLE_HEAD, wh_get16(at + 2)},
    };
    item->result = (wh_bytes){item->error.data + item->error.length, wh_get32(at + 4)};
    return WH_SETTLE_HEAD + item->error.length + item->result.length;
}

/* The attempt ended and the job with it. */
static uint8_t finish(wh_core *core, uint64_t now_ms, uint32_t at, uint8_t code, const wh_outcome *outcome) {
    wh_lease *lease = wh_lease_at(core, at);
    uint32_t job = lease->job;
    wh_stage_outcome(core, now_ms, wh_job_at(core, job), lease, outcome);
    wh_lease_drop(core, at, code, outcome->after);
    wh_job_remove(core, job);
    return outcome->after;
}

/* The attempt failed (nack or expiry): the job waits for its next attempt, or goes to the dead letters. */
static uint8_t fail(wh_core *core, uint64_t now_ms, uint32_t at, uint8_t kind, uint32_t delay_ms, bool no_retry, wh_bytes error) {
    wh_lease *lease = wh_lease_at(core, at);
    uint32_t job_at = lease->job;
    wh_job *job = wh_job_at(core, job_at);
    uint8_t code = kind == WH_ENTRY_LEASE_EXPIRE ? WH_ERROR_LEASE_EXPIRED : 0;
    wh_outcome outcome = {.kind = kind, .after = WH_STATE_FAILED, .error = error, .result = no_bytes};
    if (no_retry || job->attempt >= wh_get16(job->spec + WH_SPEC_ATTEMPTS_AT)) {
        core->counters.failed++;
        return finish(core, now_ms, at, code, &outcome);
    }
    uint64_t delay = delay_ms == WH_NO_DELAY ? wh_backoff_ms(job->spec, job->attempt, wh_id_seq(job->id)) : delay_ms;
    outcome.after = WH_STATE_RETRYING;
    /* A wall clock that was stepped back must not bring the next attempt before the time of this one. */
    outcome.new_due_ms = wh_max64(now_ms + delay, job->due_ms);
    wh_stage_outcome(core, now_ms, job, lease, &outcome);
    wh_lease_drop(core, at, code, WH_STATE_RETRYING);
    job->due_ms = outcome.new_due_ms;
    wh_job_place(core, job_at);
    return WH_STATE_RETRYING;
}

/* The lease is given back without spending the attempt, which a redelivery only repeats; the job waits again at the time it had. Returns its state then. */
uint8_t wh_take_back(wh_core *core, uint64_t now_ms, uint32_t at) {
    wh_lease *lease = wh_lease_at(core, at);
    uint32_t job_at = lease->job;
    wh_job *job = wh_job_at(core, job_at);
    if (job->attempt)
        job->attempt--;
    uint8_t flags = job->due_ms < core->watermark_ms ? WH_TO_BACKLOG : 0;
    wh_stage_release(core, now_ms, job, lease, flags);
    core->counters.taken_back++;
    uint8_t after = wh_waiting_state(job->attempt, job->due_ms, now_ms);
    wh_lease_drop(core, at, 0, after);
    job->flags = (uint8_t)((job->flags & ~WH_JOB_BACKLOG) | (flags ? WH_JOB_BACKLOG : 0));
    wh_job_place(core, job_at);
    return after;
}

/* Starts the lease's time anew; returns when it then ends (wall clock). */
static uint64_t renew(wh_core *core, const wh_settle_call *call, uint32_t at, uint32_t extend_ms) {
    wh_lease *lease = wh_lease_at(core, at);
    if (extend_ms)
        lease->lease_ms = extend_ms;
    uint64_t expire_ms = call->now_ms + lease->lease_ms;
    wh_stage_renew(core, call->now_ms, wh_job_at(core, lease->job), lease, expire_ms);
    if (wh_wheel_arm(core->lease_wheel, at, call->boot_ms + lease->lease_ms) < 0)
        core->broken = true;
    core->counters.renewed++;
    return expire_ms;
}

void wh_expire_lease(wh_core *core, uint64_t now_ms, uint32_t at) {
    static const char text[] = "lease expired";
    const wh_lease *lease = wh_lease_at(core, at);
    wh_stream *stream = wh_session_at(core, lease->session)->stream;
    wh_id id = wh_job_at(core, lease->job)->id;
    uint64_t fencing = lease->fencing;
    if (!lease->delivered) {
        /* What the worker was never given (the journal stood still) spends no attempt. */
        wh_take_back(core, now_ms, at);
        return;
    }
    core->counters.lease_expirations++;
    fail(core, now_ms, at, WH_ENTRY_LEASE_EXPIRE, WH_NO_DELAY, false, (wh_bytes){(const uint8_t *)text, sizeof text - 1});
    if (stream != NULL && !wh_revoke(stream, wh_barrier(core), id, fencing, WH_ERROR_LEASE_EXPIRED))
        core->broken = true;
}

/* A token that holds no lease: settled before (fine, unless it was taken away), or older than the job's present lease, or unknown. */
static wh_settle_answer refuse_stale(wh_core *core, const wh_settle_item *item) {
    const wh_settled *known = wh_settled_find(core, item->fencing);
    if (known != NULL && wh_same_id(known->id, item->id)) {
        uint8_t code = known->code == 0 && item->op == WH_OP_RENEW ? WH_ERROR_LEASE_EXPIRED : known->code;
        core->counters.stale_settles += code != 0;
        return (wh_settle_answer){.code = code, .flags = code ? 0 : WH_RESULT_REPEATED, .after = known->after};
    }
    core->counters.stale_settles++;
    uint32_t at = wh_job_find(core, item->id);
    if (at == WH_NONE)
        return (wh_settle_answer){.code = WH_ERROR_TOKEN_UNKNOWN};
    const wh_job *job = wh_job_at(core, at);
    if (job->flags & WH_JOB_LEASED)
        return (wh_settle_answer){.code = WH_ERROR_LEASE_FENCED, .after = WH_STATE_RUNNING};
    return (wh_settle_answer){.code = WH_ERROR_LEASE_EXPIRED, .after = job->attempt ? WH_STATE_RETRYING : WH_STATE_SCHEDULED};
}

static wh_settle_answer apply(wh_core *core, const wh_settle_call *call, uint32_t at, const wh_settle_item *item) {
    wh_settle_answer answer = {.after = WH_STATE_RUNNING};
    if (item->op == WH_OP_ACK) {
        wh_outcome outcome = {.kind = WH_ENTRY_ACK, .after = WH_STATE_SUCCEEDED, .error = no_bytes, .result = item->result};
        answer.after = finish(core, call->now_ms, at, 0, &outcome);
        core->counters.acked++;
    } else if (item->op == WH_OP_NACK) {
        bool no_retry = item->flags & WH_SETTLE_NO_RETRY;
        answer.after = fail(core, call->now_ms, at, WH_ENTRY_NACK, item->delay_ms, no_retry, item->error);
        core->counters.nacked++;
    } else if (item->op == WH_OP_RELEASE) {
        answer.after = wh_take_back(core, call->now_ms, at);
    } else if (item->op == WH_OP_RENEW) {
        answer.expire_ms = renew(core, call, at, item->extend_ms);
    }
    return answer;
}

/* Whether a caller of this session may settle a lease that `holder` has: trailing zeros stand for any bytes there, zeros alone for anybody. */
static bool may_settle(const uint8_t *session, const uint8_t *holder) {
    static const uint8_t zeros[16];
    if (memcmp(session, zeros, 16) == 0 || memcmp(session, holder, 16) == 0)
        return true;
    return memcmp(session + 8, zeros, 8) == 0 && memcmp(session, holder, 8) == 0;
}

static wh_settle_answer settle_one(wh_core *core, const wh_settle_call *call, const wh_settle_item *item) {
    uint32_t at = wh_lease_find(core, item->fencing);
    const wh_lease *lease = at == WH_NONE ? NULL : wh_lease_at(core, at);
    const wh_job *job = lease ? wh_job_at(core, lease->job) : NULL;
    if (lease == NULL || !lease->delivered || !wh_same_id(job->id, item->id))
        return refuse_stale(core, item);
    if (!may_settle(call->session, wh_session_at(core, lease->session)->name))
        return (wh_settle_answer){.code = WH_ERROR_LEASE_NOT_YOURS, .after = WH_STATE_RUNNING};
    if (item->receive_us)
        wh_skew_add(&core->queues[job->queue]->receive_skew, wh_late_us(item->receive_us, job->due_ms));
    return apply(core, call, at, item);
}

static const uint8_t *skip_item(const uint8_t *at) {
    return at + WH_SETTLE_HEAD + wh_get16(at + 2) + wh_get32(at + 4);
}

/*
 * What an item touches lies anywhere and hangs together: its token finds the lease, that the job, that the record. So three looks ahead
 * go through the batch before the work does; each fetches what the next one follows.
 */
enum { WH_LOOKS = 3, WH_LOOK_STEP = 6 };

typedef struct {
    const uint8_t *at[WH_LOOKS];
    int64_t number[WH_LOOKS];
    int64_t count;
} wh_look_ahead;

static void look(const wh_core *core, const uint8_t *item, int which) {
    uint64_t fencing = wh_get64(item + 16);
    if (which == 0) {
        wh_index_expect(&core->job_index, wh_id_hash(wh_get_id(item + 24)));
        wh_lease_expect(core, fencing);
        return;
    }
    uint32_t lease = wh_lease_find(core, fencing);
    if (lease == WH_NONE)
        return;
    uint32_t job = wh_lease_at(core, lease)->job;
    if (which == 1) {
        wh_wheel_expect(core->lease_wheel, lease);
        __builtin_prefetch(wh_job_at(core, job), 1);
        __builtin_prefetch(&core->job_index.nodes[job], 1);
        return;
    }
    __builtin_prefetch(wh_job_at(core, job)->spec, 1);
    __builtin_prefetch(wh_job_at(core, job)->spec + 64, 1);
}

static void look_ahead(const wh_core *core, wh_look_ahead *ahead, int64_t number) {
    for (int which = 0; which < WH_LOOKS; which++) {
        int64_t until = number + (WH_LOOKS - which) * WH_LOOK_STEP;
        for (; ahead->number[which] < ahead->count && ahead->number[which] < until; ahead->number[which]++) {
            look(core, ahead->at[which], which);
            ahead->at[which] = skip_item(ahead->at[which]);
        }
    }
}

int wh_core_settle(wh_core *core, uint64_t now_ms, uint64_t boot_ms, const uint8_t *session, const uint8_t *batch, size_t length,
                   uint8_t *out, uint64_t *group) {
    int64_t count = wh_core_settle_count(batch, length);
    const wh_settle_call call = {.now_ms = now_ms, .boot_ms = boot_ms, .session = session};
    if (count < 0)
        return WH_CORE_MALFORMED;
    const uint8_t *at = batch + WH_SETTLE_BATCH_HEAD;
    wh_look_ahead ahead = {.at = {at, at, at}, .count = count};
    for (int64_t number = 0; number < count && !core->broken; number++, out += WH_SETTLE_RESULT) {
        wh_settle_item item;
        look_ahead(core, &ahead, number);
        at += read_item(at, &item);
        wh_settle_answer answer = settle_one(core, &call, &item);
        out[0] = item.op;
        out[1] = answer.code;
        out[2] = answer.flags;
        out[3] = answer.after;
        memset(out + 4, 0, 4);
        wh_put64(out + 8, answer.expire_ms);
    }
    *group = wh_barrier(core);
    return core->broken ? WH_CORE_NO_MEMORY : 0;
}
