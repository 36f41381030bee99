/*
 * Random operations on the wheel beside an array oracle, then a few storms; made for AddressSanitizer and UBSan:
 *
 *   make run-test_wheel, then build/native-test/bin/test_wheel [seed [rounds]] for one run again
 *
 * It brings its own allocation functions (native/wheel/wh_wheel_memory.c stays out of the link), which fail on demand.
 */
#include "wh_wheel.h"
#include "wh_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEYS = 400, STEPS = 3000 };

static int memory_is_out;

void *wh_allocate(size_t bytes);
void *wh_allocate_arena(wh_toucher *toucher);
uint32_t *wh_grow_stamps(wh_toucher *toucher, uint32_t *stamps, size_t held, size_t bytes);
void wh_free_stamps(uint32_t *stamps, size_t held);

void *wh_allocate(size_t bytes) {
    return memory_is_out ? NULL : aligned_alloc(64, (bytes + 63) / 64 * 64);
}

void *wh_allocate_arena(wh_toucher *toucher) {
    (void)toucher;
    return wh_allocate(WH_TOUCHER_BLOCK);
}

uint32_t *wh_grow_stamps(wh_toucher *toucher, uint32_t *stamps, size_t held, size_t bytes) {
    (void)toucher;
    (void)held;
    return memory_is_out ? NULL : realloc(stamps, bytes);
}

void wh_free_stamps(uint32_t *stamps, size_t held) {
    (void)held;
    free(stamps);
}

/* The oracle: per key the effective due time and the order of arming. */
typedef struct {
    uint64_t due[KEYS];
    uint64_t order[KEYS]; /* 0: not armed */
    uint64_t armed_so_far;
    uint64_t now;
} oracle;

static int oracle_first(const oracle *model) {
    int first = -1;
    for (int key = 0; key < KEYS; key++) {
        if (model->order[key] == 0)
            continue;
        if (first < 0 || model->due[key] < model->due[first] ||
            (model->due[key] == model->due[first] && model->order[key] < model->order[first]))
            first = key;
    }
    return first;
}

/* A time at or after `now`, near an edge of some level more often than not. */
static uint64_t draw_time(uint64_t now) {
    static const unsigned edges[] = {0, 1, 6, 11, 12, 21, 22, 31, 32, 41, 42, 52, 53, 62, 63};
    uint64_t reach = UINT64_C(1) << edges[below(sizeof edges / sizeof *edges)];
    uint64_t time;
    switch (below(6)) {
    case 0: time = now + below(3); break;
    case 1: time = now + below(5000); break;
    case 2: time = now + reach - 1 + below(3); break;
    case 3: time = (now | (reach - 1)) + below(3); break; /* just round the end of a block */
    case 4: time = UINT64_MAX - below(4); break;
    default: time = now + below(reach); break;
    }
    return time < now ? UINT64_MAX : time;
}

static void step_arm(wh_wheel *wheel, oracle *model) {
    uint32_t key = (uint32_t)below(KEYS);
    uint64_t due = draw_time(model->now);
    if (below(8) == 0) /* late */
        due = model->now < 50 ? 0 : model->now - below(50);
    REQUIRE(wh_wheel_arm(wheel, key, due) == (due <= model->now));
    model->due[key] = due < model->now ? model->now : due;
    model->order[key] = ++model->armed_so_far;
}

static void step_cancel(wh_wheel *wheel, oracle *model) {
    uint32_t key = (uint32_t)below(KEYS + 2);
    int armed = key < KEYS && model->order[key] != 0;
    REQUIRE(wh_wheel_armed(wheel, key) == armed);
    REQUIRE(wh_wheel_cancel(wheel, key) == armed);
    if (armed)
        model->order[key] = 0;
}

