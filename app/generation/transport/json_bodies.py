"""JSON bodies with pictures in them, encoded as they are sent.

Sixteen references of 4 MiB are 85 MiB of base64. To build that text at once
would stop the event loop for a quarter of a second and take it three times in
memory; a slice at a time takes a fraction of a millisecond.
"""

from __future__ import annotations

import binascii
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from aiohttp.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.abc import AbstractStreamWriter

# A multiple of three, so that only the last slice has padding.
_SLICE = 196_608


@dataclass(frozen=True, slots=True)
class Inlined:
    """A picture that stands in a JSON document as base64.

    With a *media_type* it is a `data:` address (RFC 2397).
    """

    data: bytes = field(repr=False)
    media_type: str | None = None

    @property
    def prefix(self) -> bytes:
        """Return the text in front of the base64."""
        return f"data:{self.media_type};base64,".encode() if self.media_type else b""

    @property
    def size(self) -> int:
        """Return how many bytes it has in the document."""
        return len(self.prefix) + (len(self.data) + 2) // 3 * 4


class JsonBody(Payload):
    """A JSON document as the body of a request; `Inlined` pictures are in it.

    It can be written again, as aiohttp does where a connection was refused.
    """

    _autoclose = True

    def __init__(self, document: object) -> None:
        super().__init__(document, content_type="application/json")
        self._parts = _parts(document)
        self._size = sum(
            part.size if isinstance(part, Inlined) else len(part)
            for part in self._parts
        )

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the whole text."""
        return b"".join(self._pieces()).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the document, a slice at a time."""
        for piece in self._pieces():
            await writer.write(piece)

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, Inlined):
                yield part.prefix
                view = memoryview(part.data)
                for at in range(0, len(view), _SLICE):
                    yield binascii.b2a_base64(view[at : at + _SLICE], newline=False)
            else:
                yield from (
                    part[at : at + _SLICE] for at in range(0, len(part), _SLICE)
                )


def _parts(document: object) -> list[bytes | Inlined]:
    """Return the text of *document*, cut where its pictures stand."""
    pictures: list[Inlined] = []
    # Random, so that no prompt can hold it.
    token = secrets.token_hex(16)

    def stand_in(value: object) -> str:
        if not isinstance(value, Inlined):
            raise TypeError(f"{type(value).__name__} has no form in JSON")
        pictures.append(value)
        return token

    text = orjson.dumps(document, stand_in, orjson.OPT_PASSTHROUGH_DATACLASS)
    first, *others = text.split(token.encode())
    parts: list[bytes | Inlined] = [first]
    for picture, behind in zip(pictures, others, strict=True):
        parts += [picture, behind]
    return parts
