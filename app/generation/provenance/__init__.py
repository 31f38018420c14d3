"""The provenance of a picture: its own statements, and the mark that we add.

Generated pictures are marked so that machines can tell (Regulation (EU)
2024/1689, Article 50(2)): with IPTC properties in an XMP packet, put into the
container without touching a pixel. A picture with a C2PA manifest says more
than that, and any change would break its signature: it stays as it came.

Pure: bytes in, bytes out. What can't be read is never an error: a picture
that can't be marked is worth no less.
"""

from app.generation.provenance.marking import (
    BY_A_MODEL,
    BY_A_PROGRAM,
    Mark,
    attest,
    packet_of_copy,
    without_prompts,
)
from app.generation.provenance.statement import UNKNOWN, Provenance

__all__ = [
    "BY_A_MODEL",
    "BY_A_PROGRAM",
    "UNKNOWN",
    "Mark",
    "Provenance",
    "attest",
    "packet_of_copy",
    "without_prompts",
]
