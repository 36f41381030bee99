/* Records of resident jobs; see the header. */
#include "wh_records.h"

#include "wh_memory.h"

#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HIDE(at, length) ASAN_POISON_MEMORY_REGION(at, length)
#define SHOW(at, length) ASAN_UNPOISON_MEMORY_REGION(at, length)
#else
#define HIDE(at, length) ((void)(at), (void)(length))
#define SHOW(at, length) ((void)(at), (void)(length))
#endif

enum { ARENA_BYTES = WH_RECORD_ARENA, PAGE_BYTES = 1 << 16, PAGES = ARENA_BYTES / PAGE_BYTES, LINE = 64 };

typedef struct wh_hole {
    struct wh_hole *next;
} wh_hole;

struct wh_record_page {
    wh_hole *holes;
    uint8_t *cut, *end; /* never given out yet */
    wh_record_page *previous, *next; /* among those of its class with room, or among the free ones */
    uint32_t used;
    uint32_t size_class;
};

/* Heads of all arenas would meet in the same few cache sets: each stands at a place of its own in its arena's first page. */
struct wh_record_arena {
    wh_record_arena *previous, *next;
    uint32_t used_pages;
    wh_record_page pages[PAGES];
};
enum { HEAD_BYTES = (sizeof(wh_record_arena) + LINE - 1) / LINE * LINE, HEAD_PLACES = 8 };
_Static_assert(HEAD_BYTES * HEAD_PLACES <= PAGE_BYTES / 2, "an arena's first page holds records as well");

static inline wh_record_arena *arena_of(const void *inside) {
    uintptr_t base = (uintptr_t)inside & ~(uintptr_t)(ARENA_BYTES - 1);
    return (wh_record_arena *)(base + (base / ARENA_BYTES) % HEAD_PLACES * HEAD_BYTES);
}

static inline wh_record_page *page_of(const uint8_t *record) {
    return &arena_of(record)->pages[((uintptr_t)record & (ARENA_BYTES - 1)) / PAGE_BYTES];
}

static inline uint32_t class_of(uint32_t length) {
    return (length - 1) / WH_RECORD_STEP;
}

static inline uint32_t class_bytes(uint32_t size_class) {
    return (size_class + 1) * WH_RECORD_STEP;
}

static void free_arena(wh_record_arena *arena) {
    void *base = (void *)((uintptr_t)arena & ~(uintptr_t)(ARENA_BYTES - 1));
    SHOW(base, ARENA_BYTES);
    free(base);
}

static void push(wh_record_page **first, wh_record_page *page) {
    page->previous = NULL;
    page->next = *first;
    if (*first != NULL)
        (*first)->previous = page;
    *first = page;
}

static void unlink_page(wh_record_page **first, const wh_record_page *page) {
    if (page->previous != NULL)
        page->previous->next = page->next;
    else
        *first = page->next;
    if (page->next != NULL)
        page->next->previous = page->previous;
}

static inline bool is_full(const wh_record_page *page, uint32_t bytes) {
    return page->holes == NULL && (size_t)(page->end - page->cut) < bytes;
}

static bool add_arena(wh_records *records) {
    uint8_t *base = wh_toucher_take(records->toucher);
    if (base == NULL)
        return false;
    wh_record_arena *arena = arena_of(base);
    *arena = (wh_record_arena){.next = records->first_arena};
    if (arena->next != NULL)
        arena->next->previous = arena;
    records->first_arena = arena;
    records->bytes += ARENA_BYTES;
    records->idle_arenas++;
    for (int at = PAGES - 1; at >= 0; at--)
        push(&records->free_pages, &arena->pages[at]);
    HIDE(base + HEAD_BYTES * HEAD_PLACES, ARENA_BYTES - HEAD_BYTES * HEAD_PLACES);
    return true;
}

