"""Storage: the ledger in an object store, and the cache before it."""
