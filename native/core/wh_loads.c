/* Rows that come from the store: loads, the horizon, the backlog, the watermark, keys. */
#include "wh_core_internal.h"

enum { WH_KEY_RECORD = 48 };

int wh_core_begin_load(wh_core *core, uint64_t *number, uint64_t *group) {
    if (core->load_count == core->load_capacity) {
        size_t capacity = core->load_capacity * 2 + 4;
        wh_open_load *loads = wh_realloc(core->loads, capacity * sizeof *loads);
        if (loads == NULL)
            return WH_CORE_NO_MEMORY;
        core->loads = loads;
        core->load_capacity = capacity;
    }
    core->loads[core->load_count++] = (wh_open_load){.number = ++core->load_number, .began = core->departures};
    *number = core->load_number;
    *group = wh_barrier(core);
    return 0;
}

int wh_core_open_horizon(wh_core *core, uint64_t due_ms, const uint8_t *id_bytes, uint64_t *number, uint64_t *group) {
    int code = wh_core_begin_load(core, number, group);
    wh_id id = wh_get_id(id_bytes);
    /* The horizon rises when it lies below the pair itself. */
    bool above = due_ms != core->horizon_due_ms ? due_ms > core->horizon_due_ms
                 : id.hi != core->horizon_id.hi ? id.hi > core->horizon_id.hi
                                                : id.lo > core->horizon_id.lo;
    if (code == 0 && above) {
        core->horizon_due_ms = due_ms;
        core->horizon_id = id;
    }
    return code;
}

bool wh_row_read(const wh_core *core, const uint8_t *at, size_t left, wh_row *row) {
    if (left < WH_ROW_HEAD)
        return false;
    *row = (wh_row){
        .length = wh_get32(at),
        .id = wh_get_id(at + 4),
        .due_ms = wh_get64(at + 20),
        .fencing = wh_get64(at + 28),
        .attempt = wh_get16(at + 36),
        .state = at[38],
        .flags = at[39],
        .lease_ms = wh_get32(at + 40),
        .fire_ms = wh_get64(at + 44),
        .session = at + 52,
        .worker_len = at[68],
        .worker = at + WH_ROW_HEAD,
        .spec_len = wh_get32(at + 72),
    };
    size_t error_len = wh_get16(at + 70);
    row->spec = row->worker + row->worker_len + error_len;
    if (row->length > left || (size_t)WH_ROW_HEAD + row->worker_len + error_len + row->spec_len != row->length)
        return false;
    return wh_id_shard(row->id) < core->shards && row->due_ms <= INT64_MAX / 2 && wh_spec_valid(row->spec, row->spec_len);
}

/* Number of rows, or WH_CORE_MALFORMED. */
static int64_t count_rows(const wh_core *core, const uint8_t *rows, size_t length) {
    int64_t count = 0;
    wh_row row;
    for (size_t at = 0; at < length; at += row.length, count++)
        if (!wh_row_read(core, rows + at, length - at, &row) || (row.flags & WH_ROW_LEASED && row.fencing == 0))
            return WH_CORE_MALFORMED;
    return count;
}

static bool is_wanted(const wh_core *core, const wh_row *row, uint64_t load) {
    bool leased = row->flags & WH_ROW_LEASED;
    if (!(row->flags & (WH_ROW_LEASED | WH_ROW_BACKLOG)) && !wh_below_horizon(core, row->due_ms, row->id))
        return false;
    if (!leased && row->state != WH_STATE_SCHEDULED && row->state != WH_STATE_RETRYING)
        return false;
    if (wh_job_find(core, row->id) != WH_NONE || wh_load_is_stale(core, row->id, load))
        return false;
    return !leased || wh_lease_find(core, row->fencing) == WH_NONE;
}

/* Makes a row's job resident: leased as it was, with its whole time again, or waiting. */
static void take(wh_core *core, uint64_t boot_ms, const wh_row *row) {
    bool leased = row->flags & WH_ROW_LEASED;
    wh_session *session = leased ? wh_session_get(core, row->session, row->worker, row->worker_len) : NULL;
    if ((leased && session == NULL) || (leased && !wh_leases_reserve(core, 1))) {
        core->broken = true;
        return;
    }
    uint32_t job = wh_job_insert(core, row->id, row->due_ms, row->attempt, row->spec, row->spec_len, row->flags & WH_ROW_BACKLOG);
    if (job == WH_NONE) {
        core->broken = true;
        return;
    }
    if (!leased) {
        wh_job_place(core, job);
        return;
    }
    uint32_t lease = wh_lease_make(core, job, session, row->fencing, row->lease_ms, row->fire_ms);
    wh_lease_at(core, lease)->delivered = true;
    if (wh_wheel_arm(core->lease_wheel, lease, boot_ms + row->lease_ms) < 0)
        core->broken = true;
}

