"""The process: configuration, the parts put together, signals and exit codes."""
