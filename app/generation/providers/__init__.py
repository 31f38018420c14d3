"""Whoever paints, one folder a vendor."""
