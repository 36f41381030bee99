/*
 * Damaged messages through the client's readers, and its writers' sizes, in buffers of just their size; made for AddressSanitizer and
 * UBSan:
 *
 *   make run-test_client, then build/native-test/bin/test_client [seed [rounds]] for one run again
 *
 * That what they read is right is for the Python tests; here they only stay within bounds.
 */
#include "wh_client.h"
#include "wh_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MESSAGE_BYTES_MAX = 2048 };

static wh_span text(const char *literal) {
    return (wh_span){(const uint8_t *)literal, strlen(literal)};
}

static uint8_t *put_text(uint8_t *out, uint32_t field, const char *literal) {
    return wh_pb_put_bytes(out, field, literal, strlen(literal));
}

/* A Lease, a JobResult or a SettledItem: their fields' numbers and types overlap, and the readers must bear each other's messages. */
static size_t make_inner(uint8_t *out) {
    uint8_t *at = out;
    at = put_text(at, 1, "0123456789abcdef01234567");
    at = below(2) ? put_text(at, 2, "00000000000000000000000001") : wh_pb_put_number(at, 2, below(6));
    at = below(2) ? put_text(at, 3, "type") : wh_pb_put_number(at, 3, below(20));
    at = below(2) ? put_text(at, 4, "payload") : wh_pb_put_number(at, 4, 1);
    at = put_text(at, 5, "queue \xc3\xa9");
    at = wh_pb_put_number(at, 7, 3);
    at = wh_pb_put_number(at, 9, UINT64_MAX);
    at = wh_pb_put_number(at, 12, UINT64_C(1) << 40);
    for (uint64_t labels = below(4); labels > 0; labels--) {
        at = wh_label_put(at, text("key"), text(below(2) ? "value" : ""));
        at = put_text(at, 14, "\x0a\x01" "a\x12\x01" "b");
    }
    at = put_text(at, 15, "trace");
    return (size_t)(wh_pb_put_number(at, 16, 1) - out);
}

static size_t make_message(uint8_t *out) {
    uint8_t inner[512], body[MESSAGE_BYTES_MAX / 2], *at = body;
    at = wh_pb_put_number(at, 1, below(2));
    for (uint64_t count = below(3); count > 0; count--) {
        at = wh_pb_put_bytes(at, 1 + (uint32_t)below(2), inner, make_inner(inner));
    }
    return (size_t)(wh_pb_put_bytes(out, 1 + (uint32_t)below(4), body, (size_t)(at - body)) - out);
}

static size_t damage(uint8_t *message, size_t length) {
    for (uint64_t count = below(4); count > 0 && length > 0; count--) {
        size_t at = below(length);
        switch (below(3)) {
        case 0: message[at] = (uint8_t)below(256); break;
        case 1: message[at] ^= (uint8_t)(1 << below(8)); break;
        default: length = at;
        }
    }
    return length;
}

static void read_labels(wh_span lease, uint32_t expected) {
    wh_pb_reader reader = wh_pb_over(lease);
    wh_span key, value;
    uint32_t count = 0;
    while (wh_label_next(&reader, &key, &value) == 1) {
        REQUIRE(wh_pb_utf8(key.data, key.length) && wh_pb_utf8(value.data, value.length));
        count++;
    }
    REQUIRE(count == expected);
}

static void read_frame(wh_span frame) {
    wh_pb_reader reader = wh_pb_over(frame);
    int64_t fire_time_us;
    uint32_t count, seen = 0;
    wh_span message;
    wh_client_lease lease;
    if (!wh_lease_frame_scan(frame, &fire_time_us, &count)) {
        return;
    }
    while (wh_lease_frame_next(&reader, &message) == 1) {
        seen++;
        if (wh_lease_read(message, &lease)) {
            REQUIRE(lease.type.data >= message.data && lease.type.data + lease.type.length <= message.data + message.length);
            read_labels(message, lease.label_count);
        }
    }
    REQUIRE(seen == count);
}

static void read_all(wh_span message) {
    wh_stream_member member;
    wh_job_result result;
    wh_settled_item item;
    wh_submit_answer answer;
    wh_pb_reader reader = wh_pb_over(message);
    if (!wh_submit_answer_of(message, &answer)) {
        REQUIRE(message.length);
    }
    while (wh_results_next(&reader, &result) == 1) {
        REQUIRE(wh_pb_utf8(result.job_id.data, result.job_id.length));
    }
    if (!wh_stream_member_of(message, &member)) {
        return;
    }
    read_frame(member.body);
    reader = wh_pb_over(member.body);
    while (wh_settled_next(&reader, &item) == 1) {
        REQUIRE(item.token.length <= member.body.length);
    }
}

static uint8_t *exact(size_t size) {
    uint8_t *buffer = malloc(size + !size);
    REQUIRE(buffer);
    return buffer;
}

static void write_some(void) {
    static const char *const TEXTS[] = {"", "a", "0123456789abcdef01234567"};
    wh_span words[6], long_text = {exact(20000), below(20000)};
    memset((void *)(uintptr_t)long_text.data, 'x', 20000);
    for (int i = 0; i < 6; i++) {
        words[i] = text(TEXTS[below(3)]);
    }
    wh_job_words job = {words[0], words[1], words[2], words[3], words[4], words[5], (uint32_t)below(1 << 20), below(2)};
    size_t size = wh_job_words_size(&job);
    uint8_t *head = exact(size);
    REQUIRE(wh_job_words_put(head, &job) == head + size);
    int64_t seconds = (int64_t)below(UINT64_MAX) >> below(64);
    int32_t nanos = (int32_t)below(1000000000) - 500000000;
    uint32_t when = (uint32_t)below(2) * 5;
    size_t whole = wh_job_element_size(size, long_text.length, when, seconds, nanos);
    uint8_t *element = exact(whole);
    REQUIRE(wh_job_element_put(element, (wh_span){head, size}, long_text, when, seconds, nanos) == element + whole);
    uint64_t receive_us = below(2) * below(UINT64_MAX);
    size_t ack_size = wh_ack_size(words[0].length, long_text.length, receive_us);
    uint8_t *ack = exact(ack_size);
    REQUIRE(wh_ack_put(ack, words[0], long_text, receive_us) == ack + ack_size);
    size_t label_size = wh_label_size(words[1], long_text);
    uint8_t *label = exact(label_size);
    REQUIRE(wh_label_put(label, words[1], long_text) == label + label_size);
    free(head);
    free(element);
    free(ack);
    free(label);
    free((void *)(uintptr_t)long_text.data);
}

int main(int count, char **arguments) {
    seed = count > 1 ? strtoull(arguments[1], NULL, 10) : (uint64_t)time(NULL);
    uint64_t rounds = count > 2 ? strtoull(arguments[2], NULL, 10) : 20000;
    state = seed;
    for (uint64_t round = 0; round < rounds; round++) {
        uint8_t message[MESSAGE_BYTES_MAX];
        size_t length = damage(message, make_message(message));
        uint8_t *tight = exact(length);
        memcpy(tight, message, length);
        read_all((wh_span){tight, length});
        read_frame((wh_span){tight, length});
        free(tight);
        if (round % 16 == 0) {
            write_some();
        }
    }
    printf("client: %" PRIu64 " messages, seed %" PRIu64 "\n", rounds, seed);
    return 0;
}
