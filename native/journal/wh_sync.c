/* Durable positioned writes (see wh_sync.h). */
#define _GNU_SOURCE
#include "wh_sync.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Gather at most `limit` bytes of the parts that lie behind the first `done` bytes; returns how many vectors it filled. */
static unsigned gather(struct iovec *to, const struct iovec *parts, unsigned count, size_t done, size_t limit) {
    unsigned filled = 0;
    for (unsigned i = 0; i < count && limit > 0; i++) {
        if (done >= parts[i].iov_len) {
            done -= parts[i].iov_len;
            continue;
        }
        size_t length = parts[i].iov_len - done;
        if (length > limit) length = limit;
        to[filled].iov_base = (char *)parts[i].iov_base + done;
        to[filled].iov_len = length;
        filled++;
        limit -= length;
        done = 0;
    }
    return filled;
}

int wh_write_synced(int fd, const struct iovec *parts, unsigned count, off_t offset, size_t call_bytes_max,
                    uint64_t *elapsed_ns) {
    if (count > WH_SYNC_PARTS_MAX) return EINVAL;
    uint64_t began_ns = now_ns();
    size_t total = 0;
    for (unsigned i = 0; i < count; i++) total += parts[i].iov_len;
    for (size_t done = 0; done < total;) {
        struct iovec rest[WH_SYNC_PARTS_MAX];
        unsigned filled = gather(rest, parts, count, done, call_bytes_max ? call_bytes_max : total);
        ssize_t written = pwritev(fd, rest, (int)filled, offset + (off_t)done);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno;
        if (written == 0) return EIO;
        done += (size_t)written;
    }
    if (fdatasync(fd) != 0) return errno;
    *elapsed_ns = now_ns() - began_ns;
    return 0;
}
