/*
 * What each kind of entry means for the store. The layouts are those of model/entry.py; each function checks the lengths it
 * relies on, so that bytes which contradict themselves are refused and never read past.
 */
#include "wh_fold_internal.h"

#define WH_DAY_MS UINT64_C(86400000)
#define WH_KEY_WINDOW_MS (7 * WH_DAY_MS) /* limits.IDEMPOTENCY_WINDOW_MS; a test compares them */
#define WH_SPEC_HEAD 56u
#define WH_OUTCOME_HEAD 72u
#define WH_LEASE_HEAD 56u

enum {
    SUBMIT = 1, GRANT, ACK, NACK, LEASE_EXPIRE, RELEASE, RENEW, CANCEL, EXPIRE, RESCHEDULE, BACKLOG, PRODUCER, QUEUE, CLOSE, EPOCH
};

/* A place in the backlog: where a tail, a spec or an outcome says the job waits. */
typedef struct {
    const uint8_t *queue;
    uint8_t queue_len, priority;
} wh_place;

static int note_moved(wh_fold *fold, const wh_fold_job *job, int kind, uint64_t due_ms) {
    uint32_t bucket = wh_bucket(fold, due_ms);
    if (bucket == wh_id_bucket(job->id))
        return 0;
    uint8_t *key = wh_fold_alloc(fold, 6 + WH_ID);
    if (key == NULL)
        return WH_FOLD_NO_MEMORY;
    memcpy(key, job->id, 2);
    wh_put_be32(key + 2, bucket);
    memcpy(key + 6, job->id, WH_ID);
    return wh_fold_note(fold, WH_FOLD_MOVED, kind, job->fresh, key, 6 + WH_ID, NULL, 0);
}

/* The job's due time changes: the moved row follows. */
static int move_due(wh_fold *fold, const wh_fold_job *job, uint64_t old_ms, uint64_t new_ms) {
    if (wh_bucket(fold, old_ms) == wh_bucket(fold, new_ms))
        return 0;
    int code = note_moved(fold, job, WH_FOLD_DELETE, old_ms);
    return code ? code : note_moved(fold, job, WH_FOLD_PUT, new_ms);
}

static int note_backlog(wh_fold *fold, const wh_fold_job *job, int kind, const wh_place *place, uint64_t due_ms) {
    size_t length = place->queue_len + 2u + 8 + WH_ID;
    if (place->queue_len == 0 || place->priority > 9)
        return WH_FOLD_MALFORMED;
    uint8_t *key = wh_fold_alloc(fold, length);
    if (key == NULL)
        return WH_FOLD_NO_MEMORY;
    memcpy(key, place->queue, place->queue_len);
    uint8_t *at = key + place->queue_len;
    *at++ = 0;
    *at++ = (uint8_t)(9 - place->priority);
    wh_put_be64(at, due_ms);
    memcpy(at + 8, job->id, WH_ID);
    return wh_fold_note(fold, WH_FOLD_BACKLOG, kind, job->fresh, key, length, NULL, 0);
}

static int note_dead(wh_fold *fold, const wh_fold_job *job, const wh_place *place, uint64_t time_ms) {
    size_t length = place->queue_len + 1u + 8 + WH_ID;
    uint8_t *key = wh_fold_alloc(fold, length);
    if (key == NULL)
        return WH_FOLD_NO_MEMORY;
    memcpy(key, place->queue, place->queue_len);
    key[place->queue_len] = 0;
    wh_put_be64(key + place->queue_len + 1, time_ms);
    memcpy(key + place->queue_len + 9, job->id, WH_ID);
    return wh_fold_note(fold, WH_FOLD_DEAD, WH_FOLD_PUT, job->fresh, key, length, NULL, 0);
}

