/* The journal's group frame: one 64-byte header, the payload, zeroes up to a multiple of WH_FRAME_ALIGN bytes
 * (docs/storage/journal.md).
 *
 * Owns nothing: every function reads or writes the caller's memory. The invariant: a group is taken for good only when its
 * magic, length, checksum, version, store, number and predecessor are all what the cursor expects.
 */
#ifndef WH_FRAME_H
#define WH_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define WH_FRAME_MAGIC 0x50524757u /* "WGRP" */
#define WH_FRAME_VERSION 1u
#define WH_FRAME_HEADER_BYTES 64u
/* What disks and page caches lose or tear as one. No such unit holds bytes of two groups, so no write touches a durable group
 * and no lost unit hides two of them. */
#define WH_FRAME_ALIGN 4096u
#define WH_FRAME_UUID_BYTES 16u

/* Why the bytes at an offset are not the expected group. */
enum wh_frame_status {
    WH_FRAME_GOOD = 0,
    WH_FRAME_END = 1,      /* the segment has no room for a header here */
    WH_FRAME_NO_MAGIC = 2, /* no group begins here */
    WH_FRAME_LENGTH = 3,   /* the length reaches past the end of the segment */
    WH_FRAME_CHECKSUM = 4, /* torn or damaged */
    WH_FRAME_NEWER = 5,    /* whole, but of a format version that this build does not know */
    WH_FRAME_STORE = 6,    /* whole, of another store */
    WH_FRAME_NUMBER = 7,   /* whole, with another number: what a recycled segment held before */
    WH_FRAME_CHAIN = 8     /* whole, with the right number, but behind another predecessor */
};

/* One group as found in memory. */
typedef struct wh_frame {
    uint64_t number;
    uint64_t time_ms;
    uint64_t end;            /* offset behind the group and its padding */
    uint32_t payload_length; /* bytes behind the header */
    uint32_t previous_crc;
    uint32_t crc;
} wh_frame;

/* A place in a segment and what must come next there. */
typedef struct wh_frame_cursor {
    uint64_t offset;
    uint64_t last_offset; /* where the group before `offset` begins; meaningless while groups == 0 */
    uint64_t number;      /* the number expected at `offset` */
    uint64_t groups;      /* how many groups the cursor has passed */
    uint32_t previous_crc;
    uint8_t store[WH_FRAME_UUID_BYTES];
} wh_frame_cursor;

/* Bytes that a group takes on disk, padding included. */
uint64_t wh_frame_size(uint64_t payload_length);

/* Write the 64 header bytes for `payload` to `header`; returns the group's checksum. */
uint32_t wh_frame_encode(uint8_t *header, const uint8_t *payload, uint32_t payload_length, uint64_t number,
                         uint32_t previous_crc, uint64_t time_ms, const uint8_t *store);

/* Read the group at `offset` of `size` bytes, whatever its number: GOOD, END, NO_MAGIC, LENGTH, CHECKSUM, NEWER or STORE.
 * `frame` is filled for GOOD, and with what the header says for CHECKSUM, NEWER and STORE. */
enum wh_frame_status wh_frame_read(const uint8_t *data, uint64_t size, uint64_t offset, const uint8_t *store, wh_frame *frame);

/* Read the group that the cursor expects and step over it; the cursor stays where it is unless the status is GOOD. */
enum wh_frame_status wh_frame_next(const uint8_t *data, uint64_t size, wh_frame_cursor *cursor, wh_frame *frame);

/* Step over good groups until the first that is not; returns why it is not. */
enum wh_frame_status wh_frame_scan(const uint8_t *data, uint64_t size, wh_frame_cursor *cursor, wh_frame *frame);

/* Find in steps of WH_FRAME_ALIGN from `offset` on a whole group of this store with a number above `number`; returns its offset, or
 * UINT64_MAX. */
uint64_t wh_frame_find_later(const uint8_t *data, uint64_t size, uint64_t offset, uint64_t number, const uint8_t *store,
                             wh_frame *frame);

#endif
