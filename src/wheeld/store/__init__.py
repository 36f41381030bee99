"""The far tier: what waits beyond memory, in LMDB, owned by a child process.

The daemon uses `directory` (the data directory), `api` (the Protocol), `supervisor` (starts and keeps the
storekeeper); everything else runs inside that child. The layouts stand in `layout` and in docs/storage-format.md.
"""
