"""Ports of storage: what the rest of the service may ask of an adapter."""
