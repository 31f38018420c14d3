"""A request beyond a model's capabilities is refused unpaid, or falls back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import InvalidParameter
from app.generation.assemble import adapter_for
from app.generation.capabilities import Capabilities, Endpoint
from app.generation.commission import Commission
from app.generation.config.large_pictures import warning_for
from app.generation.finishing import Finishing
from app.generation.model_config import ModelConfig
from app.generation.models import Model, Models
from app.generation.provider import Origin, PaintRequest, ProviderPicture, Reference
from app.generation.sizing import as_png, white_mask
from app.image import Image
from tests.fakes import a_picture
from tests.generation.handles import NoObserver
from tests.generation.provenance.samples import encoded, gradient

if TYPE_CHECKING:
    from app.generation.provider import Job

PROMPT = PaintRequest("a lighthouse in a storm")
PICTURE = Reference(b"picture", "image/png", "0" * 64)
PLAIN = Endpoint(source="the test")
EDITS = replace(PLAIN, references="many", max_references=2, mask_field="mask")
OPTION = replace(PLAIN, options={"quality": "quality"})


@dataclass
class Painter:
    """An `ImageProvider` that counts its calls."""

    capabilities: Capabilities
    vendor: str = "scripted"
    takes_addresses: bool = False
    calls: int = 0

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Return a picture."""
        self.calls += 1
        return ProviderPicture(a_picture(), Origin("scripted", "model"))

    async def cancel(self, job_id: str) -> bool:
        """Do nothing."""
        return False

    async def probe(self) -> bool:
        """Return True."""
        return True


def catalogue(*endpoints: Endpoint) -> tuple[Models, list[Painter]]:
    """Return models that fall back on one another, and their painters."""
    names = [f"m{number}" for number in range(len(endpoints))]
    painters = [Painter(Capabilities("model", endpoint)) for endpoint in endpoints]
    models = {
        name: Model(
            ModelConfig(name, "placeholder", fallbacks=tuple(names[number + 1 :][:1])),
            painter,
            finishing=Finishing(max_image_bytes=100_000, marks=False),
            observer=NoObserver(),
            generation_timeout_seconds=60,
        )
        for number, (name, painter) in enumerate(zip(names, painters, strict=True))
    }
    return Models(models), painters


async def loader(**_: Any) -> tuple[Reference, ...]:
    """Return no references."""
    return (PICTURE,)


@pytest.mark.parametrize(
    ("request_", "count", "parameter"),
    [
        (PROMPT, 1, "references"),
        (PROMPT, 3, "references"),
        (replace(PROMPT, mask=PICTURE), 0, "mask"),
        (replace(PROMPT, quality="high"), 0, "quality"),
        (replace(PROMPT, negative_prompt="fog"), 0, "negative_prompt"),
    ],
)
async def test_what_no_model_can_do_names_its_parameter_and_costs_nothing(
    request_: PaintRequest, count: int, parameter: str
) -> None:
    """A request that no model can paint is refused by parameter, without a call."""
    models, painters = catalogue(PLAIN, PLAIN)

    with pytest.raises(InvalidParameter) as refused:
        await models.paint(
            "m0",
            Commission(
                request=request_,
                deadline=1e9,
                references=loader,
                reference_count=count,
            ),
        )

    assert refused.value.parameter == parameter
    assert [painter.calls for painter in painters] == [0, 0]


async def test_a_fall_back_that_can_is_asked_instead() -> None:
    """A request that the first model can't paint goes to the next model at once."""
    models, painters = catalogue(PLAIN, EDITS)

    painting = await models.paint(
        "m0",
        Commission(request=PROMPT, deadline=1e9, references=loader, reference_count=1),
    )

    assert painting.model == "m1"
    assert [painter.calls for painter in painters] == [0, 1]
    models.check_references("m0", 2)
    with pytest.raises(InvalidParameter):
        models.check_references("m0", 3)


@pytest.mark.parametrize(
    ("provider", "model", "options", "takes"),
    [
        ("replicate", "acme/unknown", {}, 0),
        ("replicate", "google/nano-banana-of-mine", {}, 0),
        ("replicate", "acme/unknown", {"references": "many"}, 16),
        ("replicate", "acme/unknown", {"reference_field": "start"}, 1),
        ("fal", "acme/unknown", {"edit_model": "fal-ai/nano-banana/edit"}, 14),
        ("openai", "my-deployment", {}, 0),
        ("openai", "my-deployment", {"references": "one"}, 1),
        ("openai", "my-deployment", {"edits": True}, 16),
        ("openai", "gpt-image-2", {"edits": False}, 0),
        ("gemini", "models/gemini-3-pro-image", {}, 14),
        ("a1111", "", {}, 1),
        ("placeholder", "", {}, 16),
    ],
)
def test_there_are_no_guesses(
    provider: str, model: str, options: dict[str, Any], takes: int
) -> None:
    """An unknown model takes no references until its options set them."""
    config = ModelConfig(
        "default", provider, model=model, base_url="http://x", options=options
    )

    adapter = adapter_for(config, None, 1)  # type: ignore[arg-type]

    assert adapter.capabilities.reference_limit == takes
    assert adapter.capabilities.in_a_line().endswith(")")


def test_pictures_that_may_not_fit_are_warned_of() -> None:
    """Options whose pictures may exceed MAX_IMAGE_BYTES give a warning."""
    limit = 16 * 1024 * 1024
    for options in (
        {"image_size": "4K"},
        {"input": {"resolution": "4K"}},
        {"size": "3840x2880"},
    ):
        assert warning_for(options, limit)
        assert warning_for(options, 64 * 1024 * 1024) is None
    assert warning_for({"image_size": "2K", "quality": "high"}, limit) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_reference_of_another_type_is_converted_pixel_by_pixel(mode: str) -> None:
    """A GIF or AVIF reference is sent as a PNG with the same pixels."""
    picture = gradient("RGBA" if mode == "RGBA" else "RGB").convert(mode)
    image_format = "GIF" if mode == "P" else "AVIF"
    came = Image.inspect(encoded(picture, image_format))

    sent = as_png(came)

    assert sent.media_type == "image/png"
    assert (sent.width, sent.height) == (came.width, came.height)


def test_a_mask_becomes_white_where_it_is_transparent() -> None:
    """For A1111 a mask's transparent pixels become white."""
    mask = gradient("RGBA")

    white = Image.inspect(white_mask(encoded(mask, "PNG")))

    assert (white.width, white.height) == mask.size
