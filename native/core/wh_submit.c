/*
 * Submits: resolve times, find duplicates, name the job, write the entry, keep near jobs. A batch is decided whole or not at all:
 * it is checked, and room is reserved, before the first item; a key that only the store knows comes back as WH_NEED_KEYS.
 */
#include "wh_core_internal.h"

/* How a batch is decided: live, or as the repetition of one decided before (`repeat`), which stages nothing. The item at position i
   has the sequence number first_seq + i, whether it is used or not: so a repetition names the same jobs. */
typedef struct {
    uint64_t now_ms, first_seq;
    uint32_t shard;
    bool repeat;
} wh_pass;

typedef struct {
    uint8_t code, field;
    const uint8_t *spec;
    uint32_t spec_len;
} wh_item;

typedef struct {
    uint8_t code, field, flags;
    wh_id id;
} wh_answer;

/* A record's times, resolved. */
typedef struct {
    uint64_t due_ms, expire_ms;
} wh_times;

typedef struct {
    uint8_t hash[16]; /* zeros: no key */
    uint64_t content;
} wh_item_key;

static wh_item item_at(const uint8_t *at) {
    return (wh_item){.code = at[4], .field = at[5], .spec = at + WH_ITEM_HEAD, .spec_len = wh_get32(at)};
}

int64_t wh_core_submit_count(const uint8_t *batch, size_t length) {
    if (length < WH_SUBMIT_HEAD)
        return WH_CORE_MALFORMED;
    uint32_t count = wh_get32(batch);
    size_t at = WH_SUBMIT_HEAD;
    for (uint32_t item = 0; item < count; item++) {
        if (length - at < WH_ITEM_HEAD)
            return WH_CORE_MALFORMED;
        wh_item read = item_at(batch + at);
        at += WH_ITEM_HEAD;
        if (read.spec_len > length - at || (read.code == 0 && !wh_spec_valid(read.spec, read.spec_len)))
            return WH_CORE_MALFORMED;
        at += read.spec_len;
    }
    return at == length ? (int64_t)count : WH_CORE_MALFORMED;
}

/* Hash of a key within the namespace of the record's queue: the part of its path before the slash. */
static void key_hash(const wh_core *core, const uint8_t *spec, const uint8_t *key, size_t key_len, uint8_t *hash) {
    uint8_t text[UINT8_MAX + 1 + UINT16_MAX];
    const uint8_t *queue = wh_spec_queue(spec);
    uint8_t queue_len = spec[WH_SPEC_QUEUE_LEN_AT];
    const uint8_t *slash = memchr(queue, '/', queue_len);
    uint8_t *at = wh_append(text, queue, slash ? (size_t)(slash - queue) : queue_len);
    *at++ = 0;
    at = wh_append(at, key, key_len);
    wh_siphash128(core->uuid, text, (size_t)(at - text), hash);
}

static const uint8_t *spec_key(const uint8_t *spec) {
    return spec + WH_SPEC_HEAD + spec[WH_SPEC_QUEUE_LEN_AT] + spec[WH_SPEC_TYPE_LEN_AT];
}

static uint32_t shard_of(const wh_core *core, const uint8_t *hash) {
    return (uint32_t)(wh_get64(hash) % core->shards);
}

/* Writes the hashes of keys that only the store can know, each once, in order; returns how many, or WH_CORE_NO_MEMORY. */
static int64_t unknown_keys(const wh_core *core, const uint8_t *batch, uint8_t *out) {
    uint32_t count = wh_get32(batch);
    const uint8_t *at = batch + WH_SUBMIT_HEAD;
    size_t found = 0;
    wh_index seen;
    wh_index_init(&seen);
    if (!wh_index_reserve(&seen, count)) {
        wh_index_free(&seen);
        return WH_CORE_NO_MEMORY;
    }
    for (uint32_t number = 0; number < count; number++) {
        wh_item item = item_at(at);
        at += WH_ITEM_HEAD + item.spec_len;
        if (item.code != 0 || item.spec[WH_SPEC_KEY_LEN_AT] == 0)
            continue;
        uint8_t *hash = out + found * 16;
        key_hash(core, item.spec, spec_key(item.spec), item.spec[WH_SPEC_KEY_LEN_AT], hash);
        if (wh_key_find(core, hash) != WH_NONE)
            continue;
        uint32_t known = wh_index_first(&seen, wh_get32(hash));
        while (known != WH_NONE && memcmp(out + (size_t)known * 16, hash, 16) != 0)
            known = wh_index_next(&seen, known);
        if (known != WH_NONE)
            continue;
        wh_index_add(&seen, (uint32_t)found++, wh_get32(hash));
    }
    wh_index_free(&seen);
    return (int64_t)found;
}

