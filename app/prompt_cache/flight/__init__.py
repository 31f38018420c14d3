"""One generation per prompt: flights, leases and remembered failures."""
