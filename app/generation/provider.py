"""The port to a provider: one request in, one picture and its origin out.

Some vendors answer with the picture, others with a job that is polled until it
is done. To the caller both are one call of `paint`; a job's id is passed to the
`Job` handle first, so that the next leader can wait for the same job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.generation.capabilities import Capabilities
    from app.generation.usage import Usage
    from app.image import Image


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference picture.

    *url* is an address under which the provider can fetch it, lent for this
    painting alone; None sends the picture itself along. *digest* is SHA-256.
    """

    data: bytes = field(repr=False)
    media_type: str
    digest: str
    url: str | None = None

    @classmethod
    def of(cls, image: Image, *, url: str | None = None) -> Reference:
        """Return *image* as a reference, lent at *url* or else sent along."""
        return cls(image.data, image.media_type, image.digest, url)


@dataclass(frozen=True, slots=True)
class PaintRequest:
    """A request for one picture.

    *width* and *height* come together or not at all, and exclude
    *aspect_ratio* (`"16:9"`). *seed* has 32 bits. *variant* tells pictures of
    one prompt apart; a provider without a seed may ignore it. *references*
    are in the caller's order; one that is named twice is there twice, and is
    the same object. *mask* marks with its transparent pixels what an edit may
    change; it is without bytes until it is read, as the last of the references
    that were asked for. *quality* to *negative_prompt* are the request's own options.
    """

    prompt: str
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    variant: int = 0
    references: tuple[Reference, ...] = ()
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    style: str | None = None
    negative_prompt: str | None = None
    mask: Reference | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a picture, as far as its adapter knows it.

    *vendor* and *model* are the provider's name in the models file and its own id of
    the model: what IPTC calls the AI system used. *request_id* is what the vendor's
    support asks for, *usage* what the vendor counted.
    """

    vendor: str
    model: str
    request_id: str | None = None
    is_placeholder: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class ProviderPicture:
    """The encoded picture as the provider gave it, unchecked, and its origin."""

    data: bytes = field(repr=False)
    origin: Origin


class Job(Protocol):
    """A painting that may outlive its leader, as its adapter sees it."""

    @property
    def resumed(self) -> str | None:
        """Return the id that a former leader gave to `begun`: wait, submit nothing."""
        ...

    @property
    def deadline(self) -> float:
        """When to look for the last time, by the event loop's clock.

        A job that has succeeded gets some seconds more, if none are left.
        """
        ...

    async def begun(self, job_id: str) -> None:
        """Keep *job_id* where the next leader finds it; returns once it is kept.

        Called once, after the vendor has taken the job on and before it is
        asked after for the first time. *job_id* is the adapter's own text, of
        at most 4096 characters, without a key in it; `paint` and `cancel`
        understand it on any replica. It never fails: a job that can't be kept
        goes on with its present leader.
        """
        ...

    async def progressed(self, fraction: float) -> None:
        """Note how much is done, 0 to 1, where the vendor says it."""
        ...

    def succeeded(self) -> None:
        """Note that the picture is made: all that is left is to fetch it."""
        ...

    def ended(self) -> None:
        """Note that the vendor has ended the job, and that there is no picture."""
        ...


class ImageProvider(Protocol):
    """One model of one vendor.

    An adapter asks once: a request that may have started work is never sent
    again, while polls and downloads are repeated until `Job.deadline`. Its
    caller cancels it soon after that, and checks the picture; it bounds what
    it reads.
    """

    @property
    def vendor(self) -> str:
        """The provider's name in the models file, for metrics."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """Return the capabilities of the model; `paint` is asked for nothing else."""
        ...

    @property
    def takes_addresses(self) -> bool:
        """Whether references may be lent to it: it fetches them from their `url`."""
        ...

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Return the picture, once it is there.

        A vendor without jobs needs *job* for its deadline alone. With
        `job.resumed` nothing is submitted, and *request* only says what was
        asked for.

        Raises `PromptRejected`, `ProviderRateLimited`, `ProviderFailed`,
        `GenerationTimedOut` where the vendor itself gave up, `BadImage`, or
        `InvalidParameter` for what it can't paint at all. Cancelling it closes
        the connection and lets the job go on: only the caller knows whether a
        next leader will wait for it.
        """
        ...

    async def cancel(self, job_id: str) -> bool:
        """End a job that is abandoned; return whether the vendor says it never ran.

        One that has ended is left as it is. Raises `ProviderFailed` where the
        vendor can't be reached. Nothing happens where the vendor has no jobs.
        """
        ...

    async def probe(self) -> bool:
        """Ask for something that costs nothing; False where there is no such thing.

        Raises what `paint` raises where address, key or model are wrong.
        """
        ...
