"""The SDK's producer side, and what it shares with the worker: channel, failures, jobs, handlers.

Owns nothing of the server and imports nothing of it. gRPC is imported when a channel is first opened, not before.
"""
