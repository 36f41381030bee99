"""The command `wheeld`. Each command is a thin layer over the SDK, the daemon or the checks; imports are lazy."""
