"""The vendors' own clients, which test the fake provider and the service."""
