"""Replicate: a prediction is made, polled until it has ended, and its file fetched.

https://replicate.com/docs/reference/http. It is made without `Prefer: wait`,
which would hold back the id of a job that is being paid for. Addresses are
made from that id: those in the answer are not needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.errors import BadImage, CallEnd, GenerationError, ProviderFailed
from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.inputs import InputOptions, input_for
from app.generation.providers.known import capabilities_of
from app.generation.providers.progress import fraction_in
from app.generation.providers.replicate.known_models import KNOWN, UNKNOWN
from app.generation.transport.documents import pick
from app.generation.transport.failures import account_failure, failure_of, refusal
from app.generation.transport.polling import follow
from app.generation.transport.result_urls import ResultUrls
from app.generation.transport.vendor_api import Reply, VendorApi
from app.generation.transport.verdicts import VendorVerdict, verdict_of_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from app.generation.model_config import ModelConfig
    from app.generation.provider import Job, PaintRequest

RESULT_HOSTS = ("replicate.delivery", "*.replicate.delivery")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VERSION = re.compile(r"[0-9a-f]{64}")
_DEPLOYMENT = "deployments/"
_ADDRESS = re.compile(r"https?://|data:")
# Of an output; the deepest that is known is a list of tables.
_MAX_DEPTH = 8


class ReplicatePredictions:
    """One model at Replicate; an `ImageProvider` with jobs.

    *model* is `owner/name` of an official model, `owner/name:version`, a
    version's id, or `deployments/owner/name`.
    """

    vendor = "replicate"
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
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # An answer repeats the input, references that were sent along too.
            max_image_bytes=2 * max_image_bytes,
        )
        self._results = ResultUrls(
            session=session,
            base_url=config.base_url,
            hosts=(*RESULT_HOSTS, *config.result_hosts),
            limit_bytes=max_image_bytes,
        )

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Return the first file of the prediction's output."""
        output = None
        prediction = job.resumed
        if prediction is None:
            reply = await self._submit(request)
            prediction = _id_in(reply)
            await job.begun(prediction)
            output = await self._read(reply, job)
        if output is None:
            output = await follow(
                lambda: self._api.ask("GET", f"/predictions/{prediction}"),
                lambda reply: self._read(reply, job),
                deadline=job.deadline,
                at_once=job.resumed is not None,
            )
        job.succeeded()
        data = await self._results.fetch(
            output, headers=self._api.headers, deadline=job.deadline
        )
        return ProviderPicture(data, Origin(self.vendor, self._model, prediction))

    async def cancel(self, job_id: str) -> bool:
        """Cancel a prediction; one that has ended stays as it is."""
        reply = await self._api.ask("POST", f"/predictions/{job_id}/cancel")
        if not reply.is_success:
            raise failure_of(reply)
        return _never_ran(reply.document)

    async def probe(self) -> bool:
        """Ask whose token it is."""
        reply = await self._api.ask("GET", "/account")
        if not reply.is_success:
            raise failure_of(reply)
        return True

    async def _submit(self, request: PaintRequest) -> Reply:
        body: dict[str, Any] = {
            "input": input_for(request, self._options, self.capabilities)
        }
        model = self.capabilities.model_for(len(request.references))
        path = "/predictions"
        if model.startswith(_DEPLOYMENT):
            path = f"/{model}/predictions"
        elif ":" in model or _VERSION.fullmatch(model):
            body["version"] = model
        else:
            path = f"/models/{model}/predictions"
        reply = await self._api.ask("POST", path, json=body)
        if not reply.is_success:
            raise failure_of(reply)
        return reply

    async def _read(self, reply: Reply, job: Job) -> str | None:
        """Return where the picture lies; None while there is none yet."""
        status, output = pick(reply.document, "status"), pick(reply.document, "output")
        match status:
            case "failed":
                job.ended()
                raise _failure(pick(reply.document, "error"))
            case "canceled" | "aborted":
                job.ended()
                raise ProviderFailed(
                    "The image provider's job was cancelled.",
                    end=CallEnd.CERTAIN
                    if _never_ran(reply.document)
                    else CallEnd.BILLED,
                )
            case "succeeded":
                job.succeeded()
                return _address_in(output)
            # Some models have their picture before they have tidied up.
            case "processing" if output:
                return _address_in(output)
            case "processing":
                await job.progressed(0.0)
        fraction = fraction_in(pick(reply.document, "logs"))
        if fraction is not None:
            await job.progressed(fraction)
        return None


def _failure(error: object) -> GenerationError:
    verdict = verdict_of_text(error) if isinstance(error, str) else None
    if verdict is VendorVerdict.REFUSED:
        return refusal(CallEnd.BILLED)
    if verdict is not None:
        return account_failure(verdict, CallEnd.BILLED)
    return ProviderFailed("The image provider's model failed.", end=CallEnd.BILLED)


def _never_ran(document: object) -> bool:
    """Return whether a prediction ended before the model was run for it."""
    status = pick(document, "status")
    if status == "aborted":
        return True
    named = isinstance(document, dict) and "started_at" in document
    return status == "canceled" and named and not pick(document, "started_at")


def _id_in(reply: Reply) -> str:
    prediction = pick(reply.document, "id")
    if isinstance(prediction, str) and _ID.fullmatch(prediction):
        return prediction
    raise BadImage("The image provider did not name its job.", end=CallEnd.AMBIGUOUS)


def _address_in(output: object) -> str:
    """Return the first address in an output: lists and tables hold texts as well."""
    texts = list(_texts_in(output))
    for text in texts:
        if _ADDRESS.match(text):
            return text
    # Below the base address, or what is refused with a sentence of its own.
    if len(texts) == 1 and texts[0]:
        return texts[0]
    raise BadImage("The image provider answered without a picture.")


def _texts_in(output: object, depth: int = 0) -> Iterator[str]:
    if isinstance(output, str):
        yield output
    elif depth < _MAX_DEPTH and isinstance(output, dict | list):
        for item in output.values() if isinstance(output, dict) else output:
            yield from _texts_in(item, depth + 1)
