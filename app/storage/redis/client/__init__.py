"""How Redis is reached: addresses, connections, shared round trips."""
