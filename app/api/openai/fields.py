"""The fields of a request in OpenAI's words: from JSON or a form, one meaning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from app.api.parameters import (
    MAX_REQUEST_PIXELS,
    MAX_SIDE,
    MAX_VARIANT,
    MIN_SIDE,
    read_parameters,
)
from app.api.prompt_text import LONGEST_PROMPT_IN_BODY
from app.api.rendition_parameters import AskedRendition
from app.errors import InvalidParameter, ModelNotFound
from app.http.query import bounded, whole_number
from app.http.unknown_names import unknown
from app.prompt_cache.entry.prompt_key import DEFAULT_MODEL, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from app.api.parameters import KnownModels
    from app.prompt_cache.entry.prompt_key import Parameters

MAX_PICTURES = 10
MAX_PARTIAL_IMAGES = 3

# fmt: off
FIELDS = frozenset((
    "prompt", "model", "n", "size", *OPTIONS, "output_format", "output_compression",
    "response_format", "stream", "partial_images", "user", "safety_identifier",
    "seed", "aspect_ratio", "variant",
))
# fmt: on

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_FORMATS = ("png", "jpeg", "webp")
_COMPRESSED = ("jpeg", "webp")
_NOT_COMPRESSED = 100


class Output(NamedTuple):
    """The form in which pictures are returned.

    *format* and *quality* (0 to 100, in tens) make a rendition, None leaves the
    picture as it is. With *as_url* its address is returned and not its bytes.
    """

    format: str | None = None
    quality: int | None = None
    as_url: bool = False

    @property
    def asked(self) -> AskedRendition | None:
        """The rendition that is asked for, None for the picture itself."""
        if self.format is None and self.quality is None:
            return None
        return AskedRendition(None, self.format, self.quality)


class Asked(NamedTuple):
    """A parsed request: *pictures* variants, the first as in *parameters*."""

    parameters: Parameters
    pictures: int
    output: Output
    is_stream: bool

    def variants(self) -> list[Parameters]:
        """Return the parameters of each picture."""
        first = self.parameters
        return [
            first._replace(variant=first.variant + number)
            for number in range(self.pictures)
        ]


class Fields:
    """The fields that were sent; in a form all of them are texts.

    null, and in a form an empty text, is as absent. Each method raises
    `InvalidParameter`.
    """

    def __init__(self, given: Mapping[str, Any], *, is_form: bool = False) -> None:
        self._is_form = is_form
        self._given = {
            name: value
            for name, value in given.items()
            if value is not None and not (is_form and value == "")
        }

    def require_known(self, known: Collection[str] = FIELDS) -> None:
        """Raise for a field that is not *known*."""
        for name in self._given:
            if name not in known:
                raise unknown(name, known, kind="field")

    def get(self, name: str) -> Any:
        """Return the field *name* as it was sent, None where it was not."""
        return self._given.get(name)

    def choice(self, name: str, known: Collection[str]) -> str | None:
        """Return the field *name*, one of *known*."""
        value = self.get(name)
        if value is None or (isinstance(value, str) and value in known):
            return value
        raise InvalidParameter(name, f"{name} must be one of {', '.join(known)}.")

    def integer(self, name: str, minimum: int, maximum: int) -> int | None:
        """Return the field *name*, a whole number in these bounds."""
        if self._is_form:
            return whole_number(self._given, name, minimum=minimum, maximum=maximum)
        value = self.get(name)
        if value is None:
            return None
        if type(value) is not int:
            raise InvalidParameter(name, f"{name} must be a whole number.")
        return bounded(value, name, minimum=minimum, maximum=maximum)

    def boolean(self, name: str) -> bool:
        """Return the field *name*, true or false; absent is false."""
        value = self.get(name)
        if self._is_form and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower())
            if value is None:
                raise InvalidParameter(name, f"{name} must be true or false.")
        if value is None or isinstance(value, bool):
            return bool(value)
        raise InvalidParameter(name, f"{name} must be true or false.")


def read_fields(fields: Fields, models: KnownModels) -> Asked:
    """Return *fields* parsed; raises `InvalidParameter`, `ModelNotFound`."""
    _check_model(fields.get("model"), models)
    parameters = _parameters(fields, models)
    count = fields.integer("n", 1, MAX_PICTURES) or 1
    if parameters.variant + count - 1 > MAX_VARIANT:
        raise InvalidParameter("n", f"There are variants up to {MAX_VARIANT} only.")
    fields.integer("partial_images", 0, MAX_PARTIAL_IMAGES)
    output, is_stream = _output(fields), fields.boolean("stream")
    if is_stream:
        # Events have no field for an address.
        output = output._replace(as_url=False)
    return Asked(parameters, count, output, is_stream)


def _check_model(name: Any, models: KnownModels) -> None:
    if name is not None and not isinstance(name, str):
        raise InvalidParameter("model", "model must be a text.")
    if models.alias_of(DEFAULT_MODEL if name is None else name) is None:
        raise ModelNotFound("There is no such model.")


def _parameters(fields: Fields, models: KnownModels) -> Parameters:
    sides = _sides(fields.get("size"))
    if sides and fields.get("aspect_ratio") is not None:
        raise InvalidParameter("aspect_ratio", "aspect_ratio goes without size.")
    names = ("prompt", "model", "aspect_ratio", *OPTIONS)
    parameters = read_parameters(
        {name: fields.get(name) for name in names},
        models,
        lambda name, minimum, maximum: (
            None
            if name in {"width", "height"}
            else fields.integer(name, minimum, maximum)
        ),
        longest_prompt=LONGEST_PROMPT_IN_BODY,
    )
    return parameters._replace(width=sides[0], height=sides[1]) if sides else parameters


def _sides(size: Any) -> tuple[int, int] | None:
    if size is None or size == "auto":
        return None
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise InvalidParameter("size", "size must be auto or WIDTHxHEIGHT.")
    width, height = int(found[1]), int(found[2])
    bounded(width, "size", minimum=MIN_SIDE, maximum=MAX_SIDE)
    bounded(height, "size", minimum=MIN_SIDE, maximum=MAX_SIDE)
    if width * height > MAX_REQUEST_PIXELS:
        raise InvalidParameter(
            "size", f"size has more than {MAX_REQUEST_PIXELS} pixels."
        )
    return width, height


def _output(fields: Fields) -> Output:
    picture_format = fields.choice("output_format", _FORMATS)
    as_url = fields.choice("response_format", ("b64_json", "url")) == "url"
    compression = fields.integer("output_compression", 0, _NOT_COMPRESSED)
    if compression is None or picture_format in _COMPRESSED:
        quality = None if compression is None else (compression + 5) // 10 * 10
        return Output(picture_format, quality, as_url)
    if compression != _NOT_COMPRESSED:
        raise InvalidParameter(
            "output_compression", "output_compression is for jpeg and webp."
        )
    return Output(picture_format, None, as_url)
