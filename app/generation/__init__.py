"""Who paints."""
