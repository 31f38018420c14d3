"""Who asks: keys, signed URLs, addresses and rates."""
