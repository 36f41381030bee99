"""System benchmarks that a user can run against a daemon of theirs: what it does, told from outside, from intended
times.
"""
