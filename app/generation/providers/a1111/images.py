"""A1111 images: `txt2img`, and `img2img` with reference pictures.

The server paints one picture at a time and holds the other requests without an
answer, so the deadline has to cover its queue. Its `interrupt` ends whichever
picture is being painted, so a painting is never interrupted.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.a1111.known_models import SERVER
from app.generation.providers.a1111.options import A1111Options
from app.generation.providers.inputs import option_fields, shape_fields
from app.generation.providers.known import capabilities_of
from app.generation.providers.parameters import seed_for
from app.generation.transport.base64_pictures import decode_base64
from app.generation.transport.documents import pick
from app.generation.transport.failures import failure_of
from app.generation.transport.json_bodies import Inlined
from app.generation.transport.vendor_api import VendorApi

if TYPE_CHECKING:
    import aiohttp

    from app.generation.model_config import ModelConfig
    from app.generation.provider import Job, PaintRequest


class A1111Images:
    """One server; an `ImageProvider`. *model* is a checkpoint, or what is loaded.

    The key is `user:password`, as the server's `--api-auth` has it.
    """

    vendor = "a1111"
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
        self._options = A1111Options.model_validate(config.options)
        self.capabilities = capabilities_of(
            config.model, self._options, known={}, unknown=SERVER
        )
        self._api = VendorApi(
            config,
            session=session,
            headers=_basic(config.api_key),
            max_image_bytes=max_image_bytes,
        )

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:  # noqa: ARG002 - the server has no jobs
        """Return the picture as the server encoded it."""
        path = "/sdapi/v1/img2img" if request.references else "/sdapi/v1/txt2img"
        reply = await self._api.ask("POST", path, json=self._body(request))
        if not reply.is_success:
            raise failure_of(reply)
        data = await decode_base64(
            pick(reply.document, "images", 0), limit_bytes=self._max_image_bytes
        )
        model = self._model or "unknown"
        return ProviderPicture(data, Origin(self.vendor, model, reply.request_id))

    async def cancel(self, job_id: str) -> bool:  # noqa: ARG002 - it has no jobs
        """Do nothing: the server can only interrupt whichever picture it paints."""
        return False

    async def probe(self) -> bool:
        """Ask for the server's settings."""
        reply = await self._api.ask("GET", "/sdapi/v1/options")
        if not reply.is_success:
            raise failure_of(reply)
        return True

    def _body(self, request: PaintRequest) -> dict[str, Any]:
        endpoint = self.capabilities.endpoint(len(request.references))
        seed = seed_for(request, endpoint)
        body: dict[str, Any] = {
            **self._options.passed_on,
            "prompt": request.prompt,
            # -1 is the server's own word for a seed of its choice.
            "seed": -1 if seed is None else seed,
            # With more than one the first picture is a sheet of all of them.
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
        }
        body |= shape_fields(request, endpoint) | option_fields(request, endpoint)
        if request.references:
            body[endpoint.reference_field] = [
                Inlined(reference.data) for reference in request.references
            ]
        if request.mask is not None and endpoint.mask_field:
            body[endpoint.mask_field] = Inlined(request.mask.data)
        settings = dict(self._options.override_settings)
        if self._model:
            settings["sd_model_checkpoint"] = self._model
        if settings:
            body["override_settings"] = settings
        return body


def _basic(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}
