"""Model: one alias at work: its places, its breaker, one call, the checks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from app.errors import (
    BadImage,
    GenerationError,
    GenerationTimedOut,
    InvalidRequest,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
    UnsupportedImage,
)
from app.generation.circuit_breaker import CircuitBreaker
from app.generation.concurrency_limit import ConcurrencyLimit
from app.generation.painting import Outcome, Painting
from app.generation.sizing import fit
from app.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.config.models_file import ModelConfig
    from app.generation.painting import PaintObserver, Progress
    from app.generation.provider import ImageProvider, PaintRequest

_logger = logging.getLogger(__name__)


class Model:
    """Whoever paints under one alias, called within its limits."""

    def __init__(
        self,
        config: ModelConfig,
        provider: ImageProvider,
        *,
        max_image_bytes: int,
        observer: PaintObserver,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.alias = config.alias
        self.price = config.price
        self.fallbacks = config.fallbacks
        self._deadline_seconds = config.deadline_seconds
        self._places = ConcurrencyLimit(config.concurrency, config.queue)
        self._provider = provider
        self._max_image_bytes = max_image_bytes
        self._observer = observer
        self._breaker = breaker or CircuitBreaker()

    async def paint(
        self, request: PaintRequest, *, deadline: float, progress: Progress
    ) -> Painting:
        """Paint once a place is free, with one call; see `Models.paint`."""
        self._breaker.check()
        release = await self._place(deadline, progress)
        progress.is_running = True
        try:
            return await self._call(request, deadline, progress)
        finally:
            progress.is_running = False
            release()

    async def _place(self, deadline: float, progress: Progress) -> Callable[[], None]:
        progress.places = self._places
        try:
            async with asyncio.timeout_at(deadline):
                return await self._places.acquire(progress)
        except TimeoutError as error:
            raise _never_asked() from error

    async def _call(
        self, request: PaintRequest, deadline: float, progress: Progress
    ) -> Painting:
        clock = asyncio.get_running_loop().time
        started = clock()
        if started >= deadline:
            raise _never_asked()
        admission = self._breaker.admit()
        seconds: float | None = None
        failure: BaseException | None = None
        try:
            data = await self._ask(
                request, min(deadline, started + self._deadline_seconds)
            )
            seconds = clock() - started
            image = await asyncio.to_thread(self._check, data, request)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._breaker.report(admission, healthy=_is_healthy(failure))
            # A request that the adapter itself turned down reached nobody.
            if not isinstance(failure, InvalidRequest):
                self._note(failure, seconds or clock() - started, progress)
        return Painting(
            image, self.alias, self.price, seconds, self._provider.is_placeholder
        )

    async def _ask(self, request: PaintRequest, until: float) -> bytes:
        try:
            async with asyncio.timeout_at(until) as limit:
                return await self._provider.paint(request)
        except (GenerationError, InvalidRequest):
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise GenerationTimedOut(
                    "The image provider was not done in time."
                ) from error
            # Its message may hold a key or the prompt, so only the kind is told.
            _logger.error(  # noqa: TRY400 - the traceback would show the message
                "provider adapter broke",
                extra={"model": self.alias, "error": type(error).__name__},
            )
            raise ProviderFailed(
                "The call to the image provider broke down.", maybe_billed=True
            ) from error

    def _check(self, data: bytes, request: PaintRequest) -> Image:
        """Vouch for the provider's bytes, and bring them to the size asked for."""
        if len(data) > self._max_image_bytes:
            raise BadImage(
                f"The provider's picture has more than {self._max_image_bytes} bytes."
            )
        try:
            image = Image.inspect(data)
        except UnsupportedImage as error:
            raise BadImage(f"The image provider failed: {error.detail}") from error
        if request.width and request.height:
            return fit(image, request.width, request.height)
        return image

    def _note(
        self, failure: BaseException | None, seconds: float, progress: Progress
    ) -> None:
        # A cancelled call is a cut connection, which may be billed as well.
        is_free = isinstance(failure, GenerationError) and not failure.maybe_billed
        price = 0.0 if is_free else self.price
        progress.spent += price
        self._observer.provider_call(
            self._provider.vendor, self.alias, _outcome(failure), seconds, price
        )


def _outcome(failure: BaseException | None) -> Outcome:
    match failure:
        case None:
            return Outcome.OK
        case PromptRejected():
            return Outcome.REJECTED
        case ProviderRateLimited():
            return Outcome.RATE_LIMITED
        case GenerationTimedOut():
            return Outcome.TIMEOUT
        case BadImage():
            return Outcome.BAD_IMAGE
        case _:
            return Outcome.FAILED


def _is_healthy(failure: BaseException | None) -> bool | None:
    """Tell whether the provider works; None where the call tells nothing."""
    if isinstance(failure, asyncio.CancelledError | InvalidRequest):
        return None
    return _outcome(failure) not in {Outcome.FAILED, Outcome.TIMEOUT}


def _never_asked() -> GenerationTimedOut:
    error = GenerationTimedOut("The time was up before the provider could be asked.")
    error.maybe_billed = False
    return error
