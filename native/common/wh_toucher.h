/*
 * Touches memory ahead of its use, on a thread of its own: the system clears a huge page when it is first written to, which takes a third of
 * a millisecond, or ten times that where a virtual machine's host has to find the memory. Whoever waits for nothing must not do that.
 *
 * Owns the thread and a few blocks made ahead. The thread starts with the first order, so that what stays small has none; it never reads or
 * writes what it touches, and an order for memory that is gone by then does nothing. Invariant: at most WH_TOUCHER_BLOCKS blocks wait.
 */
#ifndef WH_TOUCHER_H
#define WH_TOUCHER_H

#include <stddef.h>

enum { WH_TOUCHER_BLOCK = 2 << 20, WH_TOUCHER_BLOCKS = 4, WH_TOUCHER_BLOCKS_COLD = 2 /* so many are made when they are wanted */ };

typedef struct wh_toucher wh_toucher;

/* Makes one without a thread. NULL: no memory. */
wh_toucher *wh_toucher_new(void);

/* Ends the thread and frees the blocks that nobody took; NULL is allowed. */
void wh_toucher_free(wh_toucher *toucher);

/* Orders that the bytes be touched; with many orders open, or NULL, their user does it. */
void wh_toucher_touch(wh_toucher *toucher, void *from, size_t bytes);

/* A block of WH_TOUCHER_BLOCK bytes, aligned to its size, to be freed with free(), and orders the next ones. NULL: no memory. */
void *wh_toucher_take(wh_toucher *toucher);

/* Bytes of the blocks that wait. */
size_t wh_toucher_bytes(const wh_toucher *toucher);

#endif
