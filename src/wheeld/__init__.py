"""A distributed job scheduler."""
