"""The port to whoever paints: one request in, the bytes of one picture out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.image import Image


@dataclass(frozen=True, slots=True)
class PaintRequest:
    """What is to be painted.

    *width* and *height* come together or not at all, and exclude
    *aspect_ratio* (`"16:9"`). *variant* tells pictures of one prompt apart;
    a provider without a seed may ignore it. *references* are in order.
    """

    prompt: str
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    variant: int = 0
    references: tuple[Image, ...] = field(default=())


class ImageProvider(Protocol):
    """One model of one vendor.

    An adapter asks once: a request that may have started work is never sent
    again. It keeps no time (its caller cancels it at the deadline) and checks
    no picture (its caller does), but bounds what it reads.
    """

    @property
    def vendor(self) -> str:
        """The provider's name in the models file, for metrics."""
        ...

    @property
    def is_placeholder(self) -> bool:
        """Whether the pictures are stand-ins that nobody painted."""
        ...

    async def paint(self, request: PaintRequest) -> bytes:
        """Return the encoded picture as the provider gave it.

        Raises `PromptRejected`, `ProviderRateLimited`, `ProviderFailed` or
        `BadImage`, or `InvalidParameter` for what it can't paint at all;
        cancelling it closes the connection.
        """
        ...
