"""What every part of the daemon stands on: clocks, the start/stop contract, supervised tasks, logs, small files."""
