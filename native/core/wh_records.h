/*
 * Memory for the records of resident jobs: pages of one size class, cut from arenas of 2 MiB, so that a record has no header of its own,
 * lies on a huge page, and costs neither a walk through malloc nor a page fault. A page whose records are all gone serves any class again,
 * arenas without pages in use go back to the system but for a few. What is larger than the largest class comes from wh_malloc.
 *
 * Invariant: the pages of a class that have room are in its list and no others; at most WH_IDLE_ARENAS_KEPT arenas are idle.
 */
#ifndef WH_RECORDS_H
#define WH_RECORDS_H

#include "wh_toucher.h"

#include <stddef.h>
#include <stdint.h>

enum { WH_RECORD_STEP = 16, WH_RECORD_CLASSES = 64 /* up to 1 KiB */, WH_RECORD_ARENA = WH_TOUCHER_BLOCK, WH_IDLE_ARENAS_KEPT = 8 };

typedef struct wh_record_page wh_record_page;
typedef struct wh_record_arena wh_record_arena;

typedef struct {
    wh_record_page *roomy[WH_RECORD_CLASSES];
    wh_record_page *free_pages;
    wh_record_arena *first_arena;
    size_t idle_arenas; /* without a page in use */
    wh_toucher *toucher; /* gives the arenas; NULL: made when they are wanted */
    size_t bytes; /* of arenas and of what wh_malloc gave */
} wh_records;

/* Room for `length` bytes (at least 1), aligned for any number. NULL: no memory. */
uint8_t *wh_record_take(wh_records *records, uint32_t length);

/* Gives it back; `length` as when it was taken. */
void wh_record_give(wh_records *records, uint8_t *record, uint32_t length);

/* Fetches what the next wh_record_take of this length will give out. */
void wh_record_expect(const wh_records *records, uint32_t length);

/* Frees all arenas; records from wh_malloc must have been given back. */
void wh_records_free(wh_records *records);

#endif
