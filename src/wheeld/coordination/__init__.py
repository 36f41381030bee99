"""Who owns which shard, and by which epoch."""
