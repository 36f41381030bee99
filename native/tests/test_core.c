/*
 * Random calls on the core, some of them with damaged bytes, some with memory that runs out; made for AddressSanitizer and UBSan:
 *
 *   make run-test_core, then build/native-test/bin/test_core [seed [rounds]] for one run again
 *
 * What is right stands in the differential tests; here: nothing is read or written out of bounds, a malformed batch changes nothing,
 * and after running out of memory either nothing changed or the core says that it is broken. It brings its own allocation functions
 * (native/common/wh_memory.c and native/wheel/wh_wheel_memory.c stay out of the link), which fail on demand.
 */
#include "wh_toucher.h"
#include "wh_bytes.h"
#include "wh_core.h"
#include "wh_group.h"
#include "wh_memory.h"
#include "wh_model.h"
#include "wh_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 1500, ITEMS = 24, TOKENS = 512, IDS = 512, BUFFER = 1 << 16 };

static uint64_t allocations_left = UINT64_MAX;

void *wh_allocate(size_t bytes);
void *wh_allocate_arena(wh_toucher *toucher);
uint32_t *wh_grow_stamps(wh_toucher *toucher, uint32_t *stamps, size_t held, size_t bytes);
void wh_free_stamps(uint32_t *stamps, size_t held);

static bool is_out(void) {
    if (allocations_left == UINT64_MAX)
        return false;
    if (allocations_left == 0)
        return true;
    allocations_left--;
    return false;
}

void *wh_allocate(size_t bytes) {
    return is_out() ? NULL : aligned_alloc(64, (bytes + 63) / 64 * 64);
}

void *wh_allocate_arena(wh_toucher *toucher) {
    return wh_toucher_take(toucher);
}

uint32_t *wh_grow_stamps(wh_toucher *toucher, uint32_t *stamps, size_t held, size_t bytes) {
    (void)toucher;
    return wh_grow(stamps, held, bytes);
}

void wh_free_stamps(uint32_t *stamps, size_t held) {
    wh_grown_free(stamps, held);
}

void *wh_malloc(size_t bytes) {
    return is_out() ? NULL : malloc(bytes);
}

void *wh_calloc(size_t count, size_t bytes) {
    return is_out() ? NULL : calloc(count, bytes);
}

void *wh_grow(void *block, size_t held, size_t bytes) {
    (void)held;
    return is_out() ? NULL : realloc(block, bytes);
}

void wh_grown_free(void *block, size_t held) {
    (void)held;
    free(block);
}

void *wh_aligned(size_t bytes) {
    return is_out() ? NULL : aligned_alloc(bytes, bytes);
}

void *wh_realloc(void *block, size_t bytes) {
    return is_out() ? NULL : realloc(block, bytes);
}

typedef struct {
    wh_core *core;
    uint64_t now_ms, boot_ms, durable, load;
    uint8_t tokens[TOKENS][WH_TOKEN_SIZE];
    size_t token_count;
    uint8_t ids[IDS][16];
    size_t id_count;
    uint8_t row[4096]; /* the row of some job, with its length */
    size_t row_length;
    uint8_t buffer[BUFFER];
    size_t length;
} run;

static void start(run *it) {
    wh_core_options options = {.shards = 3, .bucket_width_ms = 10000, .resident_bytes_max = 20000, .recent_keys_max = 8, .departed_max = 20,
                               .next_seq = 1, .epoch = 1, .now_ms = it->now_ms, .boot_ms = it->boot_ms, .has_keys = false};
    uint8_t last[16];
    uint64_t group;
    memset(last, 0xFF, sizeof last);
    wh_core_free(it->core);
    it->core = wh_core_new(&options);
    REQUIRE(it->core != NULL);
    REQUIRE(wh_core_start(it->core, it->now_ms) == 0);
    REQUIRE(wh_core_open_horizon(it->core, it->now_ms + 100000, last, &it->load, &group) == 0);
    it->token_count = it->id_count = it->row_length = 0;
}

