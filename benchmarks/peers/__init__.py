"""What people would use instead of the service."""
