/* Chains of chunks and the slab they are cut from: no allocation per timer, memory reused by size class. */
#include "wh_wheel_internal.h"

#include <stdlib.h>

static const uint16_t class_bytes[WH_CLASSES] = {128, 512, 1024};

enum {
    ARENA_FIRST_BYTES = 64 * 1024,
    ARENA_BYTES = WH_TOUCHER_BLOCK,
    ARENA_HEADER_BYTES = 64,
};

/* Starts a new arena, twice as large as the last one up to ARENA_BYTES. */
static bool add_arena(wh_slab *slab) {
    size_t bytes = slab->arenas == NULL ? ARENA_FIRST_BYTES : slab->arenas->bytes * 2;
    if (bytes > ARENA_BYTES)
        bytes = ARENA_BYTES;
    wh_arena *arena = bytes == WH_TOUCHER_BLOCK ? wh_allocate_arena(slab->toucher) : wh_allocate(bytes);
    if (arena == NULL)
        return false;
    arena->next = slab->arenas;
    arena->bytes = bytes;
    slab->arenas = arena;
    slab->arena_bytes += bytes;
    slab->cut = (char *)arena + ARENA_HEADER_BYTES;
    slab->cut_end = (char *)arena + bytes;
    return true;
}

static wh_chunk *take_chunk(wh_slab *slab, unsigned size_class) {
    size_t bytes = class_bytes[size_class];
    wh_chunk *chunk = slab->free_chunks[size_class];
    if (chunk != NULL) {
        slab->free_chunks[size_class] = chunk->next;
    } else {
        if ((size_t)(slab->cut_end - slab->cut) < bytes && !add_arena(slab))
            return NULL;
        chunk = (wh_chunk *)(void *)slab->cut;
        slab->cut += bytes;
    }
    chunk->next = NULL;
    chunk->begin = chunk->end = 0;
    chunk->capacity = (uint16_t)((bytes - sizeof(wh_chunk)) / sizeof(wh_record));
    chunk->size_class = (uint16_t)size_class;
    slab->used_bytes += bytes;
    return chunk;
}

void wh_slab_release(wh_slab *slab, wh_chunk *chunk) {
    slab->used_bytes -= class_bytes[chunk->size_class];
    chunk->next = slab->free_chunks[chunk->size_class];
    slab->free_chunks[chunk->size_class] = chunk;
}

bool wh_chain_grow(wh_slab *slab, wh_chain *chain) {
    unsigned size_class = 0;
    if (chain->tail != NULL)
        size_class = chain->tail->size_class + 1u < WH_CLASSES ? chain->tail->size_class + 1u : WH_CLASSES - 1u;
    wh_chunk *chunk = take_chunk(slab, size_class);
    if (chunk == NULL)
        return false;
    if (chain->tail == NULL)
        chain->head = chunk;
    else
        chain->tail->next = chunk;
    chain->tail = chunk;
    return true;
}

void wh_chain_pop(wh_slab *slab, wh_chain *chain) {
    wh_chunk *chunk = chain->head;
    chain->head = chunk->next;
    if (chain->head == NULL)
        chain->tail = NULL;
    wh_slab_release(slab, chunk);
}

void wh_slab_shrink(wh_slab *slab) {
    while (slab->arenas->next != NULL) {
        wh_arena *arena = slab->arenas;
        slab->arenas = arena->next;
        slab->arena_bytes -= arena->bytes;
        free(arena);
    }
    for (unsigned size_class = 0; size_class < WH_CLASSES; size_class++)
        slab->free_chunks[size_class] = NULL;
    slab->cut = (char *)slab->arenas + ARENA_HEADER_BYTES;
    slab->cut_end = (char *)slab->arenas + slab->arenas->bytes;
}

void wh_slab_free(wh_slab *slab) {
    while (slab->arenas != NULL) {
        wh_arena *arena = slab->arenas;
        slab->arenas = arena->next;
        free(arena);
    }
}