static size_t put_spec(uint8_t *at, uint64_t now_ms) {
    static const char *const queues[] = {"a/x", "a/y", "b/x"};
    size_t payload = below(300), key = below(4) == 0;
    memset(at, 0, WH_SPEC_HEAD);
    at[0] = WH_SPEC_VERSION;
    at[WH_SPEC_FLAGS_AT] = (uint8_t)below(4);
    at[WH_SPEC_PRIORITY_AT] = (uint8_t)below(10);
    at[WH_SPEC_QUEUE_LEN_AT] = 3;
    at[WH_SPEC_KEY_LEN_AT] = (uint8_t)key;
    wh_put64(at + WH_SPEC_SCHEDULE_AT, at[WH_SPEC_FLAGS_AT] & WH_SPEC_DELAY ? below(3000) : now_ms + below(3000));
    wh_put64(at + WH_SPEC_EXPIRE_AT, below(3) ? 0 : below(2) ? below(500) : now_ms + below(4000));
    wh_put32(at + WH_SPEC_PAYLOAD_LEN_AT, (uint32_t)payload);
    wh_put16(at + WH_SPEC_ATTEMPTS_AT, (uint16_t)(1 + below(3)));
    wh_put16(at + WH_SPEC_PERCENT_AT, 200);
    wh_put32(at + WH_SPEC_INITIAL_AT, 10);
    wh_put32(at + WH_SPEC_MAX_AT, 5000);
    memcpy(at + WH_SPEC_HEAD, queues[below(3)], 3);
    if (key)
        at[WH_SPEC_HEAD + 3] = (uint8_t)('0' + below(10));
    memset(at + WH_SPEC_HEAD + 3 + key, 'p', payload);
    return WH_SPEC_HEAD + 3 + key + payload;
}

static void make_submit(run *it) {
    uint32_t count = (uint32_t)below(ITEMS);
    uint8_t *at = it->buffer + WH_SUBMIT_HEAD;
    memset(it->buffer, 0, WH_SUBMIT_HEAD);
    wh_put32(it->buffer, count);
    wh_put64(it->buffer + 8, below(100));
    it->buffer[16] = (uint8_t)below(3);
    wh_put64(it->buffer + 32, below(3));
    for (uint32_t item = 0; item < count; item++) {
        size_t length = below(20) ? put_spec(at + WH_ITEM_HEAD, it->now_ms) : 0;
        memset(at, 0, WH_ITEM_HEAD);
        wh_put32(at, (uint32_t)length);
        at[4] = length == 0;
        at += WH_ITEM_HEAD + length;
    }
    it->length = (size_t)(at - it->buffer);
}

static void make_settle(run *it) {
    uint32_t count = it->token_count ? (uint32_t)below(ITEMS) : 0;
    uint8_t *at = it->buffer + WH_SETTLE_BATCH_HEAD;
    memset(it->buffer, 0, WH_SETTLE_BATCH_HEAD);
    wh_put32(it->buffer, count);
    for (uint32_t item = 0; item < count; item++) {
        const uint8_t *token = it->tokens[below(it->token_count)];
        size_t error = below(5), result = below(50);
        memset(at, 0, WH_SETTLE_HEAD + error + result);
        at[0] = (uint8_t)below(6);
        at[1] = (uint8_t)below(2);
        wh_put16(at + 2, (uint16_t)error);
        wh_put32(at + 4, (uint32_t)result);
        wh_put32(at + 8, below(2) ? WH_NO_DELAY : (uint32_t)below(3000));
        wh_put32(at + 12, (uint32_t)below(2000));
        memcpy(at + 16, token + 16, 8);
        memcpy(at + 24, token, 16);
        wh_put64(at + 40, below(2) ? it->now_ms * 1000 : 0);
        at += WH_SETTLE_HEAD + error + result;
    }
    it->length = (size_t)(at - it->buffer);
}

/* A copy of exactly its length, so that reading past it is seen; in one of four calls with damage. */
static uint8_t *damaged(run *it) {
    if (below(4) == 0) {
        for (uint64_t flips = below(4); flips && it->length; flips--)
            it->buffer[below(it->length)] = (uint8_t)(below(2) ? draw() : 0xFF);
        it->length = below(3) ? it->length : below(it->length + 1);
    }
    uint8_t *copy = malloc(it->length ? it->length : 1);
    REQUIRE(copy != NULL);
    memcpy(copy, it->buffer, it->length);
    return copy;
}

