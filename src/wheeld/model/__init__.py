"""The words of the project: ids, states, records, bounds, errors. Imports nothing of ours, does no I/O, reads no
clock."""
