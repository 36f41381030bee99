"""The timing wheel: what falls due, exactly at its millisecond.

Owns the Protocol `Wheel` (`api`), the native wheel (`native`) and the oracle (`reference`). Imports nothing of wheeld
outside this package. Invariant: no module here reads a clock.
"""
