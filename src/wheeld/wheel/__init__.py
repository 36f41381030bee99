"""The timing wheel."""
