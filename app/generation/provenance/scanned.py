"""GIF and AVIF: what they carry is found by its bytes, and they are not marked.

No well-kept library writes metadata into them without encoding their pixels
again. C2PA Technical Specification 2.1, A.3.7 (GIF) and A.5 (boxes); XMP is
found by packet scanning, as in the XMP Specification Part 3, 3.
"""

from __future__ import annotations

from app.generation.provenance.container import Contents, Unmarkable

_MANIFESTS = (
    # An application extension of eleven bytes, the last three for its version.
    b"\x21\xff\x0bC2PA_GIF\x01\x00\x00",
    # A `uuid` box: D8FEC3D6-1B0E-483C-9297-5828877EC481.
    b"uuid\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c\x92\x97\x58\x28\x87\x7e\xc4\x81",
)
_BEGIN, _END = b"<?xpacket begin=", b"<?xpacket end="


def find(data: bytes) -> Contents:
    """Look for what has a form that no pixels take by chance."""
    c2pa = any(manifest in data for manifest in _MANIFESTS)
    start = data.find(_BEGIN)
    end = data.find(_END, start)
    if min(start, end) < 0:
        return Contents(c2pa, None, 0, 0)
    return Contents(c2pa, data[start:end], start, end)


def embed(data: bytes, contents: Contents, packet: bytes) -> bytes:  # noqa: ARG001 - as for the others
    """Refuse it."""
    raise Unmarkable("no library can do it without touching the pixels")
