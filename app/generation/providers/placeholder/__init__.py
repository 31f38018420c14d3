"""The provider that needs no key, no network and no money."""