static void step_advance(wh_wheel *wheel, oracle *model) {
    uint32_t out[KEYS];
    size_t capacity = below(3) ? KEYS : below(4);
    uint64_t now = model->now + below(64);
    uint64_t kind = below(32);
    if (kind == 0)
        now = model->now / 2;
    else if (kind < 8 || now < model->now) { /* to the next edge of a low level */
        now = model->now | ((UINT64_C(1) << below(kind < 3 ? 30 : 14)) - 1);
        now += now == UINT64_MAX ? 0 : below(2);
    } else if (kind == 8 && below(20) == 0) {
        now = draw_time(model->now); /* a jump over many levels; rare, for it may end the round's time */
    }
    size_t written = wh_wheel_advance(wheel, now, out, capacity);
    uint64_t reached = now > model->now ? now : model->now;
    for (size_t at = 0; at < written; at++) {
        int first = oracle_first(model);
        REQUIRE(first >= 0 && model->due[first] <= reached && out[at] == (uint32_t)first);
        model->order[first] = 0;
        model->now = model->due[first] > model->now ? model->due[first] : model->now;
    }
    int first = oracle_first(model);
    int left = first >= 0 && model->due[first] <= reached;
    REQUIRE(wh_wheel_advance_done(wheel, reached) == !left);
    REQUIRE(!left || written == capacity);
    model->now = left ? model->due[first] : reached;
    REQUIRE(wh_wheel_now(wheel) == model->now);
}

static void compare(const wh_wheel *wheel, const oracle *model) {
    int first = oracle_first(model);
    uint64_t next = wh_wheel_next(wheel);
    size_t count = 0;
    for (int key = 0; key < KEYS; key++)
        count += model->order[key] != 0;
    REQUIRE(wh_wheel_count(wheel) == count);
    if (first < 0)
        REQUIRE(next == UINT64_MAX);
    else if ((model->due[first] ^ model->now) < 4096)
        REQUIRE(next == model->due[first]);
    else
        REQUIRE(next <= model->due[first] && next > model->now);
}

static void random_round(void) {
    static const uint64_t starts[] = {0, 1, 4095, UINT64_C(1) << 32, UINT64_C(1760000000000), UINT64_MAX - 100000};
    uint64_t start = below(3) ? starts[below(6)] : draw();
    oracle model = {.now = start};
    wh_wheel *wheel = wh_wheel_new(start);
    REQUIRE(wheel != NULL && wh_wheel_reserve(wheel, KEYS / 2) == 0 && wh_wheel_reserve(wheel, KEYS) == 0);
    REQUIRE(wh_wheel_arm(wheel, KEYS, start) == WH_WHEEL_BAD_KEY);
    for (int step = 0; step < STEPS; step++) {
        uint64_t kind = below(10);
        if (kind < 5)
            step_arm(wheel, &model);
        else if (kind < 7)
            step_cancel(wheel, &model);
        else
            step_advance(wheel, &model);
        if (below(4) == 0) /* wh_wheel_next trims, so it must not follow every step */
            compare(wheel, &model);
        if (below(16) == 0)
            REQUIRE(wh_wheel_check(wheel) == 0);
    }
    wh_wheel_free(wheel);
}

/* Re-arming and cancelling without end must not grow memory, nor lose or reorder what stays. */
static void storm(void) {
    enum { MANY = 20000, STORMS = 40 };
    wh_wheel *wheel = wh_wheel_new(1000);
    uint32_t *out = malloc(MANY * sizeof *out);
    REQUIRE(wheel != NULL && out != NULL && wh_wheel_reserve(wheel, MANY) == 0);
    size_t bytes = 0;
    for (int round = 0; round < STORMS; round++) {
        uint64_t spread = round % 2 ? 10 : 3600000;
        for (uint32_t key = 0; key < MANY; key++)
            REQUIRE(wh_wheel_arm(wheel, key, 2000 + below(spread)) == 0);
        for (uint32_t key = 0; key < MANY; key++)
            if (key % 3)
                REQUIRE(wh_wheel_cancel(wheel, key) == 1);
        REQUIRE(wh_wheel_check(wheel) == 0);
        if (round == 3)
            bytes = wh_wheel_bytes(wheel);
    }
    REQUIRE(wh_wheel_bytes(wheel) <= bytes + bytes / 4);
    for (uint32_t key = 0; key < MANY; key++)
        REQUIRE(wh_wheel_arm(wheel, key, 5000) == 0);
    REQUIRE(wh_wheel_advance(wheel, 4999, out, MANY) == 0);
    REQUIRE(wh_wheel_advance(wheel, 5000, out, MANY) == MANY);
    for (uint32_t key = 0; key < MANY; key++)
        REQUIRE(out[key] == key);
    REQUIRE(wh_wheel_check(wheel) == 0);
    REQUIRE(wh_wheel_bytes(wheel) < bytes);
    wh_wheel_free(wheel);
    free(out);
}

