"""Redis: the cache before the ledger, and the only place that names it.

`keys` says where everything lies, `scripts` holds every line of Lua,
`client` reaches the servers and knows when they are down; the rest are adapters,
one for each thing that is kept.
"""
