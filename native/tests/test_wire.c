/*
 * Damaged messages through the wire codec, in buffers of just their size; made for AddressSanitizer and UBSan:
 *
 *   make run-test_wire, then build/native-test/bin/test_wire [seed [rounds]] for one run again
 *
 * That the answers are right is for the Python tests; here they only stay within bounds and agree with each other.
 */
#include "wh_wire.h"
#include "wh_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MESSAGE_BYTES_MAX = 4096 };

static wh_wire_rules make_rules(void) {
    wh_wire_rules rules = {
        .schedule_ahead_ms_max = UINT64_C(1581120000000), .name_bytes_max = 63, .type_bytes_max = 128, .key_bytes_max = 200,
        .routing_key_bytes_max = 200, .labels_max = 32, .label_key_bytes_max = 63, .label_value_bytes_max = 255,
        .labels_bytes_max = 4096, .trace_bytes_max = 128, .payload_bytes_max = 262144, .priority_max = 9, .priority_default = 4,
        .attempts_default = 20, .attempts_max = 1000, .backoff_initial_ms_default = 1000, .backoff_ms_max_default = 3600000,
        .backoff_ms_limit = 604800000, .backoff_percent_default = 200, .backoff_percent_min = 100, .backoff_percent_max = 1000,
        .jitter_percent_default = 20, .lease_ms_min = 1000, .lease_ms_max = 43200000, .error_bytes_max = 40,
        .result_bytes_max = 16, .settles_max = 50, .batch_jobs_max = 50,
    };
    for (int i = 0; i < 256; i++) {
        rules.reasons[i] = rules.fields[i] = (wh_span){(const uint8_t *)"0123456789abcdef0123456789abcdef", WH_WORD_BYTES_MAX};
    }
    return rules;
}

static size_t put_text(uint8_t *out, uint32_t field, const char *text) {
    return (size_t)(wh_pb_put_bytes(out, field, text, strlen(text)) - out);
}

/* A message of the given shape with most fields set; the fuzzing does the rest. */
static size_t make_job(uint8_t *out) {
    size_t at = 0;
    at += put_text(out + at, 1, "email");
    at += put_text(out + at, 2, "send");
    at += put_text(out + at, 3, "payload of a job");
    at += put_text(out + at, below(2) ? 4 : 5, "\x08\x05\x10\x07");
    at += put_text(out + at, 7, "\x0a\x01" "a\x12\x01" "b");
    at += put_text(out + at, 7, "\x0a\x01" "c\x12\x03" "d\xc3\xa9");
    at += put_text(out + at, 8, "key");
    at += put_text(out + at, 10, "\x08\x05");
    at += put_text(out + at, 11, "\x08\x05\x12\x02\x08\x01\x1a\x02\x08\x09");
    at += put_text(out + at, 12, "\x08\x05");
    at += put_text(out + at, 13, "trace");
    return at + put_text(out + at, 14, "team");
}

static size_t make_item(uint8_t *out) {
    size_t at = put_text(out, 1, below(4) ? "0123456789abcdef01234567" : "no token");
    at += put_text(out + at, 2, below(4) ? "short" : "a text that is longer than forty bytes \xc3\xa9\xc3\xa9");
    return at + (below(2) ? put_text(out + at, 3, "\x08\x05") : 0);
}

static size_t make_message(uint8_t *out, int of_jobs, uint32_t field) {
    uint8_t inner[512];
    size_t at = 0;
    for (uint64_t count = below(4); count > 0; count--) {
        size_t length = of_jobs ? make_job(inner) : make_item(inner);
        at = (size_t)(wh_pb_put_bytes(out + at, field, inner, length) - out);
    }
    return at;
}

static size_t damage(uint8_t *message, size_t length) {
    for (uint64_t edits = below(5); edits > 0 && length > 0; edits--) {
        size_t at = below(length);
        switch (below(4)) {
        case 0: message[at] = (uint8_t)below(256); break;
        case 1: message[at] ^= (uint8_t)(1u << below(8)); break;
        case 2: length = at; break;
        default: {
            size_t more = 1 + below(length - at);
            if (length + more <= MESSAGE_BYTES_MAX) {
                memmove(message + at + more, message + at, length - at);
                length += more;
            }
        }
        }
    }
    return length;
}

/* The same bytes at the end of their own allocation, so that a read past them is caught. */
static uint8_t *just(const uint8_t *data, size_t length) {
    uint8_t *copy = malloc(length ? length : 1);
    REQUIRE(copy);
    memcpy(copy, data, length);
    return copy;
}