/* Time moves on through slots that the sweeper stands in: every timer still expires once, at its own time. */
static void churn(void) {
    enum { MANY = 20000, BATCH = 3000, TICKS = 400 };
    wh_wheel *wheel = wh_wheel_new(0);
    uint32_t *out = malloc(MANY * sizeof *out);
    uint64_t *due = calloc(MANY, sizeof *due);
    size_t live = 0;
    REQUIRE(wheel != NULL && out != NULL && due != NULL && wh_wheel_reserve(wheel, MANY) == 0);
    for (uint64_t now = 1; now <= TICKS; now++) {
        size_t written = wh_wheel_advance(wheel, now, out, MANY);
        live -= written;
        for (size_t at = 0; at < written; at++) {
            REQUIRE(due[out[at]] == now);
            due[out[at]] = 0;
        }
        for (int count = 0; count < BATCH / 3; count++) { /* before arming takes the freed chunks again */
            uint32_t key = (uint32_t)below(MANY);
            REQUIRE(wh_wheel_cancel(wheel, key) == (due[key] != 0));
            live -= due[key] != 0;
            due[key] = 0;
        }
        REQUIRE(wh_wheel_check(wheel) == 0);
        for (int count = 0; count < BATCH; count++) {
            uint32_t key = (uint32_t)below(MANY);
            live += due[key] == 0;
            due[key] = now + 1 + below(below(8) ? 40 : 4);
            REQUIRE(wh_wheel_arm(wheel, key, due[key]) == 0);
        }
        REQUIRE(wh_wheel_count(wheel) == live && wh_wheel_check(wheel) == 0);
    }
    wh_wheel_free(wheel);
    free(out);
    free(due);
}

/* A cascade that runs out of memory loses nothing, hands nothing out of order and goes on when memory is back. */
static void exhaustion(void) {
    enum { MANY = 4000, BLOCK = 8192 };
    wh_wheel *wheel = wh_wheel_new(1);
    uint32_t *out = malloc(2 * MANY * sizeof *out);
    uint64_t due_before = 0;
    size_t written = 0;
    REQUIRE(wheel != NULL && out != NULL && wh_wheel_reserve(wheel, 2 * MANY) == 0);
    for (uint32_t key = 0; key < MANY; key++) /* few chunks in one slot, many once they are spread */
        REQUIRE(wh_wheel_arm(wheel, key, BLOCK + key) == 0);
    memory_is_out = 1;
    REQUIRE(wh_wheel_reserve(wheel, 100 * MANY) == WH_WHEEL_NO_MEMORY);
    REQUIRE(wh_wheel_advance(wheel, BLOCK + MANY, out, 2 * MANY) == 0);
    REQUIRE(!wh_wheel_advance_done(wheel, BLOCK + MANY) && wh_wheel_next(wheel) <= BLOCK);
    REQUIRE(wh_wheel_count(wheel) == MANY && wh_wheel_check(wheel) == 0);
    uint32_t armed = MANY;
    while (armed < 2 * MANY && wh_wheel_arm(wheel, armed, BLOCK + 2 * MANY - 1 - armed) >= 0)
        armed++; /* behind timers of the same time that are still pending */
    REQUIRE(armed > MANY && armed < 2 * MANY && !wh_wheel_armed(wheel, armed));
    memory_is_out = 0;
    while (!wh_wheel_advance_done(wheel, BLOCK + MANY))
        written += wh_wheel_advance(wheel, BLOCK + MANY, out + written, 7);
    REQUIRE(written == armed && wh_wheel_check(wheel) == 0);
    for (size_t at = 0; at < written; at++) {
        uint64_t due = out[at] < MANY ? out[at] : 2 * MANY - 1 - out[at];
        REQUIRE(due > due_before || (due == due_before && (at == 0 || out[at] > out[at - 1])));
        due_before = due;
    }
    wh_wheel_free(wheel);
    free(out);
}

