"""The way to Redis: addresses, connections, shared round trips."""
