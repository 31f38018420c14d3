"""A picture in a request: raw, as a data URL in JSON, or as a file of a form.

What is wrong by the head of a request is refused before its body is read;
the body is read up to its `Content-Length`, which is bounded, within a
deadline. The bytes alone decide what they are: claimed types are not believed.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from aiohttp import hdrs, web

from app.api.multipart_file import read_file
from app.api.picture_json import read_picture_json
from app.errors import InvalidParameter
from app.http.http_errors import PayloadTooLarge, UnsupportedMediaType
from app.http.incoming_bodies import announced_length, incoming
from app.http.unknown_names import unknown
from app.transient_images import DataUrl, InvalidDataUrl, read_data_url

# The names of fields and the boundaries around a picture.
_OVERHEAD_BYTES = 64 * 1024

_FIELD = "data_url"


class Form(Enum):
    """The form of a picture in a body."""

    RAW = "raw"
    JSON = "json"
    MULTIPART = "multipart"


def check_upload(request: web.Request, max_bytes: int) -> Form:
    """Return the body's form, judged by the head of the request.

    Raises `UnsupportedMediaType`, `LengthRequired` or `PayloadTooLarge`, in
    this order, for a picture of more than *max_bytes*.
    """
    if hdrs.CONTENT_ENCODING in request.headers:
        raise UnsupportedMediaType("The body must not be encoded.")
    form = _form_of(request.content_type)
    if announced_length(request) > _allowance(form, max_bytes):
        raise PayloadTooLarge.for_picture(max_bytes)
    return form


async def read_upload(request: web.Request, form: Form, max_bytes: int) -> bytes:
    """Return the picture's bytes.

    Raises `PayloadTooLarge`, `InvalidParameter` for `data_url` or `file`,
    `MalformedRequest`, or `RequestTimeout` for a body that takes too long.
    """
    async with incoming(request):
        match form:
            case Form.RAW:
                return await request.content.read()
            case Form.MULTIPART:
                return await read_file(request, max_bytes)
            case Form.JSON:
                return _data_of(await read_picture_json(request, _FIELD, max_bytes))


def _form_of(content_type: str) -> Form:
    kind, _, subtype = content_type.partition("/")
    if kind == "image" and subtype not in {"svg+xml", "svg"}:
        return Form.RAW
    if content_type == "application/json":
        return Form.JSON
    if kind == "multipart":
        return Form.MULTIPART
    raise UnsupportedMediaType(
        "The body must be image/*, application/json or multipart/form-data; "
        "SVG is not accepted."
    )


def _allowance(form: Form, max_bytes: int) -> int:
    match form:
        case Form.RAW:
            return max_bytes
        case Form.MULTIPART:
            return max_bytes + _OVERHEAD_BYTES
        case Form.JSON:
            # Base64 is 4/3; wrapped lines and escaped slashes add less than 1/8.
            return max_bytes * 3 // 2 + _OVERHEAD_BYTES


def _data_of(document: dict[str, Any]) -> bytes:
    for name in document.keys() - {_FIELD}:
        raise unknown(name, {_FIELD})
    data_url = document.get(_FIELD)
    if not isinstance(data_url, str | DataUrl):
        raise InvalidParameter(_FIELD, "data_url must be a text.")
    try:
        # A text that is left is no data URL.
        return read_data_url(data_url) if isinstance(data_url, str) else data_url.read()
    except InvalidDataUrl as error:
        raise InvalidParameter(_FIELD, str(error)) from error