/* The item's times and the code that refuses it, if any. */
static wh_answer check(const uint8_t *spec, uint64_t now_ms, wh_times *times) {
    uint8_t flags = spec[WH_SPEC_FLAGS_AT];
    uint64_t schedule = wh_get64(spec + WH_SPEC_SCHEDULE_AT);
    bool delay = flags & WH_SPEC_DELAY;
    if (delay ? schedule > WH_SCHEDULE_AHEAD_MS_MAX : schedule > now_ms + WH_SCHEDULE_AHEAD_MS_MAX)
        return (wh_answer){.code = WH_ERROR_SCHEDULE_TOO_FAR, .field = delay ? WH_FIELD_DELAY : WH_FIELD_SCHEDULE_TIME};
    times->due_ms = delay ? now_ms + schedule : wh_max64(schedule, now_ms);
    times->expire_ms = wh_get64(spec + WH_SPEC_EXPIRE_AT);
    if (flags & WH_SPEC_EXPIRE_AFTER)
        times->expire_ms += times->due_ms;
    else if (times->expire_ms && times->expire_ms <= times->due_ms)
        return (wh_answer){.code = WH_ERROR_FIELD_INVALID, .field = WH_FIELD_EXPIRE};
    return (wh_answer){0};
}

static wh_id name_job(const wh_core *core, uint64_t due_ms, uint32_t shard, uint64_t seq) {
    uint64_t bucket = due_ms / core->bucket_width_ms;
    return (wh_id){(uint64_t)shard << 48 | (bucket & UINT32_MAX) << 16 | seq >> 48, seq << 16};
}

/* Stages the submit and keeps the job when it is near. */
static void accept(wh_core *core, uint64_t now_ms, wh_id id, const wh_item *item, const wh_times *times, const wh_item_key *key) {
    bool late = times->due_ms < core->watermark_ms;
    uint8_t *body = wh_stage(core, WH_ENTRY_SUBMIT, late ? WH_TO_BACKLOG : 0, wh_id_shard(id), now_ms, WH_SUBMIT_BODY + item->spec_len);
    if (body == NULL)
        return;
    wh_put_id(body, id);
    memcpy(body + 16, key->hash, 16);
    wh_put64(body + 32, key->content);
    wh_put64(body + 40, times->due_ms);
    uint8_t *spec = body + WH_SUBMIT_BODY;
    memcpy(spec, item->spec, item->spec_len);
    spec[WH_SPEC_FLAGS_AT] = 0;
    wh_put64(spec + WH_SPEC_SCHEDULE_AT, times->due_ms);
    wh_put64(spec + WH_SPEC_CREATE_AT, now_ms);
    wh_put64(spec + WH_SPEC_EXPIRE_AT, times->expire_ms);
    core->counters.submitted++;
    if (!late && !wh_keeps(core, times->due_ms, id, spec))
        return;
    uint32_t reference = wh_job_insert(core, id, times->due_ms, 0, spec, item->spec_len, late);
    if (reference == WH_NONE)
        core->broken = true;
    else
        wh_job_place(core, reference);
    wh_job_expect(core, item->spec_len); /* the next of a batch is mostly like this one */
}

