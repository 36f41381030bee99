/*
 * The memory of the open group: given away whole when the group is taken, used again once its reader is done with it.
 *
 * Owns a few buffers between two uses. A buffer may come back from any thread, while the core is at work and after it is gone: whoever
 * holds one keeps the shelf that it belongs to alive. One thread alone, the core's, asks for buffers.
 */
#ifndef WH_GROUP_H
#define WH_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wh_group_shelf wh_group_shelf;

typedef struct {
    uint8_t *data; /* NULL: none yet */
    size_t length, capacity;
} wh_group_buffer;

/* Makes a shelf. NULL: no memory. */
wh_group_shelf *wh_group_shelf_new(void);

/* The core is done with the shelf (NULL is allowed) and with the buffer that it fills. */
void wh_group_shelf_drop(wh_group_shelf *shelf, wh_group_buffer *buffer);

/* Bytes that lie there. */
size_t wh_group_shelf_bytes(const wh_group_shelf *shelf);

/* Makes room for `extra` bytes. false: no memory, nothing changed. */
bool wh_group_reserve(wh_group_shelf *shelf, wh_group_buffer *buffer, size_t extra);

/* Takes the bytes out of the buffer, which then has one that was used before, or none. wh_group_free gets them. */
uint8_t *wh_group_take(wh_group_shelf *shelf, wh_group_buffer *buffer);

/* Nobody reads the bytes any more: back to their shelf, when there is room and they are not too many. Any thread; NULL is allowed. */
void wh_group_free(void *data);

#endif
