"""OpenAI images: OpenAI itself, and every server that speaks its dialect.

The dialect is `POST /images/generations` (JSON) and, with reference pictures,
`POST /images/edits` (multipart); some vendors want these as JSON. Answers hold
base64 or an address.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import aiohttp

from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.inputs import (
    inlined,
    option_fields,
    reference_fields,
    shape_fields,
)
from app.generation.providers.openai.answers import without_picture
from app.generation.providers.openai.options import OpenAIOptions, capabilities_for
from app.generation.providers.parameters import seed_for
from app.generation.transport.base64_pictures import decode_base64
from app.generation.transport.documents import pick
from app.generation.transport.failures import failure_of
from app.generation.transport.result_urls import ResultUrls
from app.generation.transport.vendor_api import VendorApi
from app.generation.usage import Usage
from app.image import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.model_config import ModelConfig
    from app.generation.provider import Job, PaintRequest, Reference
    from app.generation.transport.vendor_api import Reply


_GENERATIONS, _EDITS = "/images/generations", "/images/edits"


class OpenAIImages:
    """One model behind an OpenAI-dialect server; an `ImageProvider`.

    Without a key it sends no `Authorization`. *max_image_bytes* bounds what is
    read for a picture.
    """

    vendor = "openai"
    takes_addresses = False

    def __init__(
        self,
        config: ModelConfig,
        *,
        session: aiohttp.ClientSession,
        max_image_bytes: int,
    ) -> None:
        self._model = config.model
        self._max_image_bytes = max_image_bytes
        self._options = OpenAIOptions.model_validate(config.options)
        self.capabilities = capabilities_for(config.model, self._options)
        key = config.api_key
        self._api = VendorApi(
            config,
            session=session,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            max_image_bytes=max_image_bytes,
        )
        self._results = ResultUrls(
            session=session,
            base_url=config.base_url,
            hosts=config.result_hosts,
            limit_bytes=max_image_bytes,
        )

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Return the picture as the server encoded it."""
        reply = await self._ask(request)
        if not reply.is_success:
            raise failure_of(reply)
        if missing := without_picture(reply.document):
            raise missing
        picture = pick(reply.document, "data", 0)
        if encoded := pick(picture, "b64_json"):
            data = await decode_base64(encoded, limit_bytes=self._max_image_bytes)
        else:
            data = await self._results.fetch(
                pick(picture, "url"), headers=self._api.headers, deadline=job.deadline
            )
        return ProviderPicture(data, self._origin(reply))

    def _origin(self, reply: Reply) -> Origin:
        usage = Usage.from_openai(reply.document)
        return Origin(self.vendor, self._model, reply.request_id, usage=usage)

    async def cancel(self, job_id: str) -> bool:  # noqa: ARG002 - it has no jobs
        """Do nothing: a call ends with its connection."""
        return False

    async def probe(self) -> bool:
        """Ask for the model's description; many servers have none."""
        reply = await self._api.ask("GET", f"/models/{self._model}")
        if reply.is_success:
            return True
        code = pick(reply.document, "error", "code")
        if reply.status in {404, 405, 501} and code != "model_not_found":
            return False
        raise failure_of(reply)

    async def _ask(self, request: PaintRequest) -> Reply:
        body = self._body(request)
        if not request.references:
            return await self._api.ask("POST", _GENERATIONS, json=body)
        endpoint = self.capabilities.endpoint(len(request.references))
        match endpoint.reference_form:
            case "files":
                form = self._form(body, request)
                return await self._api.ask("POST", _EDITS, data=form)
            case "uris":
                body |= reference_fields(request.references, endpoint)
                return await self._api.ask("POST", _GENERATIONS, json=body)
        body |= _objects(request)
        return await self._api.ask("POST", _EDITS, json=body)

    def _body(self, request: PaintRequest) -> dict[str, Any]:
        options = self._options
        endpoint = self.capabilities.endpoint(len(request.references))
        body = {
            **options.passed_on,
            "model": self.capabilities.model_for(len(request.references)),
            "prompt": request.prompt,
            "n": 1,
        }
        body |= shape_fields(request, endpoint) | option_fields(request, endpoint)
        if form := options.send_response_format or endpoint.response_format:
            body["response_format"] = form
        seed = seed_for(request, endpoint)
        if seed is not None:
            body["seed"] = seed
        return body | options.extra_body.passed_on

    def _form(
        self, body: Mapping[str, object], request: PaintRequest
    ) -> aiohttp.FormData:
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in body.items():
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
        for number, reference in enumerate(request.references, start=1):
            _add_file(form, self._options.image_field, f"reference-{number}", reference)
        endpoint = self.capabilities.endpoint(len(request.references))
        if request.mask is not None and endpoint.mask_field:
            _add_file(form, endpoint.mask_field, "mask", request.mask)
        return form


def _add_file(
    form: aiohttp.FormData, field: str, name: str, picture: Reference
) -> None:
    form.add_field(
        field,
        # As a file, because aiohttp sends one in portions.
        io.BytesIO(picture.data),
        filename=f"{name}.{EXTENSIONS[picture.media_type]}",
        content_type=picture.media_type,
    )


def _objects(request: PaintRequest) -> dict[str, object]:
    """Return references as xAI wants them: one as `image`, several as `images`."""
    objects = [
        {"url": inlined(reference), "type": "image_url"}
        for reference in request.references
    ]
    return {"image": objects[0]} if len(objects) == 1 else {"images": objects}