/* Reads a tail that must fill the rest of the body. */
static int read_tail(const wh_entry *entry, size_t at, wh_place *place) {
    if (entry->length < at + 2 || entry->length != at + 2 + entry->body[at + 1])
        return WH_FOLD_MALFORMED;
    place->priority = entry->body[at];
    place->queue_len = entry->body[at + 1];
    place->queue = entry->body + at + 2;
    return 0;
}

/* Reads the tail when the flags promise one; without, the body must end at `at`. */
static int read_optional_tail(const wh_entry *entry, size_t at, wh_place *place) {
    if (entry->flags & (WH_TO_BACKLOG | WH_WAS_BACKLOG))
        return read_tail(entry, at, place);
    return entry->length == at ? 0 : WH_FOLD_MALFORMED;
}

/* The record of the job that an entry names, unless this run has ended it. */
static int find_job(wh_fold *fold, const wh_entry *entry, size_t body_min, wh_fold_job **job) {
    if (entry->length < body_min)
        return WH_FOLD_MALFORMED;
    if ((uint32_t)entry->body[0] << 8 != (entry->shard & 0xFF00u) || entry->body[1] != (entry->shard & 0xFFu))
        return WH_FOLD_MALFORMED;
    if (entry->body[14] != 0 || entry->body[15] != 0)
        return WH_FOLD_MALFORMED;
    *job = wh_fold_find(fold, entry->body);
    if (*job == NULL)
        return WH_FOLD_NO_MEMORY;
    return (*job)->gone ? WH_FOLD_JOB_ENDED : 0;
}

static int note_key(wh_fold *fold, const wh_entry *entry) {
    static const uint8_t none[16];
    if (memcmp(entry->body + 16, none, sizeof none) == 0)
        return 0;
    uint8_t *key = wh_fold_alloc(fold, 20 + 33);
    if (key == NULL)
        return WH_FOLD_NO_MEMORY;
    wh_put_be32(key, (uint32_t)((entry->now_ms + WH_KEY_WINDOW_MS) / WH_DAY_MS + 1));
    memcpy(key + 4, entry->body + 16, 16);
    uint8_t *value = key + 20;
    value[0] = WH_RECORD_VERSION;
    memcpy(value + 1, entry->body, WH_ID);
    memcpy(value + 17, entry->body + 32, 8);
    wh_put_u64(value + 25, entry->now_ms);
    return wh_fold_note(fold, WH_FOLD_KEYS, WH_FOLD_PUT, 0, key, 20, value, 33);
}

static int spec_is_whole(const uint8_t *spec, size_t length) {
    if (length < WH_SPEC_HEAD || spec[0] != 1)
        return 0;
    return length == (size_t)WH_SPEC_HEAD + spec[3] + spec[4] + spec[5] + wh_u16(spec + 6) + spec[53] + wh_u16(spec + 54) + wh_u32(spec + 32);
}

static int fold_submit(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    int code = find_job(fold, entry, 48, &job);
    if (code != 0)
        return code;
    const uint8_t *spec = entry->body + 48;
    if (job->fresh || job->lease_is != WH_LEASE_UNTOUCHED || job->state_known != WH_STATE_UNKNOWN)
        return WH_FOLD_JOB_ENDED;
    if (!spec_is_whole(spec, entry->length - 48))
        return WH_FOLD_MALFORMED;
    job->fresh = 1;
    job->spec = spec;
    job->spec_len = (uint32_t)(entry->length - 48);
    job->state = WH_SCHEDULED;
    job->state_known = WH_STATE_KNOWN;
    job->due_ms = wh_u64(entry->body + 40);
    wh_fold_shard *shard = &fold->shards[entry->shard];
    if (wh_id_seq(job->id) + 1 > shard->next_seq)
        shard->next_seq = wh_id_seq(job->id) + 1;
    code = note_moved(fold, job, WH_FOLD_PUT, job->due_ms);
    if (code == 0 && entry->flags & WH_TO_BACKLOG) {
        wh_place place = {.queue = spec + WH_SPEC_HEAD, .queue_len = spec[3], .priority = spec[2]};
        code = note_backlog(fold, job, WH_FOLD_PUT, &place, job->due_ms);
    }
    return code ? code : note_key(fold, entry);
}

