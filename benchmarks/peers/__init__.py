"""The alternatives to the service."""