static void note_ids(run *it, const uint8_t *results, size_t length) {
    for (size_t at = 0; at + WH_SUBMIT_RESULT <= length; at += WH_SUBMIT_RESULT)
        if (results[at] == 0)
            memcpy(it->ids[it->id_count++ % IDS], results + at + 8, 16);
}

static int do_submit(run *it) {
    make_submit(it);
    uint8_t *batch = damaged(it);
    int64_t count = wh_core_submit_count(batch, it->length);
    uint8_t *out = malloc(count > 0 ? (size_t)count * WH_SUBMIT_RESULT : 1);
    size_t written = 0;
    uint64_t group;
    REQUIRE(out != NULL);
    int code = wh_core_submit(it->core, it->now_ms, batch, it->length, out, &written, &group);
    if (code == WH_DONE)
        note_ids(it, out, written);
    if (code == WH_NEED_KEYS) {
        uint8_t *answers = calloc(written / 16, 48);
        REQUIRE(answers != NULL);
        for (size_t at = 0; at < written / 16; at++)
            memcpy(answers + at * 48, out + at * 16, 16);
        code = wh_core_provide_keys(it->core, answers, written / 16 * 48);
        free(answers);
    }
    free(out);
    free(batch);
    return code;
}

static int do_settle(run *it) {
    static const uint8_t anybody[16];
    make_settle(it);
    uint8_t *batch = damaged(it);
    int64_t count = wh_core_settle_count(batch, it->length);
    uint8_t *out = malloc(count > 0 ? (size_t)count * WH_SETTLE_RESULT : 1);
    uint64_t group;
    REQUIRE(out != NULL);
    int code = wh_core_settle(it->core, it->now_ms, it->boot_ms, anybody, batch, it->length, out, &group);
    free(out);
    free(batch);
    return code;
}

static void note_tokens(run *it, const uint8_t *data, size_t length) {
    for (size_t at = 0; at < length; at += 4 + wh_get32(data + at))
        memcpy(it->tokens[it->token_count < TOKENS ? it->token_count++ : below(TOKENS)], data + at + 4, WH_TOKEN_SIZE);
}

static int do_release(run *it) {
    wh_message message;
    int code;
    wh_core_release_begin(it->core, it->now_ms * 1000, it->durable, (int64_t)below(50));
    while ((code = wh_core_release_next(it->core, &message)) > 0) {
        size_t written = 0;
        uint8_t *out = malloc(message.bytes_max ? message.bytes_max : 1);
        REQUIRE(out != NULL);
        (void)wh_core_release_write(it->core, out, &written);
        REQUIRE(written <= message.bytes_max);
        if (message.kind == WH_MESSAGE_LEASES)
            note_tokens(it, out, written);
        free(out);
    }
    return code;
}

static int do_take_group(run *it) {
    wh_bytes taken = {0};
    size_t length = wh_core_open_group_bytes(it->core);
    int code = length ? wh_core_take_group(it->core, &taken, &it->durable) : 0;
    REQUIRE(code != 0 || taken.length == length);
    wh_group_free((uint8_t *)(uintptr_t)taken.data);
    if (code == 0)
        wh_core_checkpointed(it->core, it->durable);
    return code;
}

static int do_open_stream(run *it) {
    static const uint8_t names[] = "a/xa/yb/x";
    uint8_t session[16] = {(uint8_t)(1 + below(3))};
    wh_bytes queues[3] = {{names, 3}, {names + 3 * below(3), 3}, {names + 6, 3}};
    wh_stream_options options = {.number = below(6), .session = session, .worker = {names, below(9)}, .queues = queues, .queue_count = below(4),
                                 .max_jobs = (int64_t)below(40), .max_bytes = 10000, .lease_ms = 1 + below(2000)};
    uint64_t resumed;
    wh_bytes gone;
    options.held = (wh_bytes){it->tokens[0], (it->token_count < 5 ? it->token_count : 5) * WH_TOKEN_SIZE};
    int code = wh_core_open_stream(it->core, it->now_ms, it->boot_ms, &options, &resumed, &gone);
    return code == WH_CORE_MISUSED ? 0 : code;
}

