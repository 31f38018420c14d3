"""KEEP_METADATA decides over prompts that providers write into pictures."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import PIL.Image
from PIL.PngImagePlugin import PngInfo

from tests.faults.clients import LIVE
from tests.faults.installation import installation

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

SECRET = "a lighthouse, masterpiece, Seed: 4711"


def picture_with_a_prompt() -> bytes:
    """Return a PNG as A1111 writes it, with the prompt in `parameters`."""
    texts = PngInfo()
    texts.add_text("parameters", SECRET)
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (96, 64), "teal").save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


async def served(place: Place, at: Replica, prompt: str) -> list[bytes]:
    """Return the first answer for *prompt*, and the bytes of its permalink."""
    first = await place.clients.call(
        "GET", f"{at.url}{LIVE}", params={"prompt": prompt}
    )
    assert (first.status, first.cache) == (200, "MISS"), first.body
    link = first.headers["Content-Location"]
    again = await place.clients.call("GET", f"{at.url}{link}")
    assert again.status == 200
    return [first.body, again.body]


async def test_prompts_are_kept_in_pictures_only_where_that_is_set(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """`off` removes the provider's text from the picture, `on` keeps it."""
    painted = base64.b64encode(picture_with_a_prompt()).decode()
    async with installation(
        tmp_path, s3_server, replicas=1, KEEP_METADATA="off"
    ) as place:
        (drops,) = place.replicas
        (keeps,) = await place.start(KEEP_METADATA="on")
        await place.provider.behave(
            "error", status=200, body={"created": 1, "data": [{"b64_json": painted}]}
        )

        without = await served(place, drops, "a lighthouse")
        kept = await served(place, keeps, "another lighthouse")

    assert SECRET.encode() in picture_with_a_prompt()
    for body in without:
        assert SECRET.encode() not in body
    for body in kept:
        assert SECRET.encode() in body
