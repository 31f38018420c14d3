"""From a provider's bytes to everyone's answer."""
