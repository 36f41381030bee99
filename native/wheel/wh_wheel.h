/*
 * wh_wheel: an exact hierarchical timing wheel over dense u32 keys, at most one timer per key.
 *
 * Owns the timers' records and one stamp per key. Never reads a clock, knows nothing of jobs, is not thread safe (one user at
 * a time, the "const" calls included: wh_wheel_next drops dead records it meets).
 *
 * Every time is an unsigned 64-bit number of ticks (milliseconds for wheeld); the whole range is valid, 0 and UINT64_MAX too.
 * A timer expires when the wheel's time reaches its due time, never earlier and never rounded. Order of expiry:
 * (max(due, the wheel's time when armed), order of arming).
 *
 * Levels, chosen by the highest bit in which a due time differs from the wheel's time:
 *
 *   level  bits    slots  a slot spans   the level reaches
 *   0      0-11    4096   1 ms           4 s
 *   1      12-21   1024   4.1 s          70 min
 *   2      22-31   1024   70 min         50 days
 *   3      32-41   1024   50 days        139 years
 *   4      42-52   2048   139 years      285 thousand years
 *   5      53-63   2048   the rest of u64
 *
 * Invariant: every record lies in the one slot that (due, wheel time) names. Hence all timers of one due time always share a
 * chain in arming order, and cascading a chain in order keeps first-in-first-out. A level 1 slot with many records is not cascaded:
 * it is sorted into one array, of which each level 0 slot has a part that comes before its chain.
 *
 * Cancel is lazy: it changes the key's stamp, and the record that carries the old stamp is dead. Each call that makes a dead
 * record sweeps a bounded number of records once the dead are half as many as the live, which bounds memory.
 */
#ifndef WH_WHEEL_H
#define WH_WHEEL_H

#include "wh_toucher.h"

#include <stddef.h>
#include <stdint.h>

#define WH_WHEEL_NO_MEMORY (-1)
#define WH_WHEEL_BAD_KEY (-2) /* the key was not reserved */

typedef struct wh_wheel wh_wheel;

/* Makes an empty wheel whose time is `now`, without keys. NULL: no memory. */
wh_wheel *wh_wheel_new(uint64_t now);

/* From now on memory that the wheel grows by is touched ahead; `toucher` outlives the wheel. */
void wh_wheel_set_toucher(wh_wheel *wheel, wh_toucher *toucher);

/* Frees the wheel; NULL is allowed. */
void wh_wheel_free(wh_wheel *wheel);

/* Makes the keys 0..keys-1 valid; never shrinks. 0, or WH_WHEEL_NO_MEMORY (nothing changed). */
int wh_wheel_reserve(wh_wheel *wheel, uint32_t keys);

/*
 * Arms the key's timer; the timer it may already have is replaced. 0: armed; 1: armed and already due (due <= wheel time), the
 * next advance hands it out; < 0: an error, nothing changed.
 */
int wh_wheel_arm(wh_wheel *wheel, uint32_t key, uint64_t due);

/*
 * Arms `count` keys in order and adds to *late how many were already due. All keys are checked before the first is armed.
 * 0; WH_WHEEL_BAD_KEY: none armed; WH_WHEEL_NO_MEMORY: a leading part is armed.
 */
int wh_wheel_arm_many(wh_wheel *wheel, const uint32_t *keys, const uint64_t *dues, size_t count, size_t *late);

/* Fetches what arming or cancelling the key will touch first. */
void wh_wheel_expect(const wh_wheel *wheel, uint32_t key);

/* Cancels the key's timer. 1: it was armed; 0: it was not (or the key is not valid). Never fails. */
int wh_wheel_cancel(wh_wheel *wheel, uint32_t key);

/* Cancels `count` keys; returns how many were armed. */
size_t wh_wheel_cancel_many(wh_wheel *wheel, const uint32_t *keys, size_t count);

/* 1 when the key has a timer, else 0. */
int wh_wheel_armed(const wh_wheel *wheel, uint32_t key);

/*
 * Moves time towards `now`, writes the keys that expire, in order, and disarms them; returns how many. When `capacity` is
 * reached and more is due it stops at the time of the first one left: the next call goes on from there. A `now` before the
 * wheel's time moves nothing, but timers armed late still expire. The work is done when wh_wheel_advance_done() says so;
 * short of memory exhaustion that is the case whenever fewer than `capacity` keys were written.
 */
size_t wh_wheel_advance(wh_wheel *wheel, uint64_t now, uint32_t *keys_out, size_t capacity);

/*
 * The same with a bound on the time it takes: *work is how many records it may look at or move, of which it takes off what it did.
 * At 0 it stopped (a chunk late at most): timers may be due that it has not reached, nothing is out of order, and the next call
 * goes on. What is armed, cancelled or asked in between is right: wh_wheel_next answers a time that has come, wh_wheel_advance_done 0.
 */
size_t wh_wheel_advance_some(wh_wheel *wheel, uint64_t now, uint32_t *keys_out, size_t capacity, size_t *work);

/* 1 when nothing due at `now` is left and the wheel's time is not before `now`; 0: call wh_wheel_advance again. */
int wh_wheel_advance_done(const wh_wheel *wheel, uint64_t now);

/*
 * A lower bound of the next expiry: UINT64_MAX when empty, the wheel's time when late timers wait, exact for level 0, else the
 * start of the first occupied slot (an advance to that time cascades the slot and makes the next answer sharper).
 */
uint64_t wh_wheel_next(const wh_wheel *wheel);

/* The exact next expiry, UINT64_MAX when empty: looks at every record of the first occupied slot. */
uint64_t wh_wheel_earliest(const wh_wheel *wheel);

/* The wheel's time. */
uint64_t wh_wheel_now(const wh_wheel *wheel);

/* Live timers. */
size_t wh_wheel_count(const wh_wheel *wheel);

/* Bytes allocated: slots, record arenas, stamps. */
size_t wh_wheel_bytes(const wh_wheel *wheel);

/* Proves the invariants by plain looping over everything; 0 when sound, else the number of the first broken rule. Slow. */
int wh_wheel_check(const wh_wheel *wheel);

#endif
