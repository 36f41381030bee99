"""The HTTP side: metrics, health and a status page, read only."""
