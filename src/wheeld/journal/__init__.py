"""The journal: one per node, the truth about every decision; groups of entries made durable one after another.

Owns the files in `DIR/journal`. Does not know what an entry is: a group's payload is opaque here. Layout:
docs/storage/journal.md.
"""
