/*
 * Queues and what is ready in them: per priority a run of entries that came in order, plus a heap for those that did not.
 * Entries are never searched; a job that left is recognised by its stamp. Invariant: the places of a run never decrease.
 */
#include "wh_core_internal.h"

enum { WH_RUN_FIRST = 16, WH_RUN_KEPT = 1 << 14 };

static uint32_t path_hash(const wh_core *core, const uint8_t *path, size_t length) {
    uint8_t hash[16];
    wh_siphash128(core->uuid, path, length, hash);
    return wh_get32(hash);
}

static bool has_path(const wh_queue *queue, const uint8_t *path, size_t length) {
    return queue->path_len == length && memcmp(queue->path, path, length) == 0;
}

static bool reserve_queue(wh_core *core) {
    if (core->queue_count < core->queue_capacity)
        return true;
    uint32_t capacity = core->queue_capacity * 2 + 16;
    if (!wh_index_reserve(&core->queue_index, capacity))
        return false;
    wh_queue **queues = wh_realloc(core->queues, capacity * sizeof *queues);
    if (queues == NULL)
        return false;
    core->queues = queues;
    uint32_t *met = wh_realloc(core->met, capacity * sizeof *met);
    if (met == NULL)
        return false;
    core->met = met;
    core->queue_capacity = capacity;
    return true;
}

uint32_t wh_queue_intern(wh_core *core, const uint8_t *path, size_t length) {
    if (core->last_queue != WH_NONE && has_path(core->queues[core->last_queue], path, length))
        return core->last_queue;
    uint32_t hash = path_hash(core, path, length);
    uint32_t at = wh_index_first(&core->queue_index, hash);
    while (at != WH_NONE && !has_path(core->queues[at], path, length))
        at = wh_index_next(&core->queue_index, at);
    if (at != WH_NONE)
        return core->last_queue = at;
    if (!reserve_queue(core))
        return WH_NONE;
    wh_queue *queue = wh_calloc(1, sizeof *queue);
    uint8_t *copy = wh_malloc(length ? length : 1);
    if (queue == NULL || copy == NULL) {
        free(queue);
        free(copy);
        return WH_NONE;
    }
    wh_append(copy, path, length);
    queue->path = copy;
    queue->path_len = (uint8_t)length;
    core->queues[core->queue_count] = queue;
    wh_index_add(&core->queue_index, core->queue_count, hash);
    return core->last_queue = core->queue_count++;
}

wh_queue *wh_queue_meet(wh_core *core, uint32_t reference) {
    wh_queue *queue = core->queues[reference];
    if (!queue->met) {
        queue->met = true;
        core->met[core->met_count++] = reference;
    }
    return queue;
}

void wh_queue_free(wh_queue *queue) {
    for (int level = 0; level < WH_LEVELS_COUNT; level++) {
        free(queue->levels[level].run);
        free(queue->levels[level].heap);
    }
    free(queue->path);
    free(queue->streams);
    free(queue->release_skew);
    free(queue->receive_skew);
    free(queue);
}

void wh_skew_add(uint64_t **histogram, uint64_t late_us) {
    if (*histogram == NULL)
        *histogram = wh_calloc(WH_HISTOGRAM_BUCKETS, sizeof **histogram);
    if (*histogram != NULL)
        (*histogram)[wh_histogram_index(late_us)]++;
}

static bool is_empty(const wh_level *level) {
    return level->head == level->length && level->heap_length == 0;
}

/* The run ran empty: starts anew, and gives back what a burst took. */
static void reset_run(wh_level *level) {
    level->head = level->length = level->marked = 0;
    if (level->capacity > WH_RUN_KEPT) {
        free(level->run);
        level->run = NULL;
        level->capacity = 0;
    }
}

static bool append_run(wh_level *level, wh_ready entry) {
    if (level->length == level->capacity && level->head > level->length / 2) {
        memmove(level->run, level->run + level->head, (level->length - level->head) * sizeof entry);
        level->length -= level->head;
        level->head = 0;
    }
    if (level->length == level->capacity) {
        size_t capacity = level->capacity + level->capacity / 2 + WH_RUN_FIRST;
        wh_ready *run = wh_realloc(level->run, capacity * sizeof *run);
        if (run == NULL)
            return false;
        level->run = run;
        level->capacity = capacity;
    }
    level->run[level->length++] = entry;
    return true;
}

static bool push_heap(wh_level *level, wh_ready entry) {
    if (level->heap_length == level->heap_capacity) {
        size_t capacity = level->heap_capacity + level->heap_capacity / 2 + WH_RUN_FIRST;
        wh_ready *heap = wh_realloc(level->heap, capacity * sizeof *heap);
        if (heap == NULL)
            return false;
        level->heap = heap;
        level->heap_capacity = capacity;
    }
    size_t at = level->heap_length++;
    if (at == 0 || wh_ready_before(&level->high, &entry))
        level->high = entry;
    for (; at > 0 && wh_ready_before(&entry, &level->heap[(at - 1) / 2]); at = (at - 1) / 2)
        level->heap[at] = level->heap[(at - 1) / 2];
    level->heap[at] = entry;
    return true;
}