/* An item with an idempotency key: the job that the key names, or a new one in the shard that its hash names. */
static wh_answer decide_keyed(wh_core *core, const wh_pass *pass, const wh_item *item, const wh_times *times, uint64_t seq) {
    wh_item_key key;
    uint8_t content[16];
    key_hash(core, item->spec, spec_key(item->spec), item->spec[WH_SPEC_KEY_LEN_AT], key.hash);
    wh_siphash128(core->uuid, item->spec, item->spec_len, content);
    key.content = wh_get64(content);
    uint32_t at = wh_key_find(core, key.hash);
    const wh_key *known = at == WH_NONE ? NULL : wh_pool_at(&core->keys, at);
    if (known && (known->id.hi | known->id.lo) && known->create_ms + WH_IDEMPOTENCY_WINDOW_MS > pass->now_ms) {
        bool same = known->content == key.content;
        return (wh_answer){.code = same ? 0 : WH_ERROR_KEY_CONFLICT, .flags = same ? WH_RESULT_DUPLICATE : 0, .id = known->id};
    }
    wh_id id = name_job(core, times->due_ms, shard_of(core, key.hash), seq);
    if (pass->repeat)
        return (wh_answer){.flags = WH_RESULT_DUPLICATE, .id = id};
    wh_key_set(core, at, key.hash, id, key.content, pass->now_ms, core->group);
    accept(core, pass->now_ms, id, item, times, &key);
    return (wh_answer){.id = id};
}

static wh_answer decide_item(wh_core *core, const wh_pass *pass, const wh_item *item, uint64_t seq) {
    static const wh_item_key no_key = {{0}, 0};
    wh_times times;
    if (item->code)
        return (wh_answer){.code = item->code, .field = item->field};
    wh_answer answer = check(item->spec, pass->now_ms, &times);
    if (answer.code)
        return answer;
    if (item->spec[WH_SPEC_KEY_LEN_AT])
        return decide_keyed(core, pass, item, &times, seq);
    uint32_t shard = pass->shard;
    uint16_t routing_len = wh_get16(item->spec + WH_SPEC_ROUTING_LEN_AT);
    if (routing_len) {
        uint8_t hash[16];
        key_hash(core, item->spec, spec_key(item->spec), routing_len, hash);
        shard = shard_of(core, hash);
    }
    answer.id = name_job(core, times.due_ms, shard, seq);
    answer.flags = pass->repeat ? WH_RESULT_DUPLICATE : 0;
    if (!pass->repeat)
        accept(core, pass->now_ms, answer.id, item, &times, &no_key);
    return answer;
}

/* Fetches the place in the index of a job that is named soon: it follows from its number alone. */
static void expect_job(const wh_core *core, const wh_pass *pass, uint64_t seq) {
    wh_index_expect(&core->job_index, wh_id_hash(name_job(core, 0, pass->shard, seq)));
}

static void decide(wh_core *core, const wh_pass *pass, const uint8_t *batch, uint8_t *out) {
    enum { AHEAD = 8 };
    uint32_t count = wh_get32(batch);
    const uint8_t *at = batch + WH_SUBMIT_HEAD;
    for (uint32_t number = 0; number < count && !core->broken; number++, out += WH_SUBMIT_RESULT) {
        wh_item item = item_at(at);
        at += WH_ITEM_HEAD + item.spec_len;
        expect_job(core, pass, pass->first_seq + number + AHEAD);
        wh_answer answer = decide_item(core, pass, &item, pass->first_seq + number);
        core->counters.refused += answer.code != 0;
        core->counters.duplicates += answer.code == 0 && answer.flags & WH_RESULT_DUPLICATE;
        out[0] = answer.code;
        out[1] = answer.field;
        out[2] = answer.flags;
        memset(out + 3, 0, 5);
        wh_put_id(out + 8, answer.id);
    }
    wh_keys_forget(core);
}

