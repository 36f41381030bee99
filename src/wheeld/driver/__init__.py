"""The loop around the core: groups, effects, horizon, recovery."""