/* A coarse slot with many timers is taken apart by bounded calls: none goes far beyond its bound, and what comes out in the end is what one call gives. */
static void slices(void) {
    enum { MANY = 50000, WORK = 500, CHUNK = 64, SPAN = 3000 };
    static const uint64_t BLOCK = UINT64_C(3) << 22;
    wh_wheel *whole = wh_wheel_new(0), *sliced = wh_wheel_new(0);
    uint32_t *expected = malloc(2 * MANY * sizeof *expected), *out = malloc(2 * MANY * sizeof *out);
    size_t written = 0, calls = 0, wanted, key = 0;
    REQUIRE(whole != NULL && sliced != NULL && expected != NULL && out != NULL);
    REQUIRE(wh_wheel_reserve(whole, 2 * MANY) == 0 && wh_wheel_reserve(sliced, 2 * MANY) == 0);
    for (; key < MANY; key++) {
        uint64_t due = BLOCK + below(SPAN);
        REQUIRE(wh_wheel_arm(whole, (uint32_t)key, due) == 0 && wh_wheel_arm(sliced, (uint32_t)key, due) == 0);
    }
    while (!wh_wheel_advance_done(sliced, BLOCK + SPAN)) {
        size_t work = WORK;
        size_t given = wh_wheel_advance_some(sliced, BLOCK + SPAN, out + written, 2 * MANY - written, &work);
        REQUIRE(given <= WORK + CHUNK);
        written += given;
        calls++;
        if (written == 0 && key < MANY + 100) { /* arms and cancels between two calls, with the slot half taken apart */
            uint64_t due = BLOCK + below(SPAN);
            uint32_t gone = (uint32_t)below(MANY);
            REQUIRE(wh_wheel_now(sliced) == BLOCK && wh_wheel_next(sliced) <= due && wh_wheel_check(sliced) == 0);
            REQUIRE(wh_wheel_arm(whole, (uint32_t)key, due) == 0 && wh_wheel_arm(sliced, (uint32_t)key, due) >= 0);
            key++;
            REQUIRE(wh_wheel_cancel(whole, gone) == wh_wheel_cancel(sliced, gone));
        }
    }
    REQUIRE(key > MANY + 50 && calls > 2 * MANY / (WORK + CHUNK) && wh_wheel_check(sliced) == 0);
    wanted = wh_wheel_advance(whole, BLOCK + SPAN, expected, 2 * MANY);
    REQUIRE(written == wanted && memcmp(out, expected, wanted * sizeof *out) == 0);
    wh_wheel_free(whole);
    wh_wheel_free(sliced);
    free(expected);
    free(out);
}

typedef struct {
    uint64_t due;
    uint32_t key, order;
} armed_timer;

