"""How generations go, for whoever would rather ask than wait."""
