"""OpenAI images: OpenAI itself, and every server that speaks its dialect.

The dialect is `POST /images/generations` (JSON) and, with reference pictures,
`POST /images/edits` (multipart); answers hold base64 or an address.
"""

from __future__ import annotations

import io
import json
import logging
import re
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from app.errors import BadImage, InvalidParameter, PromptRejected
from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.openai.answers import error_code, failure_of, is_refusal
from app.generation.providers.openai.options import OpenAIOptions, check_options
from app.generation.providers.openai.sizes import choose_size
from app.generation.transport.outbound import (
    Answer,
    decode_base64,
    parse_json,
    pick,
    post,
)
from app.generation.transport.result_urls import ResultUrls
from app.image import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.provider import Job, PaintRequest

__all__ = ["OpenAIImages", "check_options"]

logger = logging.getLogger(__name__)

# Base64 makes four bytes of three; the rest is usage figures and the like.
_ENVELOPE_BYTES = 65_536

# Spreads variants over all seeds; odd, so that no two variants meet (Knuth,
# The Art of Computer Programming 3, 6.4: the golden ratio of 2**32).
_SEED_STRIDE = 2_654_435_761
_SEEDS = 2**32

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class OpenAIImages:
    """One model behind an OpenAI-dialect server; an `ImageProvider`.

    *api_key* None or empty sends no `Authorization`. *max_image_bytes* bounds
    what is read for a picture. *options* are those of `check_options`; bad
    ones raise `ValueError`.
    """

    vendor = "openai"
    takes_addresses = False

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        model: str,
        max_image_bytes: int,
        base_url: str = "https://api.openai.com/v1",
        api_key: str | None = None,
        options: Mapping[str, object],
    ) -> None:
        self._session = session
        self._model = model
        self._max_image_bytes = max_image_bytes
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._options = OpenAIOptions.parse(options)
        self._results = ResultUrls(
            session=session,
            base_url=base_url,
            hosts=self._options.result_hosts,
            limit_bytes=max_image_bytes,
        )

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:  # noqa: ARG002 - the dialect has no jobs
        """Return the picture as the server encoded it.

        Raises `InvalidParameter` for references where the server takes none,
        `PromptRejected`, `ProviderRateLimited`, `ProviderFailed` or `BadImage`.
        """
        answer = await self._ask(request)
        document = parse_json(answer.body)
        self._log(answer, document)
        if answer.status >= 300:  # noqa: PLR2004 - the 2xx class, RFC 9110 15.3
            raise failure_of(answer, document)
        picture = pick(document, "data", 0)
        encoded, address = pick(picture, "b64_json"), pick(picture, "url")
        if not encoded and address:
            data = await self._fetch(address)
        elif not encoded and is_refusal(document):
            raise PromptRejected("The image provider refused the prompt.")
        else:
            data = await decode_base64(encoded, limit_bytes=self._max_image_bytes)
        return ProviderPicture(
            data, Origin(self.vendor, self._model, request_id(answer))
        )

    async def cancel(self, job_id: str) -> None:
        """Do nothing: a call ends with its connection."""

    async def probe(self) -> bool:
        """Ask for the model's description, which costs nothing."""
        return False

    async def _ask(self, request: PaintRequest) -> Answer:
        body = self._body(request)
        limit_bytes = self._max_image_bytes * 4 // 3 + _ENVELOPE_BYTES
        if not request.references:
            return await post(
                self._session,
                URL(f"{self._base_url}/images/generations"),
                headers=self._headers,
                limit_bytes=limit_bytes,
                json=body,
            )
        if not self._options.edits:
            raise InvalidParameter(
                "references", "The model takes no reference pictures."
            )
        return await post(
            self._session,
            URL(f"{self._base_url}/images/edits"),
            headers=self._headers,
            limit_bytes=limit_bytes,
            data=self._form(body, request),
        )

    def _body(self, request: PaintRequest) -> dict[str, object]:
        options = self._options
        body = {
            **options.passed_on,
            "model": self._model,
            "prompt": request.prompt,
            "n": 1,
        }
        if size := choose_size(self._model, options.size_policy, request):
            body["size"] = size
        if options.send_response_format:
            body["response_format"] = options.send_response_format
        if options.send_seed and request.seed is not None:
            body["seed"] = (request.seed + request.variant * _SEED_STRIDE) % _SEEDS
        return body | dict(options.extra_body)

    def _form(
        self, body: Mapping[str, object], request: PaintRequest
    ) -> aiohttp.FormData:
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in body.items():
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
        for number, reference in enumerate(request.references, start=1):
            form.add_field(
                self._options.image_field,
                # As a file, because aiohttp sends one in portions.
                io.BytesIO(reference.data),
                filename=f"reference-{number}.{EXTENSIONS[reference.media_type]}",
                content_type=reference.media_type,
            )
        return form

    async def _fetch(self, address: object) -> bytes:
        if not isinstance(address, str):
            raise BadImage("The image provider's result address is broken.")
        if address.startswith("data:"):
            return await decode_base64(address, limit_bytes=self._max_image_bytes)
        return await self._results.fetch(address, headers=self._headers)

    def _log(self, answer: Answer, document: object) -> None:
        logger.log(
            logging.INFO if answer.status < 400 else logging.WARNING,  # noqa: PLR2004 - RFC 9110 15.5
            "provider answered",
            extra={
                "provider": self.vendor,
                "provider_model": self._model,
                "provider_status": answer.status,
                "provider_error_code": error_code(document),
                "provider_request_id": request_id(answer),
            },
        )


def request_id(answer: Answer) -> str | None:
    """Return what the vendor's support asks for, if it can be nothing else."""
    told = answer.headers.get("x-request-id", "")
    return told if _REQUEST_ID.fullmatch(told) else None
