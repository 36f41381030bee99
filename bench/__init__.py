"""Benchmarks: micro (pytest-benchmark), system (run), peers (compare)."""
