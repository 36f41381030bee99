/* Submit messages to packed batches, results to responses. */
#include <assert.h>

#include "wh_job_message.h"
#include "wh_xxh64.h"

/* model/batch.py SUBMIT_HEAD and SUBMIT_RESULT. */
typedef struct {
    uint32_t count, flags;
    uint64_t batch_number;
    uint8_t session[16];
    uint64_t content_hash;
} submit_head;

typedef struct {
    uint8_t code, field, flags, zero;
    uint32_t zero2;
    uint8_t job_id[WH_ID_BYTES];
} submit_result;

static_assert(sizeof(submit_head) == 40 && sizeof(submit_result) == 24, "as the Python side packs them");

/* Longest JobResult: id, code, field, duplicate, reason. It stays below 128, so that its length is one byte. */
#define RESULT_BYTES_MAX (28 + 3 + 2 + WH_WORD_BYTES_MAX + 2 + 2 + WH_WORD_BYTES_MAX)
static_assert(RESULT_BYTES_MAX < 128, "the length of a result is written as one byte");

/* The tags of a submit message; 0 where the kind has none. */
typedef struct {
    uint32_t jobs, session, number;
} submit_tags;

static submit_tags tags_of(int kind) {
    switch (kind) {
    case WH_SUBMIT_CREATE:
        return (submit_tags){WH_PB_TAG(1, WH_PB_BYTES), 0, 0};
    case WH_SUBMIT_BATCH:
        return (submit_tags){WH_PB_TAG(3, WH_PB_BYTES), WH_PB_TAG(1, WH_PB_BYTES), WH_PB_TAG(2, WH_PB_VARINT)};
    default:
        return (submit_tags){WH_PB_TAG(3, WH_PB_BYTES), WH_PB_TAG(2, WH_PB_BYTES), WH_PB_TAG(1, WH_PB_VARINT)};
    }
}

wh_wire_scan wh_submit_scan(const wh_wire_rules *rules, wh_span message, int kind) {
    wh_wire_scan scan = {.code = WH_MALFORMED};
    wh_pb_reader reader = wh_pb_over(message);
    submit_tags tags = tags_of(kind);
    uint32_t tag;
    wh_span job;
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return scan;
        }
        if (tag == tags.jobs) {
            well = wh_pb_bytes(&reader, &job);
            scan.count++;
        } else if (tag == tags.session) {
            well = wh_pb_string(&reader, &scan.session);
        } else if (tag == tags.number) {
            well = wh_pb_varint(&reader, &scan.batch_number);
        } else {
            well = wh_pb_skip(&reader, tag, WH_PB_DEPTH);
        }
        if (!well) {
            return scan;
        }
    }
    scan.count = kind == WH_SUBMIT_CREATE ? 1 : scan.count;
    scan.code = scan.count > rules->batch_jobs_max ? WH_BATCH_TOO_LARGE : WH_OK;
    scan.bound = sizeof(submit_head) + (size_t)scan.count * WH_ITEM_BYTES_OWN + message.length;
    return scan;
}

int wh_submit_decode(const wh_wire_rules *rules, wh_span message, int kind, const wh_wire_scan *scan, const uint8_t *session16,
                     uint64_t latest_ms, uint8_t *out, size_t *written) {
    submit_head head = {.count = scan->count, .batch_number = scan->batch_number};
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t jobs_tag = tags_of(kind).jobs, tag;
    uint8_t *items = out + sizeof head, *at = items;
    wh_job_message job;
    wh_span span;
    wh_job_clear(&job);
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return WH_MALFORMED;
        }
        if (tag != jobs_tag) {
            if (!wh_pb_skip(&reader, tag, WH_PB_DEPTH)) {
                return WH_MALFORMED;
            }
            continue;
        }
        if (!wh_pb_bytes(&reader, &span) || !wh_job_merge(&job, span, WH_PB_DEPTH - 1)) {
            return WH_MALFORMED;
        }
        if (kind != WH_SUBMIT_CREATE) {
            at += wh_job_write(rules, &job, latest_ms, at);
            wh_job_clear(&job);
        }
    }
    if (kind == WH_SUBMIT_CREATE) {
        at += wh_job_write(rules, &job, latest_ms, at);
    }
    memcpy(head.session, session16, sizeof head.session);
    head.content_hash = head.batch_number ? wh_xxh64(items, (size_t)(at - items)) : 0;
    memcpy(out, &head, sizeof head);
    *written = (size_t)(at - out);
    return WH_OK;
}

size_t wh_submit_encode_bound(wh_span results, int kind) {
    if (results.length % sizeof(submit_result) || (kind == WH_SUBMIT_CREATE && !results.length)) {
        return WH_SIZE_INVALID;
    }
    return 64 + results.length / sizeof(submit_result) * (2 + RESULT_BYTES_MAX);
}

static uint8_t *put_id(uint8_t *out, uint32_t field, const uint8_t *id) {
    static const uint8_t none[WH_ID_BYTES];
    if (!memcmp(id, none, WH_ID_BYTES)) {
        return out;
    }
    out = wh_pb_put_bytes_head(out, field, WH_ID_TEXT);
    wh_id_text(id, out);
    return out + WH_ID_TEXT;
}

static uint8_t *put_word(uint8_t *out, uint32_t field, wh_span word) {
    return wh_pb_put_bytes(out, field, word.data, word.length);
}

static uint8_t *put_result(const wh_wire_rules *rules, const submit_result *result, uint32_t field, uint8_t *out) {
    uint8_t *at = wh_pb_put_varint(out, WH_PB_TAG(field, WH_PB_BYTES)), *length = at++;
    at = put_id(at, 1, result->job_id);
    at = wh_pb_put_number(at, 2, result->code);
    if (result->code) {
        at = put_word(at, 3, rules->fields[result->field]);
    }
    at = wh_pb_put_number(at, 4, result->flags & 1);
    at = put_word(at, 5, rules->reasons[result->code]);
    *length = (uint8_t)(at - length - 1);
    return at;
}

static uint8_t *put_created(const submit_result *result, uint64_t schedule_ms, uint8_t *out) {
    uint8_t time[24], *end = time;
    end = wh_pb_put_number(end, 1, schedule_ms / 1000);
    end = wh_pb_put_number(end, 2, schedule_ms % 1000 * 1000000);
    out = wh_pb_put_bytes_head(out, 1, WH_ID_TEXT);
    wh_id_text(result->job_id, out);
    out = wh_pb_put_bytes(out + WH_ID_TEXT, 2, time, (size_t)(end - time));
    return wh_pb_put_number(out, 3, result->flags & 1);
}

size_t wh_submit_encode(const wh_wire_rules *rules, int kind, uint64_t batch_number, wh_span results, uint64_t schedule_ms,
                        uint8_t *out) {
    submit_result result;
    uint8_t *at = out;
    if (kind == WH_SUBMIT_CREATE) {
        memcpy(&result, results.data, sizeof result);
        return (size_t)(put_created(&result, schedule_ms, out) - out);
    }
    if (kind == WH_SUBMIT_STREAM) {
        at = wh_pb_put_number(at, 1, batch_number);
    }
    for (size_t offset = 0; offset < results.length; offset += sizeof result) {
        memcpy(&result, results.data + offset, sizeof result);
        at = put_result(rules, &result, kind == WH_SUBMIT_BATCH ? 1 : 2, at);
    }
    return (size_t)(at - out);
}