static int do_control(run *it) {
    const uint8_t *id = it->ids[it->id_count ? below(it->id_count < IDS ? it->id_count : IDS) : 0];
    wh_bytes row = {NULL, 0}, after;
    int code = wh_core_get(it->core, it->now_ms, id, &after);
    if (code == 1 && after.length <= sizeof it->row) {
        memcpy(it->row, after.data, after.length);
        it->row_length = after.length;
    }
    if (code < 0)
        return code;
    memcpy(it->buffer, it->row, it->length = it->row_length);
    uint8_t *copy = damaged(it);
    if (below(2))
        row = (wh_bytes){copy, it->length};
    code = below(2) ? wh_core_cancel(it->core, it->now_ms, id, row, it->load, &after)
                    : wh_core_reschedule(it->core, it->now_ms, id, it->now_ms + below(3000), row, it->load, &after);
    free(copy);
    return code < 0 ? code : 0;
}

static int do_load(run *it) {
    uint64_t taken, group;
    memcpy(it->buffer, it->row, it->length = it->row_length);
    uint8_t *copy = damaged(it);
    int code = wh_core_load(it->core, it->now_ms, it->boot_ms, it->load, copy, it->length, &taken);
    free(copy);
    if (below(4) == 0)
        wh_core_end_load(it->core, it->load);
    if (code == 1 || (code == 0 && below(4) == 0))
        return wh_core_begin_load(it->core, &it->load, &group);
    return code;
}

static int do_rare(run *it) {
    static const uint8_t path[] = "a/x";
    switch (below(4)) {
    case 0:
        return wh_core_set_queue(it->core, it->now_ms, path, 3, below(3) == 0);
    case 1:
        return wh_core_rebase(it->core, it->now_ms -= below(100));
    case 2:
        return wh_core_close_before(it->core, it->now_ms, it->now_ms - below(2000), below(50));
    default:
        return wh_core_close_stream(it->core, it->now_ms, below(6));
    }
}

static int step(run *it) {
    switch (below(12)) {
    case 0:
    case 1:
        return do_submit(it);
    case 2:
    case 3:
        return do_settle(it);
    case 4:
    case 5:
        return wh_core_tick(it->core, it->now_ms, it->boot_ms, below(50), below(10) != 0);
    case 6:
        return do_release(it);
    case 7:
        return do_take_group(it);
    case 8:
        return do_open_stream(it);
    case 9:
        return do_control(it);
    case 10:
        return do_load(it);
    default:
        it->now_ms += below(300);
        it->boot_ms += below(300);
        return below(4) ? 0 : do_rare(it);
    }
}

static void check_step(run *it, uint64_t hash, int code) {
    size_t records;
    allocations_left = UINT64_MAX;
    REQUIRE(code >= 0 || code == WH_CORE_NO_MEMORY || code == WH_CORE_MALFORMED);
    if (wh_core_broken(it->core)) {
        REQUIRE(code == WH_CORE_NO_MEMORY);
        REQUIRE(wh_core_tick(it->core, it->now_ms, it->boot_ms, 0, true) == WH_CORE_NO_MEMORY);
        start(it);
    } else if (code == WH_CORE_MALFORMED) {
        REQUIRE(wh_core_state_hash(it->core) == hash);
    }
    REQUIRE(wh_core_memory_bytes(it->core, &records) > 0);
    (void)wh_core_next_wake_ms(it->core, it->now_ms, it->boot_ms, 20, it->durable);
    for (size_t at = 0; at < wh_core_queue_count(it->core); at++) {
        wh_queue_view view;
        wh_core_queue_view(it->core, at, &view);
    }
}

static void round_of_calls(void) {
    run *it = calloc(1, sizeof *it);
    REQUIRE(it != NULL);
    it->now_ms = UINT64_C(1700000000000);
    it->boot_ms = 1000;
    start(it);
    for (int at = 0; at < STEPS; at++) {
        uint64_t hash = wh_core_state_hash(it->core);
        if (below(60) == 0)
            allocations_left = below(6);
        check_step(it, hash, step(it));
    }
    wh_core_free(it->core);
    free(it);
}

int main(int argc, char **argv) {
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 40;
    for (uint64_t at = 0; at < rounds; at++, seed++) {
        state = seed;
        round_of_calls();
    }
    printf("core: %" PRIu64 " rounds up to seed %" PRIu64 " passed\n", rounds, seed - 1);
    return 0;
}
