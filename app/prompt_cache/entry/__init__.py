"""Prompts by their hash, and their entries and manifests."""
