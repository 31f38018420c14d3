"""XMP packets: what one says of a picture's origin, and how ours is added.

ISO 16684-1:2019; IPTC Photo Metadata Standard 2025.1. A packet is not written
anew: what is added goes in front of the end of its RDF, so that everything
else stays as it is, byte by byte.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple
from xml.parsers import expat

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
# Below the root of the RDF.
_DESCRIPTION_LEVEL, _PROPERTY_LEVEL = 1, 2
_RDF_ROOT, _DESCRIPTION = f"{_RDF} RDF", f"{_RDF} Description"
_ABOUT, _RESOURCE = f"{_RDF} about", f"{_RDF} resource"
_SOURCE_TYPE, _SYSTEM = f"{_IPTC} DigitalSourceType", f"{_IPTC} AISystemUsed"
# C2PA Technical Specification 2.1, 11.5: the address of a manifest elsewhere.
_REMOTE_MANIFEST = "http://purl.org/dc/terms/ provenance"
_WATCHED = frozenset({_SOURCE_TYPE, _SYSTEM, _REMOTE_MANIFEST})

# Each tag and attribute costs microseconds; real packets have some hundreds.
_MAX_MARKUP = 200_000
_RDF_END = re.compile(rb"</(?:[^:>]*:)?RDF\s*>")
# What is longer is no term of a vocabulary and no address.
_LONGEST_VALUE = 2048
# What XML 1.0, 2.2 lets no document say.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Packet(NamedTuple):
    """A packet that was understood.

    *source_type* and *system* are the IPTC properties, None where they are
    missing; *is_bound* says that a C2PA manifest elsewhere vouches for the
    picture; *about* and *end* are where a further description belongs.
    """

    source_type: str | None
    system: str | None
    is_bound: bool
    about: str
    end: int


def read(packet: bytes) -> Packet | None:
    """Return *packet* parsed; None if it is not well-formed.

    As unreadable counts what no writer of XMP makes and what is dangerous or
    slow to read: a document type (entities), another encoding than UTF-8, no
    RDF, and an excess of markup.
    """
    if packet.count(b"<") + packet.count(b"=") > _MAX_MARKUP:
        return None
    reader = _Reader()
    try:
        reader.parser.Parse(packet.rstrip(b"\0"), True)  # noqa: FBT003 - takes no names
    except (expat.ExpatError, _Refused):
        return None
    # An empty RDF that is one tag has no inside.
    if reader.end is None or not _RDF_END.match(packet, reader.end):
        return None
    found = reader.found
    return Packet(
        found.get(_SOURCE_TYPE),
        found.get(_SYSTEM),
        found.get(_REMOTE_MANIFEST, "").strip().startswith(("http:", "https:")),
        reader.about,
        reader.end,
    )


def add(packet: bytes, what: Packet, source_type: str, system: str) -> bytes:
    """Return *packet*, which *what* was read from, with what it lacks.

    That may be nothing: what the provider says itself stays.
    """
    properties = []
    if what.source_type is None:
        properties.append(("DigitalSourceType", source_type))
    if what.system is None:
        properties.append(("AISystemUsed", system))
    if not properties:
        return packet
    return b"".join(
        (packet[: what.end], _described(what.about, properties), packet[what.end :])
    )


def made(source_type: str, system: str) -> bytes:
    """Return a packet that says this."""
    description = _described(
        "", [("DigitalSourceType", source_type), ("AISystemUsed", system)]
    )
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        b'<rdf:RDF xmlns:rdf="'
        + _RDF.encode()
        + b'">\n'
        + description
        + b'</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    )


def _described(about: str, properties: list[tuple[str, str]]) -> bytes:
    elements = "".join(
        f"<Iptc4xmpExt:{name}>{_text(value)}</Iptc4xmpExt:{name}>\n"
        for name, value in properties
    )
    # The prefix may stand for something else in the packet.
    return (
        f'<rdf:Description rdf:about="{_text(about)}" xmlns:rdf="{_RDF}" '
        f'xmlns:Iptc4xmpExt="{_IPTC}">\n{elements}</rdf:Description>\n'
    ).encode()


def _text(value: str) -> str:
    return html.escape(_NO_CHARACTER.sub("\ufffd", value))


class _Refused(Exception):
    """The document has a part that no packet has."""


class _Reader:
    """Reads a packet tag by tag, and keeps of it only what is looked for."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.about = ""
        self.end: int | None = None
        self._depth = 0
        self._rdf_depth: int | None = None
        self._is_described = False
        self._property: str | None = None
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._stop
        self.parser.CharacterDataHandler = self._read

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._rdf_depth is None:
            if name == _RDF_ROOT and self.end is None:
                self._rdf_depth = self._depth
            return
        level = self._depth - self._rdf_depth
        if level == _DESCRIPTION_LEVEL:
            self._is_described = name == _DESCRIPTION
            if self._is_described:
                self.about = self.about or attributes.get(_ABOUT, "")
                for attribute in _WATCHED & attributes.keys():
                    self._note(attribute, attributes[attribute])
        elif level == _PROPERTY_LEVEL and self._is_described and name in _WATCHED:
            self._property = name
            self._note(name, attributes.get(_RESOURCE, ""))

    def _stop(self, _: str) -> None:
        if self._depth == self._rdf_depth:
            self.end = self.parser.CurrentByteIndex
            self._rdf_depth = None
        elif (
            self._rdf_depth is not None
            and self._depth == self._rdf_depth + _PROPERTY_LEVEL
        ):
            self._property = None
        self._depth -= 1

    def _read(self, text: str) -> None:
        if self._property is not None:
            self._note(self._property, self.found[self._property] + text)

    def _note(self, name: str, value: str) -> None:
        self.found[name] = value[: _LONGEST_VALUE + 1]
