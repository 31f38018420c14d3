"""Paintonce: one prompt, painted once, paid for once, served for ever.

The API listens; the prompt cache remembers what a prompt became; transient
images lend a picture an address; generation paints; storage keeps.

Imports point one way, and `make check` holds them to it:
`__main__ → commands → application → ports | terms → configuration → api →
web | server → http → access → prompt_cache | transient_images →
generation | storage →
telemetry → image → errors | settings`.
"""
