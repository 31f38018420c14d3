"""Every vendor with an adapter, as the tests use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from app.errors import GenerationError
from app.generation.assemble import adapter_for, build_models
from app.generation.model_config import ModelConfig
from app.generation.provider import PaintRequest, Reference
from app.image import Image
from tests.fake_provider import pictures
from tests.fake_provider.dialects import DIALECTS
from tests.generation.handles import NoObserver, picture_by

if TYPE_CHECKING:
    import aiohttp

    from app.generation.models import Models
    from app.generation.provider import ImageProvider

PROMPT = "a lighthouse in a storm"
LIGHTHOUSE = PaintRequest(prompt=PROMPT)
MAX_IMAGE_BYTES = 1 << 20


class Served(NamedTuple):
    """The address of the fake provider, and the session that calls it."""

    origin: str
    session: aiohttp.ClientSession


@dataclass(frozen=True)
class Vendor:
    """One vendor, with the form and header of its key."""

    name: str
    key: str
    header: str
    value: str
    path: str

    @property
    def has_jobs(self) -> bool:
        """Whether it paints in the background."""
        return DIALECTS[self.name].has_jobs

    def config(self, origin: str, *, model: str = "", **terms: Any) -> ModelConfig:
        """Return a model of this vendor, which is served at *origin*."""
        dialect = DIALECTS[self.name]
        return ModelConfig(
            **{
                "alias": "default",
                "provider": self.name,
                "model": model or dialect.example,
                "base_url": origin + dialect.base_path,
                "api_key": self.key,
                "price": 0.04,
                **terms,
            }
        )

    def adapter(
        self,
        served: Served,
        *,
        model: str = "",
        options: dict[str, object] | None = None,
        **terms: Any,
    ) -> ImageProvider:
        """Return the adapter of such a model."""
        options = options or {}
        config = self.config(served.origin, model=model, options=options, **terms)
        return adapter_for(config, served.session, MAX_IMAGE_BYTES)

    def models(self, served: Served, **terms: Any) -> Models:
        """Return a catalogue whose `default` is such a model."""
        return build_models(
            {"default": self.config(served.origin, **terms)},
            session=served.session,
            max_image_bytes=MAX_IMAGE_BYTES,
            marks=False,
            observer=NoObserver(),
            generation_timeout_seconds=30,
        )


OPENAI = Vendor(
    "openai",
    "sk-Lighthouse-keeper",
    "Authorization",
    "Bearer sk-Lighthouse-keeper",
    "/v1/images/generations",
)
GEMINI = Vendor(
    "gemini",
    "AIza-Lighthouse-keeper",
    "x-goog-api-key",
    "AIza-Lighthouse-keeper",
    "/v1beta/models/gemini-3.1-flash-image:generateContent",
)
REPLICATE = Vendor(
    "replicate",
    "r8_LighthouseKeeper",
    "Authorization",
    "Bearer r8_LighthouseKeeper",
    "/v1/models/black-forest-labs/flux-schnell/predictions",
)
FAL = Vendor(
    "fal",
    "lighthouse:keeper",
    "Authorization",
    "Key lighthouse:keeper",
    "/fal/fal-ai/flux/dev",
)
A1111 = Vendor(
    "a1111",
    "keeper:lamp",
    "Authorization",
    "Basic a2VlcGVyOmxhbXA=",
    "/sdapi/v1/txt2img",
)
VENDORS = (OPENAI, GEMINI, REPLICATE, FAL, A1111)
WITH_JOBS = (REPLICATE, FAL)

every_vendor = pytest.mark.parametrize(
    "vendor", VENDORS, ids=lambda vendor: vendor.name
)


async def failure_of(
    vendor: Vendor, served: Served, *, seconds: float = 10.0
) -> GenerationError:
    """Return the error of a call that paints the lighthouse with *seconds* left."""
    with pytest.raises(GenerationError) as failure:
        await picture_by(vendor.adapter(served), LIGHTHOUSE, seconds=seconds)
    return failure.value


def reference(number: int = 1, media_type: str = "image/png") -> Reference:
    """Return a picture that a caller might lend as a reference."""
    data = pictures.paint(number=number, prompt="reference", media_type=media_type)
    return Reference.of(Image.inspect(data))