static int fold_grant(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    int code = find_job(fold, entry, 64, &job);
    if (code != 0)
        return code;
    const uint8_t *body = entry->body;
    uint8_t worker_len = body[46];
    wh_place place = {0};
    if ((code = entry->length < 64u + worker_len ? WH_FOLD_MALFORMED : read_optional_tail(entry, 64u + worker_len, &place)) != 0)
        return code;
    uint64_t due_ms = wh_u64(body + 24);
    uint8_t *lease = wh_fold_alloc(fold, WH_LEASE_HEAD + worker_len);
    if (lease == NULL)
        return WH_FOLD_NO_MEMORY;
    lease[0] = WH_RECORD_VERSION;
    lease[1] = worker_len;
    memcpy(lease + 2, body + 44, 2);
    memcpy(lease + 4, body + 40, 4);
    memcpy(lease + 8, body + 16, 24);
    wh_put_u64(lease + 32, entry->now_ms > due_ms ? entry->now_ms : due_ms);
    memcpy(lease + 40, body + 48, 16u + worker_len);
    job->lease_is = WH_LEASE_HELD;
    job->lease = lease;
    job->lease_len = WH_LEASE_HEAD + worker_len;
    return entry->flags & WH_WAS_BACKLOG ? note_backlog(fold, job, WH_FOLD_DELETE, &place, due_ms) : 0;
}

static int fold_renew(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    int code = find_job(fold, entry, 40, &job);
    if (code != 0)
        return code;
    if (job->lease_is == WH_LEASE_ENDED || (job->fresh && job->lease_is == WH_LEASE_UNTOUCHED))
        return WH_FOLD_JOB_ENDED;
    if (job->lease_is == WH_LEASE_UNTOUCHED) {
        job->lease = wh_fold_alloc(fold, 12);
        if (job->lease == NULL)
            return WH_FOLD_NO_MEMORY;
        job->lease_len = 12;
        job->lease_is = WH_LEASE_RENEWED;
    }
    int held = job->lease_is == WH_LEASE_HELD;
    memcpy(job->lease + (held ? 24 : 0), entry->body + 24, 8);
    memcpy(job->lease + (held ? 4 : 8), entry->body + 32, 4);
    return 0;
}

static void set_state(wh_fold_job *job, uint8_t state, uint16_t attempt, uint64_t due_ms, const uint8_t *error, uint32_t error_len) {
    job->state = state;
    job->attempt = attempt;
    job->due_ms = due_ms;
    job->error = error;
    job->error_len = error_len;
    job->state_known = WH_STATE_KNOWN;
}

/* Attempt and due time change, the last error stays: known here, or read from the store when the patch is applied. */
static void patch_state(wh_fold_job *job, uint16_t attempt, uint64_t due_ms) {
    job->state = attempt ? WH_RETRYING : WH_SCHEDULED;
    job->attempt = attempt;
    job->due_ms = due_ms;
    if (job->state_known == WH_STATE_UNKNOWN)
        job->state_known = WH_STATE_PATCHED;
}

static int fold_release(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    wh_place place = {0};
    int code = find_job(fold, entry, 40, &job);
    if (code != 0 || (code = read_optional_tail(entry, 40, &place)) != 0)
        return code;
    uint64_t due_ms = wh_u64(entry->body + 24);
    if (job->lease_is == WH_LEASE_HELD) {
        code = move_due(fold, job, wh_u64(job->lease + 16), due_ms);
    } else {
        /* The lease row in the store knows the old due time; whoever applies the patch removes its moved row. */
        code = wh_fold_note(fold, WH_FOLD_MOVED, WH_FOLD_PATCH, 0, entry->body, WH_ID, NULL, 0);
        if (code == 0)
            code = note_moved(fold, job, WH_FOLD_PUT, due_ms);
    }
    job->lease_is = WH_LEASE_ENDED;
    patch_state(job, wh_u16(entry->body + 32), due_ms);
    if (code == 0 && entry->flags & WH_TO_BACKLOG)
        code = note_backlog(fold, job, WH_FOLD_PUT, &place, due_ms);
    return code;
}

