"""The SDK's consumer side: lease jobs over one stream, run their handlers, settle them.

Owns nothing of the server. The stream and the renewals live on threads of their own, so that a handler which blocks
keeps its lease.
"""
