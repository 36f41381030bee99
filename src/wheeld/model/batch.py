"""Packed batches that cross the border between codec and core. Little endian, no padding, no Python object per job.

Submit batch (codec -> core):  SUBMIT_HEAD {u32 count, u32 flags (0), u64 batch_no, 16 B producer session (zeros:
none), u64 content_hash}
    then per item: ITEM_HEAD {u32 length of the spec, u8 code, u8 field, u16 0} + spec. `code != 0`: the codec refused
    the item
    (errors registry), no spec follows; the core copies code and field into the result.
Submit results (core -> codec): per item SUBMIT_RESULT {u8 code, u8 field, u8 flags (1: duplicate), u8 0, u32 0, 16 B
job id}; 24 bytes.

Settle batch (codec -> core):  u32 count, u32 0, then per item SETTLE_HEAD {u8 op, u8 flags (1: do not retry), u16
error_len, u32 result_len, u32 retry_delay_ms (NO_DELAY: by policy), u32 extend_ms (renew: 0 = the lease's own), u64
fencing, 16 B job id, u64 receive_us (when the worker got the lease, wall clock us, 0: not said)} + error + result. An
item that the codec refused has flag 2, id and fencing of zeros, `code | field << 8` in extend_ms and the token as it
came in `error`: the core finds no lease for it, and the codec answers with its own code. Settle results (core ->
codec): per item SETTLE_RESULT {u8 op, u8 code, u8 flags (1: repeated), u8 state after, u32 0, u64 lease_expire_ms}; 16
bytes.

Lease frame (core -> codec):  per lease GRANT_HEAD {u32 length of all that follows, 16 B id, u64 fencing, u64 due_ms,
u64 expire_ms (lease,
    wall clock), u32 lease_ms, u16 attempt, u16 flags (1: redelivery), u32 spec_len} + spec.
Revocations (core -> codec): per token REVOKED {16 B id, u64 fencing, u8 code (errors registry), 7 pad}.
A lease token on the wire is TOKEN {16 B id, u64 fencing}, 24 bytes.
"""

from __future__ import annotations

import struct

SUBMIT_HEAD = struct.Struct("<IIQ16sQ")
ITEM_HEAD = struct.Struct("<IBBH")
SUBMIT_RESULT = struct.Struct("<BBBBI16s")
SETTLE_BATCH_HEAD = struct.Struct("<II")
SETTLE_HEAD = struct.Struct("<BBHIIIQ16sQ")
SETTLE_RESULT = struct.Struct("<BBBBIQ")
GRANT_HEAD = struct.Struct("<I16sQQQIHHI")
REVOKED = struct.Struct("<16sQB7x")
TOKEN = struct.Struct("<16sQ")

assert (SUBMIT_HEAD.size, ITEM_HEAD.size, SUBMIT_RESULT.size) == (40, 8, 24)
assert (SETTLE_HEAD.size, SETTLE_RESULT.size, GRANT_HEAD.size, REVOKED.size, TOKEN.size) == (48, 16, 56, 32, 24)

OP_ACK = 1
OP_NACK = 2
OP_RELEASE = 3
OP_RENEW = 4

NO_DELAY = 0xFFFFFFFF
SETTLE_NO_RETRY = 1
RESULT_DUPLICATE = 1
RESULT_REPEATED = 1
GRANT_REDELIVERY = 1
NO_SESSION = bytes(16)
CALL_PREFIX_BYTES = 8
"""A unary call leases under these first bytes of its session's name and random ones; a unary settle names the first
bytes and zeros, which stands for whatever session begins so."""

DONE = 0
"""Submit outcome: decided; the records are results."""
NEED_KEYS = 1
"""Submit outcome: nothing was decided; the records are 16-byte key hashes that the store must be asked for."""
REFUSED = 2
"""Submit outcome: the whole batch is refused; the records are one byte, an error code."""