static int fold_reschedule(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    wh_place place = {0};
    int code = find_job(fold, entry, 40, &job);
    if (code != 0 || (code = read_optional_tail(entry, 40, &place)) != 0)
        return code;
    uint64_t old_ms = wh_u64(entry->body + 16), new_ms = wh_u64(entry->body + 24);
    code = move_due(fold, job, old_ms, new_ms);
    patch_state(job, wh_u16(entry->body + 32), new_ms);
    if (code == 0 && entry->flags & WH_WAS_BACKLOG)
        code = note_backlog(fold, job, WH_FOLD_DELETE, &place, old_ms);
    if (code == 0 && entry->flags & WH_TO_BACKLOG)
        code = note_backlog(fold, job, WH_FOLD_PUT, &place, new_ms);
    return code;
}

static int note_history(wh_fold *fold, const wh_entry *entry) {
    uint8_t *key = wh_fold_alloc(fold, 4 + 19 + 9 + entry->length);
    if (key == NULL)
        return WH_FOLD_NO_MEMORY;
    uint16_t attempt = wh_u16(entry->body + 60);
    wh_put_be32(key, (uint32_t)(entry->now_ms / WH_DAY_MS));
    memcpy(key + 4, entry->body, WH_ID);
    key[20] = (uint8_t)(attempt >> 8);
    key[21] = (uint8_t)attempt;
    key[22] = entry->kind == CANCEL || entry->kind == EXPIRE;
    uint8_t *value = key + 23;
    value[0] = WH_RECORD_VERSION;
    wh_put_u64(value + 1, entry->now_ms);
    memcpy(value + 9, entry->body, entry->length);
    return wh_fold_note(fold, WH_FOLD_HISTORY, WH_FOLD_PUT, 0, key, 23, value, 9 + entry->length);
}

/* Whether the entry's kind may leave the job in this state. */
static int outcome_fits(uint8_t kind, uint8_t state, uint16_t attempt) {
    switch (kind) {
    case ACK: return state == WH_SUCCEEDED;
    case CANCEL: return state == WH_CANCELLED;
    case EXPIRE: return state == WH_EXPIRED;
    default: return (state == WH_RETRYING || state == WH_FAILED) && attempt > 0;
    }
}

static int fold_outcome(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    int code = find_job(fold, entry, WH_OUTCOME_HEAD, &job);
    if (code != 0)
        return code;
    const uint8_t *body = entry->body;
    uint32_t error_len = wh_u16(body + 64);
    size_t error_at = (size_t)WH_OUTCOME_HEAD + body[69] + body[70] + body[68] + wh_u16(body + 66);
    uint16_t attempt = wh_u16(body + 60);
    uint8_t state = body[62];
    if (entry->length != error_at + error_len + wh_u32(body + 56) || body[71] != entry->kind || !outcome_fits(entry->kind, state, attempt))
        return WH_FOLD_MALFORMED;
    wh_place place = {.queue = body + WH_OUTCOME_HEAD, .queue_len = body[69], .priority = body[63]};
    uint64_t old_ms = wh_u64(body + 24), new_ms = wh_u64(body + 32);
    job->lease_is = WH_LEASE_ENDED;
    if (entry->flags & WH_WAS_BACKLOG)
        code = note_backlog(fold, job, WH_FOLD_DELETE, &place, old_ms);
    if (code != 0)
        return code;
    if (state == WH_RETRYING) {
        set_state(job, state, attempt, new_ms, body + error_at, error_len);
        code = move_due(fold, job, old_ms, new_ms);
        if (code == 0 && entry->flags & WH_TO_BACKLOG)
            code = note_backlog(fold, job, WH_FOLD_PUT, &place, new_ms);
    } else {
        set_state(job, state, attempt, old_ms, body + error_at, error_len);
        job->gone = state != WH_FAILED;
        code = note_moved(fold, job, WH_FOLD_DELETE, old_ms);
        if (code == 0 && state == WH_FAILED)
            code = note_dead(fold, job, &place, entry->now_ms);
    }
    return code ? code : note_history(fold, entry);
}

