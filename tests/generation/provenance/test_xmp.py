"""XMP packets are read, and changed as little as possible."""

from __future__ import annotations

import time
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.generation.provenance import xmp
from tests.generation.provenance.samples import COMPOSITE, MARK, PACKET

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def packet(description: str) -> bytes:
    """Return a packet with *description*."""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}" '
        f'xmlns:e="{IPTC}">{description}</rdf:RDF></x:xmpmeta>'
    ).encode()


def described(properties: str) -> str:
    """Return a description with *elements*."""
    return f"<rdf:Description>{properties}</rdf:Description>"


@pytest.mark.parametrize(
    "description",
    [
        f'<rdf:Description rdf:about="" e:DigitalSourceType="{COMPOSITE}"/>',
        described(f"<e:DigitalSourceType>{COMPOSITE}</e:DigitalSourceType>"),
        described(f'<e:DigitalSourceType rdf:resource="{COMPOSITE}"/>'),
        "<rdf:Description/>"
        + described(
            f"<e:DigitalSourceType><![CDATA[{COMPOSITE}]]></e:DigitalSourceType>"
        ),
        f'<rdf:Description xmlns:z="{IPTC}" z:DigitalSourceType="{COMPOSITE}"/>',
    ],
)
def test_every_spelling_of_a_property_is_read(description: str) -> None:
    """A property is read as an attribute, an element and a resource."""
    what = xmp.read(packet(description))

    assert what is not None
    assert (what.source_type, what.system) == (COMPOSITE, None)


@pytest.mark.parametrize(
    "description",
    [
        "",
        '<rdf:Description e:DigitalSourceFileType="x"/>',
        f'<rdf:Description xmlns:e="urn:other" e:DigitalSourceType="{COMPOSITE}"/>',
        # Of a picture within the picture.
        described(
            f'<e:ArtworkOrObject><rdf:Bag><rdf:li e:DigitalSourceType="{COMPOSITE}">'
            f"<e:DigitalSourceType>{COMPOSITE}</e:DigitalSourceType>"
            "</rdf:li></rdf:Bag></e:ArtworkOrObject>"
        ),
    ],
)
def test_other_properties_are_not_taken_for_it(description: str) -> None:
    """A property of another resource is not read as the picture's."""
    what = xmp.read(packet(description))

    assert what is not None
    assert what.source_type is None


@pytest.mark.parametrize("padding", [b"\0\0", b"\n", b""])
@pytest.mark.parametrize("bom", [b"\xef\xbb\xbf", b""])
def test_what_writers_put_around_a_packet_is_no_harm(
    bom: bytes, padding: bytes
) -> None:
    """A packet with a byte order mark or padding is read and changed in place."""
    wrapped = bom + PACKET + padding
    what = xmp.read(wrapped)

    assert what is not None
    assert what.about == "uuid:1"
    added = xmp.add(wrapped, what, *MARK)
    assert xmp.read(added) is not None
    assert (added[: what.end], added[-len(padding) - 9 :]) == (
        wrapped[: what.end],
        wrapped[-len(padding) - 9 :],
    )


def test_a_description_is_added_of_the_same_picture() -> None:
    """An added description is about the same picture, and no byte is lost."""
    what = xmp.read(PACKET)
    assert what is not None

    added = xmp.add(PACKET, what, *MARK)

    again = xmp.read(added)
    assert again is not None
    assert (again.source_type, again.system) == MARK
    abouts = [each.get(f"{{{RDF}}}about") for each in ET.fromstring(added)[0]]
    assert abouts == ["uuid:1", "uuid:1"]
    grown = len(added) - len(PACKET)
    assert added[: what.end] + added[what.end + grown :] == PACKET


@pytest.mark.parametrize(
    "wrong",
    [
        PACKET.decode().encode("utf-16"),
        PACKET.replace(b"S\xc3\xb8n", b"S\xf8n"),
        b"<!DOCTYPE lol [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]>" + packet("&b;"),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + packet(""),
        packet("</rdf:RDF>"),
        packet("").replace(b"></rdf:RDF>", b"/>"),
        b'<?xml version="1.0" encoding="utf-7"?>' + b"+ADw-",
    ],
)
def test_what_no_writer_of_packets_makes_is_not_read(wrong: bytes) -> None:
    """A packet with entities, a document type or another encoding is not read."""
    assert xmp.read(wrong) is None


def test_an_excess_of_markup_is_refused_at_once() -> None:
    """A packet with too much markup is refused in bounded time."""
    hostile = packet("<rdf:Description a='b' c='d'>" * 500_000)
    started = time.process_time()

    assert xmp.read(hostile) is None
    assert time.process_time() - started < 0.5


def test_a_deep_packet_brings_nothing_down() -> None:
    """A packet nested as deep as the bound allows is read."""
    depth = 90_000
    what = xmp.read(packet("<a>" * depth + "</a>" * depth))

    assert what is not None


def test_a_value_is_kept_to_its_bound() -> None:
    """A source type of a megabyte is ignored."""
    long = packet(f'<rdf:Description e:DigitalSourceType="{"x" * 1_000_000}"/>')
    what = xmp.read(long)

    assert what is not None
    assert len(what.source_type or "") < 4096


@given(st.binary(max_size=200), st.integers(0, len(PACKET)), st.integers(0, 30))
def test_no_packet_brings_another_error(noise: bytes, place: int, length: int) -> None:
    """Any damaged packet is read or ignored, and stays readable after an addition."""
    damaged = PACKET[:place] + noise + PACKET[place + length :]
    what = xmp.read(damaged)

    if what is not None:
        again = xmp.read(xmp.add(damaged, what, *MARK))
        assert again is not None
        assert again.system is not None


@given(st.text(max_size=80))
def test_any_name_of_a_model_is_written(system: str) -> None:
    """Any model name is written and read back."""
    what = xmp.read(xmp.made(MARK.source_type, system))

    assert what is not None
    assert what.system is not None
    if system.isprintable():
        assert what.system == system
