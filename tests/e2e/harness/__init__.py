"""Real processes for end-to-end tests: daemons, producers, workers."""
