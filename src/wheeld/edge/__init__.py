"""The gRPC side: thin servicers over the driver.

Owns sockets, streams and their messages. Does not own decisions (driver, core) or layouts (wire). Hot methods are
functions from bytes to bytes in `hot_*`, so that another front end could serve them.
"""