int wh_core_load(wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t number, const uint8_t *rows, size_t length, uint64_t *taken) {
    (void)now_ms;
    *taken = 0;
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    if (wh_load_find(core, number) == NULL)
        return 1;
    int64_t count = count_rows(core, rows, length);
    if (count < 0 || count >= WH_NONE)
        return WH_CORE_MALFORMED;
    if (!wh_jobs_reserve(core, (uint32_t)count))
        return WH_CORE_NO_MEMORY;
    wh_row row;
    for (size_t at = 0; at < length && !core->broken; at += row.length) {
        (void)wh_row_read(core, rows + at, length - at, &row);
        if (is_wanted(core, &row, number)) {
            take(core, boot_ms, &row);
            ++*taken;
        } else {
            core->counters.load_skipped++;
        }
    }
    core->counters.loaded += *taken;
    return core->broken ? WH_CORE_NO_MEMORY : 0;
}

void wh_core_end_load(wh_core *core, uint64_t number) {
    wh_open_load *load = wh_load_find(core, number);
    if (load != NULL)
        *load = core->loads[--core->load_count];
    wh_departed_forget(core);
}

int wh_core_provide_keys(wh_core *core, const uint8_t *records, size_t length) {
    if (length % WH_KEY_RECORD)
        return WH_CORE_MALFORMED;
    if (core->broken || !wh_keys_reserve(core, (uint32_t)(length / WH_KEY_RECORD)))
        return WH_CORE_NO_MEMORY;
    for (const uint8_t *at = records; at < records + length; at += WH_KEY_RECORD)
        if (wh_key_find(core, at) == WH_NONE)
            wh_key_set(core, WH_NONE, at, wh_get_id(at + 16), wh_get64(at + 32), wh_get64(at + 40), 0);
    return 0;
}

void wh_core_checkpointed(wh_core *core, uint64_t group) {
    if (group > core->checkpointed_group) {
        core->checkpointed_group = group;
        core->shard = (core->shard + 1) % core->shards;
    }
}

/* Gives a job due below the watermark its backlog row if it has none. False: the budget ended before it. */
static bool close_job(wh_core *core, uint64_t now_ms, wh_job *job, uint64_t *left) {
    if (job->flags & WH_JOB_BACKLOG)
        return true;
    if (*left == 0)
        return false;
    --*left;
    wh_stage_backlog(core, now_ms, job);
    return true;
}

/* The runs are in order, so their marked heads are not looked at again. */
static bool close_run(wh_core *core, uint64_t now_ms, uint64_t watermark_ms, wh_level *level, uint64_t *left) {
    while (level->head + level->marked < level->length) {
        const wh_ready *entry = &level->run[level->head + level->marked];
        if (wh_ready_live(core, entry)) {
            wh_job *job = wh_job_at(core, entry->job);
            if (job->due_ms >= watermark_ms)
                return true;
            if (!close_job(core, now_ms, job, left))
                return false;
        }
        level->marked++;
    }
    return true;
}

static int compare_ready(const void *a, const void *b) {
    return wh_ready_before(a, b) ? -1 : 1;
}

/* 1: done, 0: the budget ended, or an error. */
static int close_heap(wh_core *core, uint64_t now_ms, uint64_t watermark_ms, const wh_level *level, uint64_t *left) {
    size_t count = 0;
    wh_ready *open = level->heap_length ? wh_malloc(level->heap_length * sizeof *open) : NULL;
    if (open == NULL)
        return level->heap_length ? WH_CORE_NO_MEMORY : 1;
    for (size_t at = 0; at < level->heap_length; at++) {
        const wh_job *job = wh_job_at(core, level->heap[at].job);
        if (wh_ready_live(core, &level->heap[at]) && job->due_ms < watermark_ms && !(job->flags & WH_JOB_BACKLOG))
            open[count++] = level->heap[at];
    }
    qsort(open, count, sizeof *open, compare_ready);
    bool done = true;
    for (size_t at = 0; at < count && done; at++)
        done = close_job(core, now_ms, wh_job_at(core, open[at].job), left);
    free(open);
    return done;
}

