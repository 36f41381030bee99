"""wheeld beside what a user would pick instead: the same workloads, on the same machine, interleaved in one run."""
