/*
 * The buffers of the open group: what is given away keeps its bytes until it comes back, from whichever thread and in whichever order,
 * also when the core is gone by then:
 *
 *   make run-test_group, then build/native-test/bin/test_group [seed] for one run again
 */
#include "wh_group.h"
#include "wh_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { READERS = 3, PLACES = 4, GROUPS = 20000, LENGTH_MAX = 3000, LARGE = 5 << 20 };

typedef struct {
    uint8_t *data;
    size_t length;
    uint8_t mark;
} given;

static _Atomic(given *) places[READERS][PLACES];
static atomic_bool ends;

static void read_and_free(given *group) {
    for (size_t byte = 0; byte < group->length; byte++)
        REQUIRE(group->data[byte] == group->mark);
    wh_group_free(group->data);
    free(group);
}

static void *reader(void *argument) {
    _Atomic(given *) *mine = argument;
    for (bool last = false; !last; (void)sched_yield()) {
        last = atomic_load(&ends);
        for (int at = 0; at < PLACES; at++) {
            given *group = atomic_exchange(&mine[at], NULL);
            if (group != NULL)
                read_and_free(group);
        }
    }
    return NULL;
}

static given *fill_and_take(wh_group_shelf *shelf, wh_group_buffer *open, size_t length, uint8_t mark) {
    given *group = malloc(sizeof *group);
    REQUIRE(group != NULL && open->length == 0);
    for (size_t left = length; left != 0;) {
        size_t part = 1 + below(left);
        REQUIRE(wh_group_reserve(shelf, open, part) && open->capacity - open->length >= part);
        memset(open->data + open->length, mark, part);
        open->length += part;
        left -= part;
    }
    *group = (given){.length = open->length, .mark = mark};
    group->data = wh_group_take(shelf, open);
    return group;
}

/* A large buffer does not stay; a small one is used again. */
static void test_what_stays(void) {
    wh_group_shelf *shelf = wh_group_shelf_new();
    wh_group_buffer open = {0};
    read_and_free(fill_and_take(shelf, &open, LARGE, 1));
    REQUIRE(open.data == NULL && wh_group_shelf_bytes(shelf) == 0);
    given *group = fill_and_take(shelf, &open, 100, 2);
    uint8_t *first = group->data;
    read_and_free(group);
    REQUIRE(wh_group_shelf_bytes(shelf) != 0);
    read_and_free(fill_and_take(shelf, &open, 100, 3));
    REQUIRE(open.data == first && wh_group_shelf_bytes(shelf) != 0);
    wh_group_shelf_drop(shelf, &open);
    wh_group_free(NULL);
}

int main(int count, char **arguments) {
    pthread_t threads[READERS];
    seed = count > 1 ? strtoull(arguments[1], NULL, 10) : (uint64_t)time(NULL);
    state = seed;
    test_what_stays();
    wh_group_shelf *shelf = wh_group_shelf_new();
    wh_group_buffer open = {0};
    for (int at = 0; at < READERS; at++)
        REQUIRE(pthread_create(&threads[at], NULL, reader, places[at]) == 0);
    for (int number = 0; number < GROUPS; number++) {
        size_t length = 1 + below(below(50) ? LENGTH_MAX : 200000);
        given *group = fill_and_take(shelf, &open, length, (uint8_t)number);
        group = atomic_exchange(&places[below(READERS)][below(PLACES)], group);
        if (group != NULL)
            read_and_free(group);
    }
    wh_group_shelf_drop(shelf, &open);
    atomic_store(&ends, true);
    for (int at = 0; at < READERS; at++)
        REQUIRE(pthread_join(threads[at], NULL) == 0);
    puts("test_group: ok");
    return 0;
}
