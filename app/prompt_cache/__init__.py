"""One prompt, one generation, across replicas.

A request asks, in this order: have we painted it (`PromptIndex.look_up`: a
HIT, for the price of one script)? Is someone painting it (`Flights`:
join the flight, follow another replica's lease, or lead)? Did we paint it and
forget (`Ledger.read`)? Only then a leader paints, stores the picture, creates
the manifest (the first wins), writes the entry, notifies the followers and
releases the lease, never in another order.
"""
