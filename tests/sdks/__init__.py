"""The vendors' own clients, which have to feel at home with the fake provider."""
