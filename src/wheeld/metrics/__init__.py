"""What the daemon measures: the names and how numbers become Prometheus samples. Knows numbers, not where they come
from.
"""
