"""Gemini images: one `generateContent` for one picture.

https://ai.google.dev/gemini-api/docs/image-generation. The model chooses the
pixels within a ratio and a size, so a picture of exact size is cut from its.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.gemini.answers import encoded_picture, error_of
from app.generation.providers.gemini.known_models import KNOWN, UNKNOWN
from app.generation.providers.gemini.options import GeminiOptions
from app.generation.providers.gemini.sizes import image_config
from app.generation.providers.known import capabilities_of
from app.generation.providers.parameters import seed_for
from app.generation.transport.base64_pictures import decode_base64
from app.generation.transport.json_bodies import Inlined
from app.generation.transport.vendor_api import VendorApi

if TYPE_CHECKING:
    import aiohttp

    from app.generation.model_config import ModelConfig
    from app.generation.provider import Job, PaintRequest

# How Google's own lists spell an id.
_COLLECTION = "models/"
# Models that think paint drafts as well, which come along; the bound is for
# the picture that is kept.
_DRAFTS = 3


class GeminiImages:
    """One model of the Gemini API; an `ImageProvider`.

    References go inline: Google fetches no addresses for models that paint.
    """

    vendor = "gemini"
    takes_addresses = False

    def __init__(
        self,
        config: ModelConfig,
        *,
        session: aiohttp.ClientSession,
        max_image_bytes: int,
    ) -> None:
        self._model = config.model.removeprefix(_COLLECTION)
        self._max_image_bytes = max_image_bytes
        self._options = GeminiOptions.model_validate(config.options)
        self.capabilities = capabilities_of(
            self._model, self._options, known=KNOWN, unknown=UNKNOWN
        )
        self._api = VendorApi(
            config,
            session=session,
            # Never in the query, which is logged wherever it passes.
            headers={"x-goog-api-key": config.api_key} if config.api_key else {},
            max_image_bytes=(1 + _DRAFTS) * max_image_bytes,
        )

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:  # noqa: ARG002 - Google has no jobs
        """Return the picture as Google encoded it."""
        model = self.capabilities.model_for(len(request.references))
        reply = await self._api.ask(
            "POST",
            f"/models/{model.removeprefix(_COLLECTION)}:generateContent",
            json=self._body(request),
        )
        if not reply.is_success:
            raise error_of(reply)
        data = await decode_base64(
            encoded_picture(reply.document), limit_bytes=self._max_image_bytes
        )
        return ProviderPicture(data, Origin(self.vendor, self._model, reply.request_id))

    async def cancel(self, job_id: str) -> bool:  # noqa: ARG002 - it has no jobs
        """Do nothing: a call ends with its connection."""
        return False

    async def probe(self) -> bool:
        """Ask for the model's description."""
        reply = await self._api.ask("GET", f"/models/{self._model}")
        if not reply.is_success:
            raise error_of(reply)
        return True

    def _body(self, request: PaintRequest) -> dict[str, Any]:
        options = self._options
        endpoint = self.capabilities.endpoint(len(request.references))
        parts: list[dict[str, Any]] = [
            {
                "inlineData": {
                    "mimeType": reference.media_type,
                    "data": Inlined(reference.data),
                }
            }
            for reference in request.references
        ]
        parts.append({"text": request.prompt})
        config = {**options.passed_on, "responseModalities": ["IMAGE"]}
        seed = seed_for(request, endpoint) if options.send_seed else None
        if seed is not None:
            config["seed"] = seed
        shape = image_config(endpoint, options.image_size, request)
        if shape or options.image_config:
            config["imageConfig"] = shape | options.image_config
        body = {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": config,
        }
        if options.safety_settings:
            body["safetySettings"] = options.safety_settings
        return body
