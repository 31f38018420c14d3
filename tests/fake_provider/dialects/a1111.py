"""The web API of AUTOMATIC1111's web UI, of Forge, and of stable-diffusion.cpp."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.answers import BRUSHES, document, error, json_answer, paint
from tests.fake_provider.dialects.dialect import Dialect

if TYPE_CHECKING:
    from tests.fake_provider.answers import Brush, Mode
    from tests.fake_provider.records import Call


def _envelope(encoded: Any) -> dict[str, Any]:
    """Return a success; the info is JSON in a text."""
    info = json.dumps({"seed": 7})
    return {"images": [encoded], "parameters": {}, "info": info}


def _brushed(brush: Brush) -> Mode:
    """Return a mode whose picture is made by *brush*."""
    return document(
        lambda call, behaviour: _envelope(
            base64.b64encode(brush(call, behaviour)).decode()
        )
    )


def _refused(status: int, kind: str, **more: str) -> Mode:
    """Return a mode that answers with the web UI's envelope of an error."""
    return error(status, {"error": kind, "detail": "", "body": "", "errors": ""} | more)


def _read(call: Call) -> None:
    """Decode the pictures from base64, with or without a data URL's prefix."""
    call.prompt = str(call.body.get("prompt", ""))
    for picture in call.body.get("init_images") or []:
        data = base64.b64decode(picture.rpartition(",")[2])
        call.files.append({"data": data})


async def _options(request: web.Request) -> web.Response:
    """Answer with the web UI's settings; this is free of cost."""
    return json_answer({"sd_model_checkpoint": "fake.safetensors"})


DIALECT = Dialect(
    name="a1111",
    base_path="",
    example="fake.safetensors",
    paths=("/sdapi/v1/txt2img", "/sdapi/v1/img2img"),
    read=_read,
    others=(web.get("/sdapi/v1/options", _options),),
    own_modes={name: _brushed(brush) for name, brush in BRUSHES.items()}
    | {
        "base64_prefix": document(
            lambda call, behaviour: _envelope(
                "data:image/png;base64,"
                + base64.b64encode(paint(call, behaviour)).decode()
            )
        ),
        "base64_garbage": document(
            lambda call, behaviour: _envelope("!!!! no base64 !!!!")
        ),
        "base64_padding": document(lambda call, behaviour: _envelope("AAAAA")),
        "null_picture": document(lambda call, behaviour: _envelope(None)),
        "empty_data": document(lambda call, behaviour: {"images": [], "info": ""}),
        "missing_data": document(lambda call, behaviour: {"info": ""}),
        "server_error": _refused(500, "OutOfMemoryError", errors="CUDA out of memory"),
        "unavailable": error(503, {"detail": "Loading."}),
        "unauthenticated": error(401, {"detail": "Incorrect username or password"}),
        "not_found": error(404, {"detail": "Sampler not found"}),
        "bad_request": error(422, {"detail": [{"msg": "no", "type": "int_parsing"}]}),
        "rate_limited": error(429, {"detail": "Too many requests"}),
    },
)
