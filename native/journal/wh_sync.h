/* Write at an offset and make it durable, in one call that needs no interpreter.
 *
 * Owns nothing. Success means that fdatasync reported all bytes durable; after any failure nothing is known about them.
 */
#ifndef WH_SYNC_H
#define WH_SYNC_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define WH_SYNC_PARTS_MAX 8

/* Write the parts one behind the other from `offset` on and fdatasync; short writes are continued. `call_bytes_max` bounds one
 * system call (0: no bound). Returns 0 or an errno; `elapsed_ns` is the time that write and sync took. */
int wh_write_synced(int fd, const struct iovec *parts, unsigned count, off_t offset, size_t call_bytes_max, uint64_t *elapsed_ns);

#endif
