"""Checks before an entry: whether the node takes work at all, and whether one call is small enough."""
