"""Marking: reads what a picture says of its origin, and adds what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.generation.provenance import jpeg, png, scanned, webp, xmp
from app.generation.provenance.container import Contents, Unmarkable
from app.generation.provenance.prompts import taken_out
from app.generation.provenance.statement import Provenance

if TYPE_CHECKING:
    from app.generation.provider import Origin
    from app.image import Image

_CONTAINERS = {
    "image/png": png,
    "image/jpeg": jpeg,
    "image/webp": webp,
    "image/gif": scanned,
    "image/avif": scanned,
}

# https://cv.iptc.org/newscodes/digitalsourcetype/
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
BY_A_MODEL = f"{_VOCABULARY}trainedAlgorithmicMedia"
BY_A_PROGRAM = f"{_VOCABULARY}algorithmicMedia"

# Only terms of the vocabulary are repeated in an entry.
_LONGEST_TOLD = 256


class Mark(NamedTuple):
    """The mark written into a picture: IPTC's source type, and the AI system used."""

    source_type: str
    system: str

    @classmethod
    def of(cls, origin: Origin) -> Mark:
        """Return the mark of pictures of *origin*."""
        source_type = BY_A_PROGRAM if origin.is_placeholder else BY_A_MODEL
        return cls(source_type, f"{origin.vendor} {origin.model}".strip())


class _Look(NamedTuple):
    """Metadata found in a picture; None where it could not be read."""

    contents: Contents | None
    packet: xmp.Packet | None

    @property
    def c2pa(self) -> bool:
        """Whether a manifest vouches for the picture, in it or elsewhere."""
        is_inside = self.contents is not None and self.contents.c2pa
        return is_inside or (self.packet is not None and self.packet.is_bound)

    @property
    def source_type(self) -> str | None:
        text = ((self.packet and self.packet.source_type) or "").strip()
        is_readable = 0 < len(text) <= _LONGEST_TOLD and text.isprintable()
        return text if is_readable else None


def without_prompts(image: Image) -> Image:
    """Return *image* without texts that hold prompts, none of its pixels touched.

    One with a C2PA manifest is returned as it is: any change breaks its
    signature.
    """
    data = taken_out(image.data, image.media_type)
    if data is image.data or _look(image).c2pa:
        return image
    return image.rewrapped(data)


def attest(
    image: Image, mark: Mark | None, *, painted: Image
) -> tuple[Image, Provenance]:
    """Return *image* with *mark*, and what is known of its origin.

    *painted* is the provider's picture: *image* itself, or what it was cropped
    or resized from. Without a mark, with a C2PA manifest, or where the
    container can't take one, *image* is returned as it is. What an XMP packet
    says stays and what it lacks is added; a packet that can't be read is
    useless to every reader, and is replaced. Takes milliseconds for a large
    picture, and its memory a second time.
    """
    look = _look(image)
    is_painted = image is painted
    provenance = Provenance(
        c2pa=is_painted and look.c2pa,
        c2pa_lost=not is_painted and _look(painted).c2pa,
        digital_source_type=look.source_type,
    )
    if mark is None or provenance.c2pa or look.contents is None:
        return image, provenance
    packet = _packet(look, mark)
    if packet == look.contents.packet:
        return image, provenance
    try:
        container = _CONTAINERS[image.media_type]
        data = container.embed(image.data, look.contents, packet)
    except Unmarkable:
        return image, provenance
    if look.packet is None or look.packet.source_type is None:
        provenance = provenance._replace(digital_source_type=mark.source_type)
    return image.rewrapped(data), provenance._replace(marked=True)


def packet_of_copy(
    data: bytes, media_type: str, mark: Mark | None
) -> tuple[bytes | None, bool]:
    """Return the XMP packet of a picture that is drawn anew from *data*.

    It says what the packet in *data* says, and *mark* where that lacks it; None
    where there is neither. Also returns whether *data* has a C2PA manifest,
    which no copy can keep.
    """
    look = _look_into(data, media_type)
    own = None if look.packet is None or look.contents is None else look.contents.packet
    return own if mark is None else _packet(look, mark), look.c2pa


def _look(image: Image) -> _Look:
    return _look_into(image.data, image.media_type)


def _look_into(data: bytes, media_type: str) -> _Look:
    try:
        contents = _CONTAINERS[media_type].find(data)
    except Unmarkable:
        return _Look(None, None)
    packet = None if contents.packet is None else xmp.read(contents.packet)
    return _Look(contents, packet)


def _packet(look: _Look, mark: Mark) -> bytes:
    if look.contents is None or look.contents.packet is None or look.packet is None:
        return xmp.made(*mark)
    return xmp.add(look.contents.packet, look.packet, *mark)
