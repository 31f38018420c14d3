"""Providers, one folder a vendor."""
