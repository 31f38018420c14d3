"""fal: a request is queued, polled until it is completed, and its response read.

https://docs.fal.ai/model-apis/model-endpoints/queue. Status, response and
cancellation have addresses of their own, which lack part of the model's path:
they are used as they come, but only where they are at the queue's own origin.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from app.errors import (
    BadImage,
    CallEnd,
    GenerationError,
    GenerationTimedOut,
    ProviderFailed,
)
from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.fal.known_models import KNOWN, UNKNOWN
from app.generation.providers.inputs import InputOptions, input_for
from app.generation.providers.known import capabilities_of
from app.generation.providers.progress import fraction_in
from app.generation.transport.call_ends import end_of_job, end_of_status
from app.generation.transport.documents import parse_json, pick
from app.generation.transport.failures import account_failure, failure_of, refusal
from app.generation.transport.polling import fetch_document, follow
from app.generation.transport.result_urls import ResultUrls
from app.generation.transport.vendor_api import Reply, VendorApi
from app.generation.transport.verdicts import VendorVerdict, verdict_of

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from app.generation.model_config import ModelConfig
    from app.generation.provider import Job, PaintRequest

# The last one has the files of older models.
RESULT_HOSTS = ("fal.media", "*.fal.media", "storage.googleapis.com")

_TIMED_OUT = {"request_timeout", "startup_timeout", "generation_timeout"}


class _Request(NamedTuple):
    """The addresses of a queued request."""

    status: URL
    response: URL
    cancel: URL


class FalQueue:
    """One model at fal; an `ImageProvider` with jobs."""

    vendor = "fal"
    takes_addresses = True

    def __init__(
        self,
        config: ModelConfig,
        *,
        session: aiohttp.ClientSession,
        max_image_bytes: int,
    ) -> None:
        self._model = config.model
        self._options = InputOptions.model_validate(config.options)
        self.capabilities = capabilities_of(
            config.model, self._options, known=KNOWN, unknown=UNKNOWN
        )
        key = config.api_key
        self._api = VendorApi(
            config,
            session=session,
            headers={"Authorization": f"Key {key}"} if key else {},
            max_image_bytes=max_image_bytes,
        )
        self._results = ResultUrls(
            session=session,
            base_url=config.base_url,
            hosts=(*RESULT_HOSTS, *config.result_hosts),
            limit_bytes=max_image_bytes,
        )

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Return the first picture of the model's output."""
        if job.resumed is None:
            job_id = await self._submit(request)
            await job.begun(job_id)
        else:
            job_id = job.resumed
        queued = self._parse(job_id)
        status = await follow(
            lambda: self._api.ask("GET", queued.status.update_query(logs="1")),
            lambda reply: self._read(reply, job),
            deadline=job.deadline,
            at_once=job.resumed is not None,
        )
        response = await self._response(queued, status, job)
        picture = pick(response.document, "images", 0) or pick(
            response.document, "image"
        )
        if pick(response.document, "has_nsfw_concepts", 0) is True:
            # The picture that is there has been painted black.
            raise refusal(CallEnd.BILLED)
        data = await self._results.fetch(
            pick(picture, "url"), headers=self._api.headers, deadline=job.deadline
        )
        return ProviderPicture(
            data, Origin(self.vendor, self._model, response.request_id)
        )

    async def cancel(self, job_id: str) -> bool:
        """Ask for the end of a request; one that is completed or gone is a no-op.

        fal answers 200 for one that it has taken off the queue, and 202 for one
        that a runner has, or may have by now.
        """
        queued = self._parse(job_id)
        reply = await self._api.ask("PUT", queued.cancel)
        if not reply.is_success and reply.status not in {400, 404}:
            raise failure_of(reply)
        if reply.status == HTTPStatus.ACCEPTED:
            reply = await self._api.ask("GET", queued.status)
            return bool(pick(reply.document, "status") == "IN_QUEUE")
        return reply.is_success

    async def probe(self) -> bool:
        """Return False: whatever the queue is asked for without paying needs a job."""
        return False

    async def _submit(self, request: PaintRequest) -> str:
        reply = await self._api.ask(
            "POST",
            f"/{self.capabilities.model_for(len(request.references))}",
            json=input_for(request, self._options, self.capabilities),
        )
        if not reply.is_success:
            raise _error_of(reply)
        try:
            addresses = [
                str(self._api.own(pick(reply.document, f"{name}_url")))
                for name in _Request._fields
            ]
        except BadImage as lost:
            # The request was accepted, and can't be polled.
            lost.end = CallEnd.AMBIGUOUS
            raise
        return orjson.dumps(addresses).decode()

    def _parse(self, job_id: str) -> _Request:
        """Return the addresses of a job, held against the origin once more.

        The models file may have changed since another replica wrote them down.
        """
        addresses: Any = parse_json(job_id.encode())
        if not isinstance(addresses, list) or len(addresses) != len(_Request._fields):
            raise BadImage("The image provider's job can't be found again.")
        return _Request(*map(self._api.own, addresses))

    async def _read(self, reply: Reply, job: Job) -> Reply | None:
        """Return the last word on the status; failures are completed as well."""
        if pick(reply.document, "status") == "COMPLETED":
            return reply
        if pick(reply.document, "status") == "IN_PROGRESS":
            await job.progressed(0.0)
        fraction = fraction_in(pick(reply.document, "logs", -1, "message"))
        if fraction is not None:
            await job.progressed(fraction)
        return None

    async def _response(self, queued: _Request, status: Reply, job: Job) -> Reply:
        """Return the model's output; raises its error, or the platform's."""
        if pick(status.document, "error") or pick(status.document, "error_type"):
            job.ended()
            # One look: it has the model's own words, or the platform's.
            response = await self._api.ask("GET", queued.response)
            raise _job_error_of(status if response.is_success else response)
        job.succeeded()

        def failure(reply: Reply) -> GenerationError | None:
            if not _kinds(reply):
                return None
            job.ended()
            return _job_error_of(reply)

        return await fetch_document(
            lambda: self._api.ask("GET", queued.response),
            deadline=job.deadline,
            failure=failure,
        )


def _job_error_of(reply: Reply) -> GenerationError:
    """Return the error of a job, which had started: it is never free."""
    error = _error_of(reply)
    error.end = end_of_job(error.end)
    return error


def _error_of(reply: Reply) -> GenerationError:
    """Return the error that a *reply* without a picture amounts to."""
    match verdict_of(reply.document, reply.headers):
        case None:
            pass
        case VendorVerdict.REFUSED:
            return refusal()
        case verdict:
            return account_failure(verdict, end_of_status(reply.status))
    if _kinds(reply) & _TIMED_OUT:
        return GenerationTimedOut("The image provider timed out.")
    if reply.is_success:
        return ProviderFailed("The image provider's model failed.")
    detail = pick(reply.document, "detail")
    return failure_of(
        reply, is_quota=isinstance(detail, str) and "balance" in detail.lower()
    )


def _kinds(reply: Reply) -> set[str]:
    """Return the types of an error, those of the model and of the platform."""
    kinds = (
        pick(reply.document, "detail", 0, "type"),
        pick(reply.document, "error_type"),
        reply.headers.get("x-fal-error-type"),
    )
    return {kind for kind in kinds if isinstance(kind, str)}