/* Writes down how the batch is decided, before its submits and in the same group. */
static void stage_producer(wh_core *core, uint64_t now_ms, const uint8_t *session, const wh_producer_batch *batch) {
    uint8_t *body = wh_stage(core, WH_ENTRY_PRODUCER, 0, shard_of(core, session), now_ms, WH_PRODUCER_BODY);
    if (body == NULL)
        return;
    memcpy(body, session, 16);
    wh_put64(body + 16, batch->number);
    wh_put64(body + 24, batch->content);
    wh_put64(body + 32, batch->base_ms);
    wh_put64(body + 40, batch->first_seq);
    wh_put32(body + 48, batch->count);
    wh_put32(body + 52, batch->shard);
}

/* Room for all that the batch may add, so that running out of memory leaves the state as it was. */
static bool reserve(wh_core *core, uint32_t count, size_t length) {
    size_t entries = (size_t)count * (WH_ENTRY_HEAD + WH_SUBMIT_BODY) + length + WH_ENTRY_HEAD + WH_PRODUCER_BODY;
    return wh_group_reserve(core->shelf, &core->open, entries) && wh_jobs_reserve(core, count) && wh_keys_reserve(core, count);
}

static bool has_producer(const uint8_t *batch) {
    static const uint8_t none[16];
    return memcmp(batch + 16, none, 16) != 0 && wh_get64(batch + 8) != 0;
}

/* Decides by what is known of the producer's batch number. Returns the outcome; WH_DONE with pass->repeat set for a repetition. */
static int decide_producer(wh_core *core, uint64_t now_ms, const uint8_t *batch, wh_pass *pass, uint8_t *out) {
    uint64_t number = wh_get64(batch + 8), content = wh_get64(batch + 32);
    wh_producer *producer = wh_producer_get(core, batch + 16);
    if (producer == NULL)
        return WH_CORE_NO_MEMORY;
    const wh_producer_batch *known = wh_producer_find(producer, number);
    if (known != NULL && known->content == content) {
        *pass = (wh_pass){.now_ms = known->base_ms, .first_seq = known->first_seq, .shard = known->shard, .repeat = true};
        return WH_DONE;
    }
    bool gone = producer->highest >= WH_PRODUCER_BATCHES_REMEMBERED && number <= producer->highest - WH_PRODUCER_BATCHES_REMEMBERED;
    if (known != NULL || gone) {
        out[0] = WH_ERROR_BATCH_CONFLICT;
        return WH_REFUSED;
    }
    wh_producer_batch made = {.number = number, .content = content, .base_ms = now_ms, .first_seq = core->seq,
                              .count = wh_get32(batch), .shard = (uint16_t)core->shard};
    if (!wh_producer_add(producer, &made)) {
        core->broken = true;
        return WH_CORE_NO_MEMORY;
    }
    stage_producer(core, now_ms, batch + 16, &made);
    return WH_DONE;
}

int wh_core_submit(wh_core *core, uint64_t now_ms, const uint8_t *batch, size_t length, uint8_t *out, size_t *out_len, uint64_t *group) {
    int64_t count = wh_core_submit_count(batch, length);
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    if (count < 0 || now_ms > INT64_MAX / 2)
        return WH_CORE_MALFORMED;
    *group = 0;
    int64_t unknown = core->keys_complete ? 0 : unknown_keys(core, batch, out);
    if (unknown > 0) {
        *out_len = (size_t)unknown * 16;
        return WH_NEED_KEYS;
    }
    if (unknown < 0 || !reserve(core, (uint32_t)count, length))
        return WH_CORE_NO_MEMORY;
    wh_pass pass = {.now_ms = now_ms, .first_seq = core->seq, .shard = core->shard};
    if (has_producer(batch)) {
        int outcome = decide_producer(core, now_ms, batch, &pass, out);
        *out_len = 1;
        if (outcome != WH_DONE)
            return outcome;
    }
    if (!pass.repeat)
        core->seq += (uint64_t)count;
    decide(core, &pass, batch, out);
    *out_len = (size_t)count * WH_SUBMIT_RESULT;
    *group = wh_barrier(core);
    return core->broken ? WH_CORE_NO_MEMORY : WH_DONE;
}