/* A free page becomes one of the class. */
static wh_record_page *add_page(wh_records *records, uint32_t size_class) {
    if (records->free_pages == NULL && !add_arena(records))
        return NULL;
    wh_record_page *page = records->free_pages;
    wh_record_arena *arena = arena_of(page);
    size_t number = (size_t)(page - arena->pages);
    uint8_t *base = (uint8_t *)((uintptr_t)page & ~(uintptr_t)(ARENA_BYTES - 1)) + number * PAGE_BYTES;
    unlink_page(&records->free_pages, page);
    records->idle_arenas -= arena->used_pages++ == 0;
    *page = (wh_record_page){.size_class = size_class, .cut = base + (number == 0 ? HEAD_BYTES * HEAD_PLACES : 0), .end = base + PAGE_BYTES};
    push(&records->roomy[size_class], page);
    return page;
}

uint8_t *wh_record_take(wh_records *records, uint32_t length) {
    uint32_t size_class = class_of(length), bytes = class_bytes(size_class);
    if (size_class >= WH_RECORD_CLASSES) {
        uint8_t *large = wh_malloc(length);
        records->bytes += large ? length : 0;
        return large;
    }
    wh_record_page *page = records->roomy[size_class];
    if (page == NULL && (page = add_page(records, size_class)) == NULL)
        return NULL;
    uint8_t *record = (uint8_t *)page->holes;
    if (record != NULL) {
        SHOW(record, bytes);
        page->holes = page->holes->next;
    } else {
        record = page->cut;
        page->cut += bytes;
        SHOW(record, bytes);
    }
    page->used++;
    if (is_full(page, bytes))
        unlink_page(&records->roomy[size_class], page);
    return record;
}

static void drop_arena(wh_records *records, wh_record_arena *arena) {
    for (int at = 0; at < PAGES; at++)
        unlink_page(&records->free_pages, &arena->pages[at]);
    if (arena->previous != NULL)
        arena->previous->next = arena->next;
    else
        records->first_arena = arena->next;
    if (arena->next != NULL)
        arena->next->previous = arena->previous;
    records->bytes -= ARENA_BYTES;
    free_arena(arena);
}

/* Some idle arenas stay: a new one costs the system 2 MiB of zeros. */
static void free_page(wh_records *records, wh_record_page *page) {
    wh_record_arena *arena = arena_of(page);
    push(&records->free_pages, page);
    if (--arena->used_pages != 0)
        return;
    if (records->idle_arenas < WH_IDLE_ARENAS_KEPT)
        records->idle_arenas++;
    else
        drop_arena(records, arena);
}

void wh_record_give(wh_records *records, uint8_t *record, uint32_t length) {
    uint32_t size_class = class_of(length), bytes = class_bytes(size_class);
    if (size_class >= WH_RECORD_CLASSES) {
        records->bytes -= length;
        free(record);
        return;
    }
    wh_record_page *page = page_of(record);
    bool was_full = is_full(page, bytes);
    wh_hole *hole = (wh_hole *)(void *)record;
    hole->next = page->holes;
    page->holes = hole;
    HIDE(record + sizeof *hole, bytes - sizeof *hole);
    if (was_full)
        push(&records->roomy[size_class], page);
    if (--page->used == 0) {
        unlink_page(&records->roomy[size_class], page);
        free_page(records, page);
    }
}

void wh_record_expect(const wh_records *records, uint32_t length) {
    uint32_t size_class = class_of(length);
    const wh_record_page *page = size_class < WH_RECORD_CLASSES ? records->roomy[size_class] : NULL;
    if (page == NULL)
        return;
    const uint8_t *next = page->holes ? (const uint8_t *)page->holes : page->cut;
    for (uint32_t at = 0; at < length; at += LINE)
        __builtin_prefetch(next + at, 1);
}

void wh_records_free(wh_records *records) {
    while (records->first_arena != NULL) {
        wh_record_arena *arena = records->first_arena;
        records->first_arena = arena->next;
        free_arena(arena);
    }
    *records = (wh_records){.toucher = records->toucher};
}