int wh_core_close_before(wh_core *core, uint64_t now_ms, uint64_t watermark_ms, uint64_t entries_max) {
    /* Jobs due below it that no tick has made ready yet would be left behind. */
    if (wh_wheel_next(core->wheel) < watermark_ms && wh_wheel_earliest(core->wheel) < watermark_ms)
        return core->broken ? WH_CORE_NO_MEMORY : 0;
    for (uint32_t at = 0; at < core->met_count; at++) {
        wh_queue *queue = core->queues[core->met[at]];
        for (int level = 0; level < WH_LEVELS_COUNT && !core->broken; level++) {
            if (!close_run(core, now_ms, watermark_ms, &queue->levels[level], &entries_max))
                return core->broken ? WH_CORE_NO_MEMORY : 0;
            int done = close_heap(core, now_ms, watermark_ms, &queue->levels[level], &entries_max);
            if (done <= 0)
                return done;
        }
    }
    if (watermark_ms > core->watermark_ms) {
        core->watermark_ms = watermark_ms;
        uint8_t *body = wh_stage(core, WH_ENTRY_CLOSE, 0, 0, now_ms, WH_CLOSE_BODY);
        if (body != NULL)
            wh_put64(body, watermark_ms);
    }
    return core->broken ? WH_CORE_NO_MEMORY : 1;
}

int wh_core_backlog_drained(wh_core *core, const uint8_t *path, size_t length, uint64_t spills) {
    if (length > WH_PATH_BYTES_MAX)
        return WH_CORE_MALFORMED;
    uint32_t reference = core->broken ? WH_NONE : wh_queue_intern(core, path, length);
    if (reference == WH_NONE)
        return WH_CORE_NO_MEMORY;
    wh_queue *queue = wh_queue_meet(core, reference);
    if (queue->spills != spills)
        return 0;
    queue->backlog = false;
    return 1;
}

typedef struct {
    uint64_t due_ms;
    wh_id id;
    uint32_t job;
} wh_waiting;

static int compare_waiting(const void *left, const void *right) {
    const wh_waiting *a = left, *b = right;
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms ? -1 : 1;
    if (a->id.hi != b->id.hi)
        return a->id.hi < b->id.hi ? -1 : 1;
    return a->id.lo < b->id.lo ? -1 : a->id.lo > b->id.lo;
}

/* Grants that no worker was given yet and whose time is to come again are taken back, in the order of their tokens. */
static void take_back_undelivered(wh_core *core, uint64_t now_ms, wh_waiting *found) {
    size_t count = 0;
    for (uint32_t at = 0; at < core->leases.high; at++) {
        const wh_lease *lease = wh_lease_at(core, at);
        if (lease->fencing && !lease->delivered && wh_job_at(core, lease->job)->due_ms > now_ms)
            found[count++] = (wh_waiting){.due_ms = lease->fencing, .job = at};
    }
    qsort(found, count, sizeof *found, compare_waiting);
    for (size_t at = 0; at < count; at++)
        wh_take_back(core, now_ms, found[at].job);
}

/* Jobs are placed anew in the order of (due, id), so that both implementations agree. */
int wh_core_rebase(wh_core *core, uint64_t now_ms) {
    wh_wheel *wheel = core->broken ? NULL : wh_wheel_new(now_ms);
    wh_waiting *waiting = wh_malloc(((size_t)core->jobs.count + 1) * sizeof *waiting);
    if (wheel == NULL || waiting == NULL || wh_wheel_reserve(wheel, core->jobs.capacity) != 0) {
        wh_wheel_free(wheel);
        free(waiting);
        return WH_CORE_NO_MEMORY;
    }
    wh_wheel_set_toucher(wheel, core->toucher);
    take_back_undelivered(core, now_ms, waiting);
    size_t count = 0;
    for (uint32_t at = 0; at < core->jobs.high; at++) {
        wh_job *job = wh_job_at(core, at);
        if (job->spec == NULL || job->flags & WH_JOB_LEASED)
            continue;
        wh_job_unplace(core, job);
        waiting[count++] = (wh_waiting){.due_ms = job->due_ms, .id = job->id, .job = at};
    }
    wh_wheel_free(core->wheel);
    core->wheel = wheel;
    for (uint32_t at = 0; at < core->met_count; at++)
        wh_ready_clear(core->queues[core->met[at]]);
    qsort(waiting, count, sizeof *waiting, compare_waiting);
    for (size_t at = 0; at < count; at++)
        wh_job_place(core, waiting[at].job);
    free(waiting);
    return core->broken ? WH_CORE_NO_MEMORY : 0;
}
