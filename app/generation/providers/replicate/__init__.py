"""Replicate: predictions, which are jobs."""
