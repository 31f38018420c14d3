"""Authentication of callers: keys, signed URLs, addresses and rates."""
