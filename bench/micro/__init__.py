"""Costs of single parts: the wheel beside its rivals, the codec, the core, the journal, the fold."""
