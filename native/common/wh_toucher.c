/* Touching memory ahead; see the header. */
#define _GNU_SOURCE /* MADV_POPULATE_WRITE */
#include "wh_toucher.h"

#include "wh_memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { ORDERS_MAX = 64 };

typedef struct {
    uint8_t *from;
    size_t bytes;
} wh_order;

struct wh_toucher {
    void *blocks[WH_TOUCHER_BLOCKS]; /* a ring, oldest first: the one touched first */
    size_t first_block, block_count, given;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t wake;
    wh_order orders[ORDERS_MAX];
    size_t first_order, order_count;
    bool ends;
};

/* In huge pages: each call holds up whoever maps or unmaps. */
static void touch(const wh_order *order) {
#ifdef MADV_POPULATE_WRITE
    uintptr_t from = (uintptr_t)order->from & ~(uintptr_t)4095, end = (uintptr_t)order->from + order->bytes;
    while (from < end) {
        uintptr_t next = (from | (WH_TOUCHER_BLOCK - 1)) + 1;
        (void)madvise((void *)from, (next < end ? next : end) - from, MADV_POPULATE_WRITE);
        from = next;
    }
#else
    (void)order;
#endif
}

static void *run(void *argument) {
    wh_toucher *toucher = argument;
    (void)pthread_mutex_lock(&toucher->lock);
    while (!toucher->ends) {
        if (toucher->order_count == 0) {
            (void)pthread_cond_wait(&toucher->wake, &toucher->lock);
            continue;
        }
        wh_order order = toucher->orders[toucher->first_order];
        toucher->first_order = (toucher->first_order + 1) % ORDERS_MAX;
        toucher->order_count--;
        (void)pthread_mutex_unlock(&toucher->lock);
        touch(&order);
        (void)pthread_mutex_lock(&toucher->lock);
    }
    (void)pthread_mutex_unlock(&toucher->lock);
    return NULL;
}

wh_toucher *wh_toucher_new(void) {
    wh_toucher *toucher = wh_calloc(1, sizeof *toucher);
    if (toucher == NULL)
        return NULL;
    (void)pthread_mutex_init(&toucher->lock, NULL);
    (void)pthread_cond_init(&toucher->wake, NULL);
    return toucher;
}

void wh_toucher_free(wh_toucher *toucher) {
    if (toucher == NULL)
        return;
    (void)pthread_mutex_lock(&toucher->lock);
    toucher->ends = true;
    (void)pthread_cond_signal(&toucher->wake);
    (void)pthread_mutex_unlock(&toucher->lock);
    if (toucher->running)
        (void)pthread_join(toucher->thread, NULL);
    for (size_t at = 0; at < toucher->block_count; at++)
        free(toucher->blocks[(toucher->first_block + at) % WH_TOUCHER_BLOCKS]);
    (void)pthread_cond_destroy(&toucher->wake);
    (void)pthread_mutex_destroy(&toucher->lock);
    free(toucher);
}

/* The process's signals are for its other threads. */
static bool start(wh_toucher *toucher) {
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    toucher->running = pthread_create(&toucher->thread, NULL, run, toucher) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return toucher->running;
}

void wh_toucher_touch(wh_toucher *toucher, void *from, size_t bytes) {
    if (toucher == NULL || (!toucher->running && !start(toucher)))
        return;
    (void)pthread_mutex_lock(&toucher->lock);
    if (toucher->order_count < ORDERS_MAX) {
        toucher->orders[(toucher->first_order + toucher->order_count++) % ORDERS_MAX] = (wh_order){from, bytes};
        (void)pthread_cond_signal(&toucher->wake);
    }
    (void)pthread_mutex_unlock(&toucher->lock);
}

void *wh_toucher_take(wh_toucher *toucher) {
    if (toucher == NULL || ++toucher->given <= WH_TOUCHER_BLOCKS_COLD)
        return wh_aligned(WH_TOUCHER_BLOCK);
    void *taken = NULL;
    if (toucher->block_count != 0) {
        taken = toucher->blocks[toucher->first_block];
        toucher->first_block = (toucher->first_block + 1) % WH_TOUCHER_BLOCKS;
        toucher->block_count--;
    }
    for (void *made; toucher->block_count < WH_TOUCHER_BLOCKS && (made = wh_aligned(WH_TOUCHER_BLOCK)) != NULL;) {
        toucher->blocks[(toucher->first_block + toucher->block_count++) % WH_TOUCHER_BLOCKS] = made;
        wh_toucher_touch(toucher, made, WH_TOUCHER_BLOCK);
    }
    return taken != NULL ? taken : wh_aligned(WH_TOUCHER_BLOCK);
}

size_t wh_toucher_bytes(const wh_toucher *toucher) {
    return toucher == NULL ? 0 : toucher->block_count * WH_TOUCHER_BLOCK;
}