static int by_due_then_order(const void *left, const void *right) {
    const armed_timer *a = left, *b = right;
    if (a->due != b->due)
        return a->due < b->due ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* Crowded slots of level 1, sorted at once or cascaded as the work of a call allows; arms and cancels while the run is drained. */
static void crowded(size_t work_bound) {
    enum { MANY = 12000, SPAN = 3 * 4096 + 100, EXTRA = 4000, ALL = MANY + EXTRA };
    wh_wheel *wheel = wh_wheel_new(5);
    uint32_t *out = malloc(ALL * sizeof *out), orders = 0;
    armed_timer *timers = calloc(ALL, sizeof *timers); /* by key; order 0: not armed */
    size_t written = 0, count = 0;
    REQUIRE(wheel != NULL && out != NULL && timers != NULL && wh_wheel_reserve(wheel, ALL) == 0);
    for (uint32_t key = 0; key < MANY; key++) {
        timers[key] = (armed_timer){4096 + below(SPAN), key, ++orders};
        REQUIRE(wh_wheel_arm(wheel, key, timers[key].due) == 0);
    }
    for (uint32_t extra = MANY; !wh_wheel_advance_done(wheel, 4096 + SPAN);) {
        size_t work = work_bound;
        size_t given = wh_wheel_advance_some(wheel, 4096 + SPAN, out + written, below(300), &work);
        REQUIRE(work == 0 || work_bound - work >= given);
        for (size_t at = written; at < written + given; at++)
            REQUIRE(timers[out[at]].order != 0);
        written += given;
        REQUIRE(wh_wheel_check(wheel) == 0 && wh_wheel_next(wheel) >= wh_wheel_now(wheel));
        for (unsigned step = 0; step < 40 && extra < ALL; step++, extra++) {
            uint32_t gone = (uint32_t)below(MANY);
            if (wh_wheel_cancel(wheel, gone))
                timers[gone].order = 0;
            timers[extra] = (armed_timer){wh_wheel_now(wheel) + below(below(2) ? 20 : 5000), extra, ++orders};
            REQUIRE(wh_wheel_arm(wheel, extra, timers[extra].due) == (timers[extra].due == wh_wheel_now(wheel)));
        }
        REQUIRE(wh_wheel_check(wheel) == 0);
    }
    written += wh_wheel_advance(wheel, UINT64_MAX, out + written, ALL - written);
    for (size_t key = 0; key < ALL; key++)
        if (timers[key].order != 0)
            timers[count++] = timers[key];
    qsort(timers, count, sizeof *timers, by_due_then_order);
    REQUIRE(written == count && wh_wheel_count(wheel) == 0 && wh_wheel_check(wheel) == 0);
    for (size_t at = 0; at < count; at++)
        REQUIRE(out[at] == timers[at].key);
    wh_wheel_free(wheel);
    free(out);
    free(timers);
}

/* Chains of the dead are swept away beside a sorted run that has timers left in the same slots. */
static void swept_beside_run(void) {
    enum { SORTED = 1000, CHURNED = 100, SLOTS = 200, ROUNDS = 1000, ALL = SORTED + CHURNED };
    wh_wheel *wheel = wh_wheel_new(0);
    uint32_t out[ALL];
    REQUIRE(wheel != NULL && wh_wheel_reserve(wheel, ALL) == 0);
    for (uint32_t key = 0; key < SORTED; key++)
        REQUIRE(wh_wheel_arm(wheel, key, 8192 + 1 + key % SLOTS) == 0);
    REQUIRE(wh_wheel_advance(wheel, 8192, out, ALL) == 0);
    size_t bytes = wh_wheel_bytes(wheel);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t key = SORTED; key < ALL; key++)
            REQUIRE(wh_wheel_arm(wheel, key, 8192 + 1 + below(SLOTS)) == 0);
        REQUIRE(wh_wheel_check(wheel) == 0);
    }
    REQUIRE(wh_wheel_bytes(wheel) < bytes + ROUNDS * CHURNED * 16 / 2); /* it was swept */
    for (uint32_t key = SORTED; key < ALL; key++)
        REQUIRE(wh_wheel_cancel(wheel, key) == 1);
    REQUIRE(wh_wheel_advance(wheel, 8192 + SLOTS, out, ALL) == SORTED && wh_wheel_check(wheel) == 0);
    for (uint32_t at = 0; at < SORTED; at++)
        REQUIRE(out[at] == at % (SORTED / SLOTS) * SLOTS + at / (SORTED / SLOTS));
    REQUIRE(wh_wheel_bytes(wheel) < bytes); /* the run's memory went back */
    wh_wheel_free(wheel);
}

int main(int count, char **arguments) {
    uint64_t rounds = count > 2 ? strtoull(arguments[2], NULL, 10) : 60;
    seed = count > 1 ? strtoull(arguments[1], NULL, 10) : (uint64_t)time(NULL);
    state = seed;
    printf("test_wheel: seed %" PRIu64 ", %" PRIu64 " rounds\n", seed, rounds);
    for (uint64_t round = 0; round < rounds; round++)
        random_round();
    storm();
    churn();
    slices();
    crowded(SIZE_MAX);
    crowded(16384);
    crowded(3900); /* most slots wait for a call of their own */
    crowded(500);  /* none can be sorted */
    swept_beside_run();
    exhaustion();
    puts("test_wheel: ok");
    return 0;
}
