"""Outbound HTTP as every vendor's adapter needs it."""
