/* The memory of the open group; see the header. */
#include "wh_group.h"

#include "wh_memory.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Two groups under way and one that waits: as many come back before the next is needed. */
enum { WH_GROUP_FIRST = 1 << 16, WH_GROUP_KEPT = 4 << 20, WH_GROUP_SPARES = 3, WH_GROUP_HEAD = 64 };

struct wh_group_shelf {
    atomic_size_t holders; /* the core and the buffers given away */
    _Atomic(uint8_t *) spares[WH_GROUP_SPARES];
};

/* Before the bytes of each buffer, in WH_GROUP_HEAD bytes. */
typedef struct {
    wh_group_shelf *shelf;
    size_t capacity;
} head;

static head *head_of(uint8_t *data) {
    return (head *)(void *)(data - WH_GROUP_HEAD);
}

wh_group_shelf *wh_group_shelf_new(void) {
    wh_group_shelf *shelf = wh_calloc(1, sizeof *shelf);
    if (shelf == NULL)
        return NULL;
    atomic_init(&shelf->holders, 1);
    for (int at = 0; at < WH_GROUP_SPARES; at++)
        atomic_init(&shelf->spares[at], NULL);
    return shelf;
}

static void let_go(wh_group_shelf *shelf) {
    if (atomic_fetch_sub(&shelf->holders, 1) != 1)
        return;
    for (int at = 0; at < WH_GROUP_SPARES; at++) {
        uint8_t *spare = atomic_load(&shelf->spares[at]);
        if (spare != NULL)
            free(spare - WH_GROUP_HEAD);
    }
    free(shelf);
}

void wh_group_shelf_drop(wh_group_shelf *shelf, wh_group_buffer *buffer) {
    if (buffer->data != NULL)
        free(buffer->data - WH_GROUP_HEAD);
    *buffer = (wh_group_buffer){0};
    if (shelf != NULL)
        let_go(shelf);
}

size_t wh_group_shelf_bytes(const wh_group_shelf *shelf) {
    size_t total = 0;
    for (int at = 0; at < WH_GROUP_SPARES; at++) {
        uint8_t *spare = atomic_load(&shelf->spares[at]);
        total += spare ? head_of(spare)->capacity : 0;
    }
    return total;
}

bool wh_group_reserve(wh_group_shelf *shelf, wh_group_buffer *buffer, size_t extra) {
    if (extra <= buffer->capacity - buffer->length)
        return true;
    size_t wanted = buffer->length + extra, capacity = buffer->capacity * 2;
    if (capacity < WH_GROUP_FIRST)
        capacity = WH_GROUP_FIRST;
    if (capacity < wanted)
        capacity = wanted;
    uint8_t *block = wh_realloc(buffer->data ? buffer->data - WH_GROUP_HEAD : NULL, WH_GROUP_HEAD + capacity);
    if (block == NULL)
        return false;
    buffer->data = block + WH_GROUP_HEAD;
    buffer->capacity = capacity;
    *head_of(buffer->data) = (head){shelf, capacity};
    return true;
}

uint8_t *wh_group_take(wh_group_shelf *shelf, wh_group_buffer *buffer) {
    uint8_t *taken = buffer->data;
    atomic_fetch_add(&shelf->holders, 1);
    *buffer = (wh_group_buffer){0};
    for (int at = 0; at < WH_GROUP_SPARES && buffer->data == NULL; at++)
        buffer->data = atomic_exchange(&shelf->spares[at], NULL);
    if (buffer->data != NULL)
        buffer->capacity = head_of(buffer->data)->capacity;
    return taken;
}

void wh_group_free(void *data) {
    if (data == NULL)
        return;
    uint8_t *bytes = data;
    wh_group_shelf *shelf = head_of(bytes)->shelf;
    for (int at = 0; at < WH_GROUP_SPARES && bytes != NULL && head_of(bytes)->capacity <= WH_GROUP_KEPT; at++) {
        uint8_t *none = NULL;
        if (atomic_compare_exchange_strong(&shelf->spares[at], &none, bytes))
            bytes = NULL;
    }
    if (bytes != NULL)
        free(bytes - WH_GROUP_HEAD);
    let_go(shelf);
}
