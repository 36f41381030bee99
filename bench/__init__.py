"""Benchmarks: micro (pytest-benchmark), system (run), peers (compare)."""

import os

# As in tests/conftest.py: peers are started with a preexec_fn, from a process that has gRPC loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
