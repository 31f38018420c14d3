"""Paintonce: one prompt, painted once, paid for once, served for ever.

The API listens; access knows who asks, and spending what it may cost; the
prompt cache remembers what a prompt became; renditions draw its picture in
other widths; transient images lend a picture an address; generation paints;
storage keeps.

Imports point one way, and `make check` holds them to it:
`__main__ → commands → application → features → ports | terms → configuration →
api → web | server → http → spending → access →
prompt_cache | transient_images | renditions → generation | storage →
telemetry → image | client | settings → errors` and its neighbours.
"""
