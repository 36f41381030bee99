"""The core in plain Python: the readable specification and the oracle of the native one. Slow on purpose where slow
is clear."""

from wheeld.core.reference.core import ReferenceCore

__all__ = ["ReferenceCore"]
