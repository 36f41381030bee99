"""The wire: generated stubs, the hot codec, conversion of cold messages, statuses.

Owns: everything that knows protobuf. Does not own: gRPC servicers (edge) and channels (client).
Invariant: hot messages go from bytes to bytes in packed batches, without a Python object per job.
"""