/* The heap ran empty: gives back what a burst took. */
static void drop_heap(wh_level *level) {
    if (level->heap_capacity <= WH_RUN_KEPT)
        return;
    free(level->heap);
    level->heap = NULL;
    level->heap_capacity = 0;
}

static wh_ready pop_heap(wh_level *level) {
    wh_ready first = level->heap[0], last = level->heap[--level->heap_length];
    size_t at = 0, count = level->heap_length;
    for (size_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && wh_ready_before(&level->heap[child + 1], &level->heap[child]))
            child++;
        if (!wh_ready_before(&level->heap[child], &last))
            break;
        level->heap[at] = level->heap[child];
        at = child;
    }
    if (count)
        level->heap[at] = last;
    else
        drop_heap(level);
    return first;
}

bool wh_ready_push(wh_queue *queue, uint64_t due_ms, uint8_t priority, uint64_t number, uint32_t job) {
    wh_level *level = &queue->levels[priority];
    uint64_t place = due_ms + (uint64_t)(WH_PRIORITY_MAX - priority) * WH_PRIORITY_AGEING_MS;
    wh_ready entry = {.place = place, .number = number, .job = job};
    if (level->head == level->length)
        reset_run(level);
    queue->occupied |= (uint16_t)(1u << priority);
    if (level->length == 0 || place >= level->run[level->length - 1].place)
        return append_run(level, entry);
    return push_heap(level, entry);
}

/* The level's first entry; the level is not empty. */
static const wh_ready *first_of(const wh_level *level) {
    if (level->head == level->length)
        return &level->heap[0];
    const wh_ready *run = &level->run[level->head];
    return level->heap_length && wh_ready_before(&level->heap[0], run) ? &level->heap[0] : run;
}

int wh_ready_first_level(const wh_queue *queue) {
    int best = -1;
    for (unsigned bits = queue->occupied; bits; bits &= bits - 1) {
        int at = __builtin_ctz(bits);
        if (best < 0 || wh_ready_before(first_of(&queue->levels[at]), first_of(&queue->levels[best])))
            best = at;
    }
    return best;
}

static int compare_ready(const void *a, const void *b) {
    return wh_ready_before(a, b) ? -1 : 1;
}

/* Makes the heap a part of the run. false: no memory, nothing changed. */
static bool join_heap(wh_level *level) {
    size_t wanted = level->length + level->heap_length;
    if (wanted > level->capacity) {
        wh_ready *run = wh_realloc(level->run, wanted * sizeof *run);
        if (run == NULL)
            return false;
        level->run = run;
        level->capacity = wanted;
    }
    qsort(level->heap, level->heap_length, sizeof *level->heap, compare_ready);
    size_t end = wanted, run_end = level->length;
    /* From the end, until no entry of the heap is left: what then stands before keeps its place, and its marks. */
    while (level->heap_length) {
        const wh_ready *of_heap = &level->heap[level->heap_length - 1];
        bool from_run = run_end > level->head && wh_ready_before(of_heap, &level->run[run_end - 1]);
        level->run[--end] = from_run ? level->run[--run_end] : *of_heap;
        level->heap_length -= !from_run;
    }
    level->length = wanted;
    drop_heap(level);
    if (level->marked > run_end - level->head)
        level->marked = run_end - level->head;
    return true;
}

int wh_ready_last_level(wh_queue *queue) {
    int best = -1;
    for (unsigned bits = queue->occupied; bits; bits &= bits - 1) {
        int at = __builtin_ctz(bits);
        wh_level *level = &queue->levels[at];
        bool joins = level->heap_length && (level->head == level->length || wh_ready_before(&level->run[level->length - 1], &level->high));
        if (joins && !join_heap(level))
            return -1;
        if (best < 0 || wh_ready_before(&queue->levels[best].run[queue->levels[best].length - 1], &level->run[level->length - 1]))
            best = at;
    }
    return best;
}

static void mark_if_empty(wh_queue *queue, int at) {
    if (is_empty(&queue->levels[at]))
        queue->occupied &= (uint16_t)~(1u << at);
}

wh_ready wh_ready_pop(wh_queue *queue, int at) {
    wh_level *level = &queue->levels[at];
    wh_ready entry = *first_of(level);
    if (level->head == level->length || entry.number != level->run[level->head].number) {
        pop_heap(level);
    } else {
        level->head++;
        level->marked -= level->marked != 0;
        if (level->head == level->length)
            reset_run(level);
    }
    mark_if_empty(queue, at);
    return entry;
}

wh_ready wh_ready_pop_last(wh_queue *queue, int at) {
    wh_level *level = &queue->levels[at];
    wh_ready entry = level->run[--level->length];
    if (level->marked > level->length - level->head)
        level->marked = level->length - level->head;
    if (level->head == level->length)
        reset_run(level);
    mark_if_empty(queue, at);
    return entry;
}

void wh_ready_clear(wh_queue *queue) {
    for (int at = 0; at < WH_LEVELS_COUNT; at++) {
        reset_run(&queue->levels[at]);
        queue->levels[at].heap_length = 0;
    }
    queue->occupied = 0;
}