static void try_submit(const wh_wire_rules *rules, wh_span message, int kind) {
    static const uint8_t session[16];
    wh_wire_scan scan = wh_submit_scan(rules, message, kind);
    size_t written = 0;
    if (scan.code != WH_OK) {
        return;
    }
    uint8_t *out = malloc(scan.bound);
    REQUIRE(out);
    if (wh_submit_decode(rules, message, kind, &scan, session, 0, out, &written) == WH_OK) {
        REQUIRE(written >= 40 && written <= scan.bound);
    }
    free(out);
}

static void try_settle(const wh_wire_rules *rules, wh_span message, int kind) {
    wh_wire_scan scan = wh_settle_scan(rules, message, kind);
    size_t written = 0;
    if (scan.code != WH_OK) {
        return;
    }
    uint8_t *out = malloc(scan.bound), *results = calloc(scan.count + 1, 16);
    REQUIRE(out && results);
    if (wh_settle_decode(rules, message, kind, &scan, out, &written) == WH_OK) {
        REQUIRE(written >= 8 && written <= scan.bound);
        for (size_t i = 0; i < (size_t)scan.count * 16; i++) {
            results[i] = (uint8_t)below(256);
        }
        wh_span batch = {out, written}, answers = {results, (size_t)scan.count * 16};
        size_t bound = wh_settled_encode_bound(batch, answers);
        REQUIRE(bound != WH_SIZE_INVALID);
        uint8_t *answer = malloc(bound);
        REQUIRE(answer && wh_settled_encode(rules, (int)below(2), batch, answers, answer) <= bound);
        free(answer);
    }
    free(out);
    free(results);
}

/* One grant with a spec of the given tail; lengths are right before the damage. */
static size_t make_frame(uint8_t *out) {
    static const char tail[] = "default/qtypekey\x01" "a\x01" "btraceparentpayload";
    uint32_t spec_length = 56 + sizeof tail - 1, length = 52 + spec_length, payload = 7;
    memset(out, 0x11, 56);
    memcpy(out, &length, 4);
    memcpy(out + 52, &spec_length, 4);
    uint8_t *spec = out + 56;
    memset(spec, 0, 56);
    spec[0] = 1, spec[3] = 9, spec[4] = 4, spec[5] = 3, spec[6] = 4, spec[53] = 11;
    memcpy(spec + 32, &payload, 4);
    memcpy(spec + 56, tail, sizeof tail - 1);
    return 56 + (size_t)spec_length;
}

static int try_frame(wh_span frame) {
    size_t body = 0;
    int kind = (int)below(2);
    size_t size = wh_leases_size(kind, frame, 5, &body);
    if (size == WH_SIZE_INVALID) {
        return 0;
    }
    uint8_t *out = malloc(size ? size : 1);
    REQUIRE(out);
    wh_leases_encode(kind, frame, 5, body, out);
    free(out);
    return 1;
}

static void one_round(const wh_wire_rules *rules) {
    uint8_t message[MESSAGE_BYTES_MAX];
    int kind = 1 + (int)below(3);
    size_t length = damage(message, make_message(message, 1, kind == WH_SUBMIT_CREATE ? 1 : 3));
    uint8_t *copy = just(message, length);
    try_submit(rules, (wh_span){copy, length}, kind);
    free(copy);

    kind = (int)below(5);
    length = make_message(message, 0, kind == WH_SETTLE_STREAM ? 1 + (uint32_t)below(3) : 3);
    if (kind == WH_SETTLE_STREAM) {
        uint8_t whole[MESSAGE_BYTES_MAX];
        length = (size_t)(wh_pb_put_bytes(whole, 3 + (uint32_t)below(2), message, length) - whole);
        memcpy(message, whole, length);
    }
    length = damage(message, length);
    copy = just(message, length);
    try_settle(rules, (wh_span){copy, length}, kind);
    free(copy);

    length = make_frame(message);
    REQUIRE(try_frame((wh_span){message, length}));
    length = damage(message, length);
    copy = just(message, length);
    try_frame((wh_span){copy, length});
    free(copy);
}

int main(int argc, char **argv) {
    wh_wire_rules rules = make_rules();
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    state = seed;
    for (uint64_t i = 0; i < rounds; i++) {
        one_round(&rules);
    }
    printf("%" PRIu64 " rounds, seed %" PRIu64 "\n", rounds, seed);
    return 0;
}
