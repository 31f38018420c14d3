"""Generation: models, their limits and breakers, and providers."""