static int fold_backlog(wh_fold *fold, const wh_entry *entry) {
    wh_fold_job *job;
    wh_place place = {0};
    int code = find_job(fold, entry, 24, &job);
    if (code != 0 || (code = read_tail(entry, 24, &place)) != 0)
        return code;
    return note_backlog(fold, job, WH_FOLD_PUT, &place, wh_u64(entry->body + 16));
}

static int fold_producer(wh_fold *fold, const wh_entry *entry) {
    if (entry->length != 56)
        return WH_FOLD_MALFORMED;
    /* Numbers of refused items are spent too: the batch may be asked for again. */
    uint16_t numbered = wh_u16(entry->body + 52);
    uint64_t next_seq = wh_u64(entry->body + 40) + wh_u32(entry->body + 48);
    if (numbered >= fold->shard_count)
        return WH_FOLD_BAD_SHARD;
    fold->shards[numbered].touched = 1;
    if (next_seq > fold->shards[numbered].next_seq)
        fold->shards[numbered].next_seq = next_seq;
    uint8_t *key = wh_fold_alloc(fold, 24 + 57);
    if (key == NULL)
        return WH_FOLD_NO_MEMORY;
    memcpy(key, entry->body, 16);
    wh_put_be64(key + 16, wh_u64(entry->body + 16));
    key[24] = WH_RECORD_VERSION;
    memcpy(key + 25, entry->body, 56);
    return wh_fold_note(fold, WH_FOLD_SESSIONS, WH_FOLD_PUT, 0, key, 24, key + 24, 57);
}

static int fold_queue(wh_fold *fold, const wh_entry *entry) {
    if (entry->length < 3 || entry->length != 2u + entry->body[1])
        return WH_FOLD_MALFORMED;
    uint8_t *value = wh_fold_alloc(fold, 2);
    if (value == NULL)
        return WH_FOLD_NO_MEMORY;
    value[0] = WH_RECORD_VERSION;
    value[1] = entry->body[0];
    return wh_fold_note(fold, WH_FOLD_QUEUES, WH_FOLD_PUT, 0, entry->body + 2, entry->body[1], value, 2);
}

static int fold_close(wh_fold *fold, const wh_entry *entry) {
    if (entry->length != 8)
        return WH_FOLD_MALFORMED;
    uint64_t watermark_ms = wh_u64(entry->body);
    if (watermark_ms > fold->watermark_ms)
        fold->watermark_ms = watermark_ms;
    return 0;
}

int wh_fold_entry(wh_fold *fold, const wh_entry *entry) {
    switch (entry->kind) {
    case SUBMIT: return fold_submit(fold, entry);
    case GRANT: return fold_grant(fold, entry);
    case ACK:
    case NACK:
    case LEASE_EXPIRE:
    case CANCEL:
    case EXPIRE: return fold_outcome(fold, entry);
    case RELEASE: return fold_release(fold, entry);
    case RENEW: return fold_renew(fold, entry);
    case RESCHEDULE: return fold_reschedule(fold, entry);
    case BACKLOG: return fold_backlog(fold, entry);
    case PRODUCER: return fold_producer(fold, entry);
    case QUEUE: return fold_queue(fold, entry);
    case CLOSE: return fold_close(fold, entry);
    case EPOCH: return entry->length == 0 ? 0 : WH_FOLD_MALFORMED;
    default: return WH_FOLD_UNKNOWN_KIND;
    }
}
